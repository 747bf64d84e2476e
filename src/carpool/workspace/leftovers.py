"""What processes that were killed have left in a base: found, reported, and removed where nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ..clock import Clock
from ..errors import WorkspaceError
from .folders import open_folder
from .git import Commit
from .premises import Note, Premises, notes_in, owner_of, owners_in, reason
from .threads import in_thread
from .worktree import Worktree

__all__ = ["Leftover", "leftovers_in", "remove_leftovers_in"]


class Leftover(Struct, frozen=True, kw_only=True):
    """A folder of an agent that has a note in the base.

    ``alive``: whether the process ``pid`` still runs, so that this is no leftover but somebody's workspace. After
    ``remove_leftovers``: ``patch``, the file in which a worktree's changes were saved, and ``problem``, why the
    folder was not removed.
    """

    path: Path
    run_id: str
    agent: str
    pid: int
    age_s: float
    alive: bool
    patch: Path | None = None
    problem: str | None = None


def leftovers_in(base: Path, clock: Clock) -> list[Leftover]:
    """All folders with a note, by name; those of the living too. Changes nothing that anybody would see."""
    return [leftover for _, leftover in _found(base, clock)]


async def remove_leftovers_in(premises: Premises, clock: Clock, patch_limit: int, timeout_s: float) -> list[Leftover]:
    """Remove what the dead have left; returns what there was of theirs."""
    found = list(_found(premises.root, clock))
    occupied = {note.folder for note, leftover in found if leftover.alive}
    done: list[Leftover] = []
    for note, leftover in found:
        if leftover.alive or note.folder in occupied:
            continue
        with owner_of(premises.folder, note.owner) as dead:
            if dead:
                done.append(await _removed(premises, note, leftover, patch_limit, timeout_s))
    for owner in owners_in(premises.folder):
        with owner_of(premises.folder, owner):
            pass  # one who died without a note is forgotten on leaving
    return done


def _found(base: Path, clock: Clock) -> Iterator[tuple[Note, Leftover]]:
    try:
        root = base.resolve(strict=True)
        with open_folder(str(root)) as folder:
            notes = notes_in(folder)
            dead: dict[str, bool] = {}
            for owner in {note.owner for note in notes}:
                with owner_of(folder, owner) as is_dead:
                    dead[owner] = is_dead
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"can't look for leftovers in {str(base)!r}: {reason(error)}") from error
    for note in notes:
        yield (
            note,
            Leftover(
                path=root / note.folder,
                run_id=note.facts.run_id,
                agent=note.facts.agent,
                pid=note.pid,
                age_s=_age_s(note, clock),
                alive=not dead[note.owner],
            ),
        )


def _age_s(note: Note, clock: Clock) -> float:
    now = clock.now()
    try:
        return max(0.0, (now - datetime.fromisoformat(note.facts.created)).total_seconds())
    except (ValueError, TypeError):
        return max(0.0, now.timestamp() - note.modified_s)


async def _removed(premises: Premises, note: Note, leftover: Leftover, patch_limit: int, timeout_s: float) -> Leftover:
    facts, saved = note.facts, None
    exists = leftover.path.exists() or leftover.path.is_symlink()
    if exists and not facts.created:
        return replace(leftover, problem="its note can't be read; see for yourself what it is, and remove it by hand")
    try:
        if facts.repository is not None and facts.commit is not None:
            commit = Commit(common=Path(facts.repository), sha=facts.commit, formatted=facts.formatted)
            shadow = premises.shadow(note.folder)
            worktree = Worktree(commit.common, commit, leftover.path, shadow, timeout_s)
            if worktree.is_locked:
                return replace(leftover, problem="the worktree is locked; git worktree unlock lets go of it")
            if exists and worktree.was_handed_over:
                patch = await worktree.patch(patch_limit)
                if patch is not None:
                    saved = premises.save(f"{note.folder}.patch", patch)
            worktree.give_up()
            await in_thread(worktree.unregister)
        await in_thread(premises.remove, note.folder, note.owner)
    except (WorkspaceError, OSError) as error:
        return replace(leftover, patch=saved, problem=reason(error))
    return replace(leftover, patch=saved)
