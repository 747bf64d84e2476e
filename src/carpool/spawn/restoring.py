"""State changes of remembered agents, put back into a store that lacks them."""

from __future__ import annotations

from ..recall import Recalled
from ..state import StateStore

__all__ = ["Restoring"]


class Restoring:
    """What remembered agents have changed, in the order in which they changed it, whatever the order of asking; and
    never over what somebody has written since in this process."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._written: dict[str, tuple[int, int]] = {}  # key -> the order of the change, the version that it made
        self._at_first = {key: state.version(key) for key in state.keys()}  # noqa: SIM118 - no dict

    def apply(self, actor: str, known: Recalled) -> None:
        for change in known.changes:
            order, version = self._written.get(change.key, (-1, self._at_first.get(change.key, 0)))
            if known.order > order and self._state.version(change.key) == version:
                change.make(self._state, actor)
                self._written[change.key] = known.order, self._state.version(change.key)
