"""Values in JSON by their path (``usage.input_tokens``, ``choices.0.text``), and amounts among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import ConfigError

__all__ = ["AMOUNTS", "NOTHING", "Amounts", "UsagePaths", "value_at"]

NOTHING: Any = object()
"""There is nothing at the path."""

AMOUNTS = ("input_tokens", "output_tokens", "cost_usd", "cache_read_tokens", "cache_write_tokens")
"""What usage is made of: the fields of ``TokenAccounting`` that are amounts."""

UsagePaths = Mapping[str, str | Sequence[str] | float]
"""Where each of ``AMOUNTS`` stands: a path; several, to be added up, of which all but the first may be missing; or
the amount itself, such as a cost of 0 for a model on one's own machine."""

_MOST = 2**63 - 1  # what a counter of any provider holds; beyond it is nonsense that no journal could store


def value_at(path: str, value: Any) -> Any:
    """What stands there, or ``NOTHING``. In a list a step is a place, from the end if negative."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(step, NOTHING)
        elif isinstance(value, list):
            value = _item(cast("list[Any]", value), step)
        else:
            return NOTHING
    return value


def _item(items: list[Any], step: str) -> Any:
    try:
        return items[int(step)]
    except (ValueError, IndexError):
        return NOTHING


class Amounts:
    """The usage that JSON values report, looked at one after the other.

    A later value replaces an earlier one or, with ``add``, is added to it. What is no amount makes the whole unknown,
    and not zero.
    """

    def __init__(self, paths: UsagePaths, add: bool = False) -> None:
        """:raises ConfigError: for a name that is none of ``AMOUNTS``, or what is neither a path nor an amount."""
        self._paths: dict[str, Sequence[str]] = {}
        self._fixed: dict[str, float] = {}
        for name, where in paths.items():
            if name not in AMOUNTS:
                raise ConfigError(f"usage: there is no {name!r}; there are: {', '.join(AMOUNTS)}")
            if isinstance(where, int | float):
                _refuse_unless_amount(name, where)
                self._fixed[name] = where
            else:
                self._paths[name] = where = (where,) if isinstance(where, str) else tuple(where)
                if not where or not all(isinstance(path, str) and path for path in where):
                    raise ConfigError(f"usage: {name} is {where!r}; a path is names with dots between them")
        self._add = add
        self._seen: dict[str, float] = {}
        self._wrong: dict[str, str] = {}

    def look(self, value: Any) -> None:
        for name, where in self._paths.items():
            found = {path: each for path in where if (each := value_at(path, value)) is not NOTHING}
            wrong = [path for path, each in found.items() if each is not None and not _is_amount(name, each)]
            if wrong:
                self._wrong[name] = f"no {name}: what stands at {wrong[0]!r} is no amount"
            elif found.get(where[0]) is not None:
                self._take(name, sum(each for each in found.values() if each is not None))

    def _take(self, name: str, amount: float) -> None:
        if self._add:
            amount += self._seen.get(name, 0)
        else:
            self._wrong.pop(name, None)
        self._seen[name] = min(amount, _MOST)

    @property
    def found(self) -> dict[str, float]:
        """What is known, by name; empty when the output told nothing."""
        seen = {name: amount for name, amount in self._seen.items() if name not in self._wrong}
        return self._fixed | {name: amount if name == "cost_usd" else int(amount) for name, amount in seen.items()}

    @property
    def problems(self) -> list[str]:
        """Which amounts are not known, and why; no value is told."""
        missing = [
            f"no {name}: nothing stands at {where[0]!r}"
            for name, where in self._paths.items()
            # Who caches nothing may say nothing of it.
            if name not in self._seen and name not in self._wrong and not name.startswith("cache_")
        ]
        return [*self._wrong.values(), *missing]


def _is_amount(name: str, value: Any) -> bool:
    if type(value) is not int and type(value) is not float:
        return False
    return 0 <= value <= _MOST and (name == "cost_usd" or value == int(value))


def _refuse_unless_amount(name: str, value: float) -> None:
    if not _is_amount(name, value):
        raise ConfigError(f"usage: {name} is {value!r}, which is no amount")
