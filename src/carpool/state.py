"""The shared key-value store of a team, and overlays on it: JSON values, versions, transitions.

Every method is atomic and may be called from any thread. Values are copied on the way in and on the way out,
so that nothing handed over can change the store; what is not JSON is refused before anything changes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from threading import RLock
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from .clock import Clock, SystemClock, new_id
from .errors import StateConflict
from .json_values import json_copy, json_equal
from .turnstile import Turnstile

__all__ = ["OnConflict", "OverlayState", "StateStore", "StateTransition", "Undo"]

OnConflict = Literal["error", "ours", "theirs"] | Callable[[str, Any, Any, Any], Any]
# Marks inside a store; none of them ever leaves it.
_ABSENT: Any = object()
_DELETED: Any = object()
_THEIRS: Any = object()


class StateTransition(Struct, frozen=True, kw_only=True):
    """One change of one key. ``deleted`` tells a deletion from setting ``null``."""

    key: str
    old_value: Any
    new_value: Any
    actor: str
    version: int
    timestamp: datetime
    deleted: bool = False


_Change = tuple[str, Any, Any, StateTransition]  # the key, what was stored, what was stored instead, the record


class StateStore:
    """A JSON map with a version per key and the history of its changes.

    A version rises with every change of its key, also through ``delete``, ``restore`` and ``replace_all``; a key
    that never was is at 0.
    """

    def __init__(self, initial: Mapping[str, Any] | None = None, *, clock: Clock | None = None) -> None:
        self.id = new_id()  # the origin of what is changed here, as a journal writes it down
        self._clock = clock or SystemClock()
        self._lock = RLock()
        self._values: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._transitions: list[StateTransition] = []
        self._proposals = Turnstile()
        self._origins: set[str] = set()  # what was merged or put back here from elsewhere
        if initial:
            self.replace_all(initial)

    # Reading

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, a copy of its own; ``default`` if there is none."""
        with self._lock:
            value = self._read(key)
        return default if value is _ABSENT else json_copy(value)

    def exists(self, key: str) -> bool:
        with self._lock:
            return self._read(key) is not _ABSENT

    def keys(self) -> list[str]:
        """All keys, sorted."""
        with self._lock:
            return sorted(self._all())

    def version(self, key: str) -> int:
        """How often ``key`` has changed; rises strictly, also through delete and rollback."""
        with self._lock:
            return self._versions.get(key, 0)

    def snapshot(self) -> dict[str, Any]:
        """All keys and values at one instant."""
        with self._lock:
            return {key: json_copy(value) for key, value in self._all().items()}

    def transitions(self, since: int = 0) -> list[StateTransition]:
        """The changes after the first ``since``, oldest first."""
        with self._lock:
            return [_handed_out(transition) for transition in self._transitions[max(0, since) :]]

    @property
    def transition_count(self) -> int:
        return len(self._transitions)

    def versions(self) -> dict[str, int]:
        """The version of every key that is here or was."""
        with self._lock:
            return self._all_versions()

    def knows(self, origin: str) -> bool:
        """Whether the changes of this origin were made here, or have been brought here: merged, or put back."""
        return origin == self.id or origin in self._origins

    def brought(self, origin: str) -> None:
        """Note that the changes of this origin have been brought here."""
        self._origins.add(origin)

    # Writing

    def set(self, key: str, value: Any, *, actor: str) -> StateTransition:
        """Make ``value`` the value of ``key``.

        :raises ValueError: when it is not JSON; the text has the path to what is not.
        """
        value = json_copy(value, _place(key))
        with self._lock:
            return self._change(key, value, actor)

    def delete(self, key: str, *, actor: str) -> StateTransition | None:
        """Take ``key`` out; ``None`` if it was not there."""
        with self._lock:
            return None if self._read(key) is _ABSENT else self._change(key, _ABSENT, actor)

    def compare_and_set(self, key: str, value: Any, expected_version: int, *, actor: str) -> StateTransition:
        """Set ``key`` if nobody has changed it since it was at ``expected_version``.

        :raises StateConflict: with the current ``version``.
        """
        value = json_copy(value, _place(key))
        with self._lock:
            current = self.version(key)
            if current != expected_version:
                raise StateConflict(
                    key, current, f"{key!r} is at version {current}, not {expected_version}; read it again and retry"
                )
            return self._change(key, value, actor)

    def update(self, key: str, function: Callable[[Any], Any], *, actor: str) -> StateTransition:
        """Set ``key`` to ``function(its value or None)``; nothing comes in between.

        ``function`` runs outside the lock and again when another change came first: it must have no effects.
        """
        while True:
            with self._lock:
                version, value = self.version(key), self.get(key)
            try:
                return self.compare_and_set(key, function(value), version, actor=actor)
            except StateConflict:
                continue

    def restore(self, snapshot: Mapping[str, Any], transition_count: int) -> None:
        """Go back to ``snapshot`` and to the first ``transition_count`` transitions: a rollback.

        Versions do not go back: the keys that change here get a new one.
        """
        with self._lock:
            self.replace_all(snapshot)
            del self._transitions[max(0, transition_count) :]

    def replace_all(self, mapping: Mapping[str, Any]) -> None:
        """Make ``mapping`` the whole content. A load, not a change by anybody: it leaves no transitions."""
        fresh = {key: json_copy(value, _place(key)) for key, value in mapping.items()}
        with self._lock:
            here = self._all()
            for key in {**here, **fresh}:
                if not json_equal(here.get(key, _ABSENT), fresh.get(key, _ABSENT)):
                    self._write(key, fresh.get(key, _ABSENT))

    @contextmanager
    def undoable(self) -> Generator[Undo]:
        """Within the block, what this task, and whatever it starts, changes here is noted, so that it, and
        nothing that others change meanwhile, can be taken back."""
        undo = Undo(self)
        token = _undos.set((*_undos.get(), undo))
        try:
            yield undo
        finally:
            _undos.reset(token)

    def proposal_lock(self) -> AbstractAsyncContextManager[None]:
        """``async with`` it around a proposal: proposals on one store run one after the other, so that a
        rollback can't take back what another agent wrote."""
        return self._proposals

    # What an overlay does differently; all under the lock

    def _read(self, key: str) -> Any:
        return self._values.get(key, _ABSENT)

    def _all(self) -> dict[str, Any]:
        return dict(self._values)

    def _all_versions(self) -> dict[str, int]:
        return dict(self._versions)

    def _write(self, key: str, value: Any) -> int:
        if value is _ABSENT:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        self._versions[key] = self.version(key) + 1
        return self._versions[key]

    def _change(self, key: str, value: Any, actor: str) -> StateTransition:
        old, local = self._read(key), self._values.get(key, _ABSENT)
        version = self._write(key, value)
        transition = StateTransition(
            key=key,
            old_value=None if old is _ABSENT else old,
            new_value=None if value is _ABSENT else value,
            actor=actor,
            version=version,
            timestamp=self._clock.now(),
            deleted=value is _ABSENT,
        )
        self._transitions.append(transition)
        for undo in _undos.get():
            undo.note(self, key, local, self._values.get(key, _ABSENT), transition)
        return _handed_out(transition)

    def take_back(self, changes: Sequence[_Change]) -> int:
        """``Undo.take_back``, under the lock."""
        with self._lock:
            undone: set[str] = set()
            for key, before, written, _ in reversed(changes):
                if self._values.get(key, _ABSENT) is not written:
                    continue
                if before is _ABSENT:
                    self._values.pop(key, None)
                else:
                    self._values[key] = before
                self._versions[key] = self._versions.get(key, 0) + 1
                undone.add(key)
            gone = {id(transition) for key, _, _, transition in changes if key in undone}
            self._transitions[:] = [each for each in self._transitions if id(each) not in gone]
            for undo in _undos.get():
                undo.forget(gone)
        return len(undone)


