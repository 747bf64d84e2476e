"""Asks every policy about an action, and lets it pass only if none objects.

A policy that can't be asked has not agreed: whatever keeps it from answering is a violation.
"""

from __future__ import annotations

from threading import Lock
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from ..actions import Action
from ..clock import Clock
from ..json_values import json_copy
from .checks import Check, Policy, PolicyViolation, ReadableState, StateView

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PolicyEngine"]

_NOT_JSON = "the action holds something that is not plain JSON, so no policy can look into it; pass JSON values only"


class PolicyEngine:
    """The policies of a team. Every method may be called from any thread.

    What a check says is what counts; nothing here bounds how long it takes, so a check that hangs holds up who
    asked (and nothing is executed meanwhile).
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._policies: tuple[Policy, ...] = ()  # replaced as a whole: who asks goes through the one it took

    @classmethod
    def from_toml(cls, path: str | Path, *, clock: Clock | None = None) -> PolicyEngine:
        """An engine with the policies of a CAR policy file; ``clock`` is what its rate limits go by.

        All of the file is understood, or none of it is used.

        :raises ConfigError: for a file that can't be read, is not TOML (with the line), or has an entry that is
            not understood (with the entry and the key).
        """
        from .toml_file import read_policies  # loads a parser that only files need

        engine = cls()
        engine._policies = tuple(read_policies(path, clock))
        return engine

    @property
    def policies(self) -> tuple[Policy, ...]:
        """In the order in which they are asked: as registered."""
        return self._policies

    def register(self, name: str, check: Check, description: str = "") -> None:
        """Ask ``check`` from now on. Several may have one name; each is asked.

        :raises ValueError: for an empty name, or a check that can't be called.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a policy needs a name, not {name!r}")
        if not callable(check):
            raise ValueError(f"the check of policy {name!r} is a function of an action and a state, not {check!r}")
        with self._lock:
            self._policies = (*self._policies, Policy(name, check, description))

    def unregister(self, name: str) -> int:
        """Stop asking the policies called ``name``; how many there were."""
        with self._lock:
            kept = tuple(policy for policy in self._policies if policy.name != name)
            removed = len(self._policies) - len(kept)
            self._policies = kept
        return removed

    def check(self, action: Action, state: ReadableState) -> list[PolicyViolation]:
        """What speaks against ``action``, from every policy; it may run if that is nothing.

        Each policy gets a copy of its own, so that none can change what runs, or what the next one sees. A
        violation is also: a check that raises (only the error's class is told, its text could hold what must
        not be told), one that answers neither text nor ``None`` (an empty text is one), and an action that is not
        plain JSON. Only what is no ``Exception`` goes through, such as a ``KeyboardInterrupt``.

        Rules that keep count take this for an attempt. :meth:`preview` asks the same and does not count.
        """
        return self._ask(action, state, count=True)

    def preview(self, action: Action, state: ReadableState) -> list[PolicyViolation]:
        """What :meth:`check` would say now, without any effect: for a plan that is verified, not executed."""
        return self._ask(action, state, count=False)

    def _ask(self, action: Action, state: ReadableState, *, count: bool) -> list[PolicyViolation]:
        violations: list[PolicyViolation] = []
        for policy in self._policies:
            reason = _answer(policy.check, action, state, count)
            if reason is not None:
                violations.append(PolicyViolation(policy=policy.name, reason=reason, action_id=action.id))
        return violations


def _answer(check: Check, action: Action, state: ReadableState, count: bool) -> str | None:
    try:
        copy = _copied(action)
    except Exception:
        return _NOT_JSON
    view = state if isinstance(state, StateView) else StateView(state)
    try:
        asked: Check = check if count else getattr(check, "preview", check)
        answer: object = asked(copy, view)
        if answer is None:
            return None
        if isinstance(answer, str):
            return str(answer) or "it gave no reason"
    except Exception as error:
        return f"the check failed ({type(error).__name__}), and what is not checked does not run"
    if isinstance(answer, CoroutineType):
        cast("CoroutineType[Any, Any, Any]", answer).close()  # nobody will await it
    return f"the check answered with a {type(answer).__name__}, not with text or None; it must be a plain function"


def _copied(action: Action) -> Action:
    """A copy that shares nothing mutable with ``action``.

    :raises ValueError: when something in it is not JSON.
    """
    fields = {name: _own(getattr(action, name)) for name in _JSON_FIELDS}
    preconditions = [replace(each, value=json_copy(each.value)) for each in action.preconditions]
    return replace(action, tool=json_copy(action.tool), preconditions=preconditions, **fields)


_JSON_FIELDS = ("parameters", "expected_effects", "state_dependencies", "metadata", "dependencies")


def _own(value: Any) -> Any:
    # Most are empty, and looking through nothing costs as much as looking through little.
    return value.copy() if value in ([], {}) else json_copy(value)
