"""``carpool resume``: a run on record goes on where it was cut off; what was finished is not paid for again."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter
from msgspec.structs import asdict, replace

from ..durable import Journal, RunHeader
from ..errors import JournalError, RunInUse
from ..infra import SharedInfra
from ..patterns import ResumePreview
from ..types import BudgetLimits, TokenAccounting
from .amounts import counted, dollars, limits
from .assembly import Assembly
from .environment import at_most
from .flags import AddBudget, Flags
from .journal import JournalFlag, journal_at, run_called, said_of
from .perform import Recording, perform
from .run import assembled
from .runner_choice import chosen_runner
from .terminal import Screen, on_one_line
from .usage import DONE, FAILED, UsageError

__all__ = ["added", "resume"]


def resume(
    run: Annotated[str, Parameter(help="The run: its id, the beginning of it, or last.")],
    /,
    *,
    add_budget: AddBudget = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only say what would be used again, and what the rest costs at most.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", help="JSON lines on stdout, as of run.")] = False,
    quiet: Annotated[bool, Parameter(negative="", help="Only the answer; with --json only the result.")] = False,
    journal: JournalFlag = None,
) -> int:
    """Go on with a run."""
    try:
        header, spent, in_vain = anyio.run(partial(_look_up, journal_at(journal), run, to_run=not dry_run))
        file, flags, stdin = _made_of(header)
        work = assembled(file, flags, stdin)
        before = (flags.budget or work.budget or BudgetLimits()) if header.epoch == 0 else header.limits
        wanted = added(before, add_budget or BudgetLimits())
        budget = at_most(wanted)
        for why in _without_effect(before, add_budget or BudgetLimits(), wanted, budget):
            Screen().say((f"carpool resume: --add-budget: {why}", "yellow"), wrap=True)
        if dry_run:
            seen = anyio.run(partial(_preview, journal_at(journal), header.run_id, work))
            return _tell(seen, budget, as_json=json)
    except JournalError as error:
        Screen().say(("carpool resume: ", "red"), (on_one_line(said_of(error)), ""), wrap=True)
        return FAILED
    runner = chosen_runner(flags, work.make_runner, elsewhere=file is not None)  # which a dry run needs none of
    recording = Recording(journal_at(journal), header.run_id, {}, spent, in_vain)
    return perform("resume", work, runner, dataclasses.replace(flags, json=json, quiet=quiet), budget, recording)


def added(budget: BudgetLimits, more: BudgetLimits) -> BudgetLimits:
    """``budget`` with ``more`` on top; where there is no limit, there is none to raise."""
    sums: dict[str, Any] = {}
    for name, extra in asdict(more).items():
        before = getattr(budget, name)
        if name.startswith("max_") and extra is not None and before is not None:
            sums[name] = before + extra
    return replace(budget, **sums)


def _without_effect(
    before: BudgetLimits, more: BudgetLimits, wanted: BudgetLimits, budget: BudgetLimits
) -> Iterator[str]:
    """What of ``more`` changes nothing, or less than was asked for, and why."""
    for name, extra in asdict(more).items():
        if not name.startswith("max_") or extra is None:
            continue
        if getattr(before, name) is None:
            yield f"the run has no limit that {_one(name, extra)} could be added to, and goes on without one"
        elif getattr(budget, name) < getattr(wanted, name):
            sums = _one(name, getattr(wanted, name)), _one(name, getattr(budget, name))
            yield "with {} more it would be {}, and CARPOOL_MAX_BUDGET allows {}".format(_one(name, extra), *sums)


def _one(name: str, amount: Any) -> str:
    return limits(BudgetLimits(**{name: amount}))


async def _look_up(journal: Journal, typed: str, *, to_run: bool) -> tuple[RunHeader, TokenAccounting, TokenAccounting]:
    """The run; what was spent under its name, and what of that on starts that came to nothing.

    :raises RunInUse: if it is ``to_run`` while a living process has it.
    """
    async with journal:
        header = await run_called(journal, typed)
        if to_run and journal.is_live(header):
            raise RunInUse(header.run_id, str(header.owner))
        history = (await journal.read(header.run_id)).history()
        history.lose()
        in_vain = sum((fate.in_vain for fate in history.fates.values()), TokenAccounting())
        return header, history.spent, in_vain


def _made_of(header: RunHeader) -> tuple[Path | None, Flags, bytes]:
    """What the run was made of, in the folder where it was made."""
    about = header.about
    if "flags" not in about:
        raise UsageError(
            f"run {header.run_id} was not made by carpool run; resume it in Python, where its pattern is: "
            f"pattern.run(…, run_id={header.run_id!r}, infra=SharedInfra(journal=…))"
        )
    try:
        os.chdir(about["cwd"])
        file = about.get("file")
        flags = msgspec.convert(about["flags"], Flags)
        return None if file is None else Path(file), flags, about.get("stdin", "").encode()
    except OSError as error:
        raise UsageError(f"run {header.run_id} was made in {about['cwd']}: {error.strerror}") from None
    except (msgspec.ValidationError, KeyError) as error:
        raise UsageError(f"run {header.run_id} was made by another version of carpool: {error}") from None


async def _preview(journal: Journal, run_id: str, work: Assembly) -> ResumePreview:
    async with journal:
        infra = SharedInfra(journal=journal)
        return await work.pattern.resume_preview(work.task, run_id=run_id, infra=infra, **work.inputs)


def _tell(seen: ResumePreview, budget: BudgetLimits, *, as_json: bool) -> int:
    screen = Screen()
    if as_json:
        fields = {"kind": "resume_preview", **msgspec.to_builtins(seen), "budget": msgspec.to_builtins(budget)}
        screen.answer(msgspec.json.encode(fields).decode())
    else:
        screen.answer("\n".join(f"{label:<8}{text}" for label, text in _rows(seen, budget)))
    return DONE


def _rows(seen: ResumePreview, budget: BudgetLimits) -> list[tuple[str, str]]:
    counts = [
        (seen.completed, "completed"),
        (seen.lost, "lost"),
        (seen.failed, "failed"),
        (seen.cancelled, "cancelled"),
    ]
    held = " · ".join(f"{number:,} {what}" for number, what in counts if number) or "nothing was started"
    left = "no bound" if seen.agents_max is None else f"{counted(seen.agents_max, 'start')} at most"
    worst = f"{seen.spend.total_tokens:,} tokens · {dollars(seen.spend.cost_usd)} at most"
    if seen.unestimated and seen.agents_max != 0:
        worst = f"not known: no estimate for {', '.join(seen.unestimated)}"
    spent = seen.spent
    return [
        ("run", f"{seen.run_id}; nothing is started"),
        ("holds", held),
        ("reused", counted(seen.reused, "agent")),
        ("to run", left),
        ("costs", worst),
        ("spent", f"{spent.total_tokens:,} tokens · {dollars(spent.cost_usd)} so far"),
        ("budget", "none" if budget.is_unbounded else limits(budget)),
    ]