class Undo:
    """The changes of one block of ``StateStore.undoable``."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._changes: list[_Change] = []

    def note(self, store: StateStore, key: str, before: Any, written: Any, transition: StateTransition) -> None:
        if store is self._store:
            self._changes.append((key, before, written, transition))

    def forget(self, transitions: set[int]) -> None:
        """Leave out what a block inside this one has taken back; ``transitions`` are told by their ``id()``."""
        self._changes = [change for change in self._changes if id(change[3]) not in transitions]

    def changed(self) -> dict[str, StateTransition]:
        """The last change of each key that was changed in the block so far."""
        return {key: _handed_out(transition) for key, _, _, transition in self._changes}

    def take_back(self) -> int:
        """Undo the changes, last first, and their transitions; returns how many keys went back. A key that
        somebody else has changed since stays theirs."""
        changes, self._changes = self._changes, []
        return self._store.take_back(changes)


_undos: ContextVar[tuple[Undo, ...]] = ContextVar("carpool_undos", default=())


class OverlayState(StateStore):
    """A layer over ``parent`` for one agent: reads fall through, writes and deletes stay here until ``merge``."""

    def __init__(self, parent: StateStore, agent_name: str) -> None:
        super().__init__(clock=parent._clock)
        self._parent = parent
        self._agent_name = agent_name
        self._merged = False
        with parent._lock:
            # Values inside a store are never changed in place: a shallow copy is the state at the fork.
            self._base = parent._all()
            self._base_versions = parent._all_versions()

    def changed(self) -> dict[str, StateTransition]:
        """For each key that was changed here the transition that ``merge`` would make, if nobody else changes it."""
        with self._lock:
            return {key: _handed_out(self._planned(key, value)) for key, value in self._values.items()}

    def _planned(self, key: str, value: Any) -> StateTransition:
        return StateTransition(
            key=key,
            old_value=self._base.get(key),
            new_value=None if value is _DELETED else value,
            actor=self._agent_name,
            version=self._base_versions.get(key, 0) + 1,
            timestamp=self._clock.now(),
            deleted=value is _DELETED,
        )

    def version(self, key: str) -> int:
        with self._lock:
            return self._parent.version(key) + super().version(key)

    def merge(self, on_conflict: OnConflict = "error") -> list[StateTransition]:
        """Replay the changes onto the parent as this agent's transitions: all or nothing, and once.

        A key that both sides have changed since the fork is a conflict, unless they agree: ``"error"`` refuses
        the merge, ``"ours"`` takes this overlay's value, ``"theirs"`` the parent's, and a function
        ``f(key, base, ours, theirs)`` returns the value to set (``None`` stands for a key that is not there).
        A second merge does nothing and returns ``[]``.

        :raises StateConflict: under ``"error"``; nothing is merged, and it may be tried again.
        """
        if not callable(on_conflict) and on_conflict not in ("error", "ours", "theirs"):
            raise ValueError(f"on_conflict must be 'error', 'ours', 'theirs' or a function, not {on_conflict!r}")
        with self._lock, self._parent._lock:
            if self._merged:
                return []
            changes = [(key, self._resolve(key, ours, on_conflict)) for key, ours in self._values.items()]
            self._merged = True
            self._parent.brought(self.id)
            replayed = [(key, value) for key, value in changes if value is not _THEIRS]
            return [self._parent._change(key, value, self._agent_name) for key, value in replayed]

    def _resolve(self, key: str, ours: Any, on_conflict: OnConflict) -> Any:
        theirs = self._parent._read(key)
        ours = _ABSENT if ours is _DELETED else ours
        if json_equal(ours, theirs) or json_equal(ours, self._base.get(key, _ABSENT)):
            return _THEIRS  # they agree, or this side ended where it began
        if self._parent.version(key) == self._base_versions.get(key, 0):
            return ours
        if on_conflict == "ours":
            return ours
        if on_conflict == "theirs":
            return _THEIRS
        if callable(on_conflict):
            base = self._base.get(key, _ABSENT)
            sides = [None if side is _ABSENT else json_copy(side) for side in (base, ours, theirs)]
            return json_copy(on_conflict(key, *sides), _place(key))
        current = self._parent.version(key)
        raise StateConflict(
            key,
            current,
            f"{key!r} was changed by {self._agent_name!r} and, meanwhile, by others (now at version {current}); "
            "nothing is merged: choose on_conflict, or have the agents write different keys",
        )

    def _read(self, key: str) -> Any:
        mine = self._values.get(key, _ABSENT)
        if mine is _DELETED:
            return _ABSENT
        return self._parent._read(key) if mine is _ABSENT else mine

    def _all(self) -> dict[str, Any]:
        with self._parent._lock:
            merged = {**self._parent._all(), **self._values}
        return {key: value for key, value in merged.items() if value is not _DELETED}

    def _all_versions(self) -> dict[str, int]:
        with self._parent._lock:
            here, below = self._versions, self._parent._all_versions()
        return {key: here.get(key, 0) + below.get(key, 0) for key in {**below, **here}}

    def _write(self, key: str, value: Any) -> int:
        self._values[key] = _DELETED if value is _ABSENT else value
        self._versions[key] = self._versions.get(key, 0) + 1
        return self.version(key)


def _handed_out(transition: StateTransition) -> StateTransition:
    """With values of its own: those inside are the store's."""
    return replace(transition, old_value=json_copy(transition.old_value), new_value=json_copy(transition.new_value))


def _place(key: str) -> str:
    if type(key) is not str:
        raise ValueError(f"a state key is a string, not {key!r}")
    return json_copy(key, f"state[{key!r}]")
