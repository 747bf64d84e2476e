"""State changes of remembered agents, put back into a store that lacks them."""

from __future__ import annotations

from collections.abc import Sequence

from ..recall import Change, Recalled
from ..state import StateStore, StateTransition

__all__ = ["Restoring"]

_NEVER = (-1, -1)


class Restoring:
    """What remembered agents of one run have changed, in the order in which they changed it, whatever the order of
    asking; each once, and never over what somebody has written since in this process."""

    def __init__(self, state: StateStore, run_id: str) -> None:
        self._state = state
        self._run_id = run_id
        self._at_first = state.versions()
        # key -> the process in which the change was made and its version there, the version that it has got here
        self._written: dict[str, tuple[tuple[int, int], int]] = {}

    def lacking(self, known: Recalled) -> Sequence[Change]:
        """The changes that are not in the store yet."""
        held = self._state.knows(known.origin) or self._state.knows(self._origin(known))
        return () if held else known.changes

    def apply(self, actor: str, known: Recalled) -> None:
        """Make the changes as ``actor``."""
        changes = self.lacking(known)
        for change in changes:
            order, version = self._written.get(change.key, (_NEVER, self._at_first.get(change.key, 0)))
            if (known.order, change.version) > order and self._state.version(change.key) == version:
                change.make(self._state, actor)
                self._note(known, change, self._state.version(change.key))
        if changes:
            self._state.brought(self._origin(known))

    def merged(self, known: Recalled, transitions: Sequence[StateTransition]) -> None:
        """They were made in another way, and are these ``transitions``."""
        made = {transition.key: transition.version for transition in transitions}
        for change in known.changes:
            if change.key in made:
                self._note(known, change, made[change.key])
        self._state.brought(self._origin(known))

    def _note(self, known: Recalled, change: Change, version: int) -> None:
        self._written[change.key] = (known.order, change.version), version

    def _origin(self, known: Recalled) -> str:
        return f"{self._run_id} {known.key}"
