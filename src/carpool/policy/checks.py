"""What a policy is: a named check, which looks at an action and at a state that it can only read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from msgspec import Struct, field

from ..actions import Action

__all__ = ["Check", "Policy", "PolicyViolation", "ReadableState", "StateView"]


class ReadableState(Protocol):
    """What policies ask of a state; ``carpool.state.StateStore`` is one."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, a copy of its own; ``default`` if there is none."""
        ...

    def exists(self, key: str) -> bool: ...

    def keys(self) -> list[str]:
        """All keys, sorted."""
        ...

    def version(self, key: str) -> int:
        """How often ``key`` has changed."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """All keys and values at one instant, a copy."""
        ...


class StateView:
    """A state, to be read: each method that would change it raises ``TypeError`` instead.

    It is as it is at the moment of reading, not a snapshot. It guards against accident, not against attack: a
    check is the operator's own code.
    """

    __slots__ = ("__state",)

    def __init__(self, state: ReadableState) -> None:
        self.__state = state

    def get(self, key: str, default: Any = None) -> Any:
        return self.__state.get(key, default)

    def exists(self, key: str) -> bool:
        return self.__state.exists(key)

    def keys(self) -> list[str]:
        return self.__state.keys()

    def version(self, key: str) -> int:
        return self.__state.version(key)

    def snapshot(self) -> dict[str, Any]:
        return self.__state.snapshot()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a policy reads the state and never changes it")

    set = delete = compare_and_set = update = restore = replace_all = merge = proposal_lock = _refuse


Check = Callable[[Action, StateView], str | None]
"""Why the action is refused, or ``None``. It has no effects; one that keeps count has a second way to be asked,
``check.preview(action, state)``, which answers the same and does not count."""


class Policy(Struct, frozen=True):
    """A check under the name by which its violations are known."""

    name: str
    check: Check
    description: str = ""


class PolicyViolation(Struct, frozen=True, kw_only=True):
    """``policy`` (``policy_name`` on the wire) refuses the action ``action_id``, for ``reason``."""

    policy: str = field(name="policy_name")
    reason: str
    action_id: str = ""
