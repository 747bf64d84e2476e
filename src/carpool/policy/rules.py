"""The rules that come with carpool: functions that return a check for :meth:`PolicyEngine.register`.

Each compares what it was given with an action, and each names in its text the tool and the parameter, never the
value: that may be just what nobody is to read. Tools and parameters are matched by their exact names, which are
what tools are called by. The ``deny_`` rules are lists of what is known to be bad: what is encoded, quoted for a
shell, spelled with look-alike letters or spread over parameters gets past them. Where that matters, allow the
good values instead (:func:`allow_tool_param`), or grant a lower tier.

A wrong argument is a ``ValueError`` that names it. A check that is asked about what is not JSON may raise one too;
an engine never lets it come to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from ..actions import Action
from ..clock import Clock
from ..json_values import json_copy, json_equal
from .checks import Check, StateView
from .rate_limit import RateLimit
from .texts import folded, plain, texts_in

__all__ = [
    "allow_tool_param",
    "deny_keyword",
    "deny_tool",
    "deny_tool_param",
    "deny_tool_param_matching",
    "rate_limit_tool",
    "require_state",
]

_NOT_GIVEN: Any = object()
_ABSENT: Any = object()


def deny_tool(tool: str) -> Check:
    """Refuse every call of ``tool``."""
    tool = _name("tool", tool)

    def check(action: Action, state: StateView) -> str | None:
        return f"tool {tool!r} is denied" if action.tool == tool else None

    return check


def deny_tool_param(tool: str, param: str, *, equals: Any = _NOT_GIVEN, contains: Any = _NOT_GIVEN) -> Check:
    """Refuse calls of ``tool`` whose ``param`` is ``equals`` or contains ``contains``; with neither, any that has it.

    ``equals`` is a JSON value; numbers are equal by their value, ``1`` to ``1.0`` and to ``true``. ``contains`` is
    a text, found in strings and keys at any depth, in the text of numbers, and across the items of a list, as it
    is and folded (white space, case, full width); or a number or truth value, which an item must equal.
    """
    tool, param = _name("tool", tool), _name("param", param)
    tests: list[Callable[[Any], bool]] = []
    if equals is not _NOT_GIVEN:
        tests.append(_equals(_json("equals", equals)))
    if contains is not _NOT_GIVEN:
        tests.append(_contains(contains))
    reason = f"parameter {param!r} of tool {tool!r} has a value that is denied"
    if not tests:
        tests.append(lambda value: True)
        reason = f"parameter {param!r} of tool {tool!r} is denied"

    def check(action: Action, state: StateView) -> str | None:
        if action.tool != tool or param not in action.parameters:
            return None
        value = action.parameters[param]
        return reason if any(test(value) for test in tests) else None

    return check


def allow_tool_param(tool: str, param: str, allow: Iterable[Any]) -> Check:
    """Refuse calls of ``tool`` unless ``param`` is exactly one of ``allow``.

    Fail-closed: refused is also a call without ``param``, and every call if ``allow`` is empty. Equal as JSON:
    case counts, ``1`` is neither ``true`` nor ``1.0``, and a list is not what it holds.
    """
    tool, param = _name("tool", tool), _name("param", param)
    if isinstance(allow, str | bytes | dict) or not isinstance(allow, Iterable):
        raise ValueError(f"allow must be a list of values, not a {type(cast('Any', allow)).__name__}")
    allowed: list[Any] = _json("allow", list(allow))

    def check(action: Action, state: StateView) -> str | None:
        if action.tool != tool:
            return None
        value = action.parameters.get(param, _ABSENT)
        if value is _ABSENT:
            return f"tool {tool!r} may only be called with parameter {param!r}, which is missing"
        if not any(json_equal(value, each) for each in allowed):
            return f"parameter {param!r} of tool {tool!r} is none of the {len(allowed)} values that are allowed"
        return None

    return check


def deny_keyword(word: str) -> Check:
    """Refuse every action, of any kind, that has ``word`` anywhere in its parameters or expected effects.

    It is found inside longer words too, in strings and keys at any depth, in the text of numbers, and across the
    items of a parameter, as it is and folded (case, white space, full width, invisible characters).
    """
    finds = _finds("word", word)

    def check(action: Action, state: StateView) -> str | None:
        for name, value in action.parameters.items():
            # Names are the agent's choice as well: neither is repeated.
            if finds(texts_in(name)) or finds(texts_in(value)):
                return "a parameter has a keyword that is denied"
        if action.expected_effects and finds(texts_in(action.expected_effects)):
            return "the expected effects have a keyword that is denied"
        return None

    return check


def deny_tool_param_matching(tool: str, param: str, matches: str) -> Check:
    """Refuse calls of ``tool`` in whose ``param`` the regular expression ``matches`` is found, anywhere in it.

    Anchor it with ``^`` and ``$`` to mean the whole. It is tried on the texts that ``contains`` of
    :func:`deny_tool_param` sees, as they are and in compatibility form without invisible characters. A call
    without ``param`` is not refused. An expression that does not compile refuses every call of ``tool``, and the
    check's ``problem`` says why. What it costs is the expression's business: nothing here bounds backtracking.
    """
    tool, param = _name("tool", tool), _name("param", param)
    if not isinstance(matches, str):
        raise ValueError(f"matches must be a regular expression, not a {type(cast('Any', matches)).__name__}")
    try:
        pattern = re.compile(matches)
    except (re.error, RecursionError, OverflowError) as error:
        return _Broken(tool, f"the expression for parameter {param!r} does not compile: {error}")

    def check(action: Action, state: StateView) -> str | None:
        if action.tool != tool or param not in action.parameters:
            return None
        if any(pattern.search(text) or pattern.search(plain(text)) for text in texts_in(action.parameters[param])):
            return f"parameter {param!r} of tool {tool!r} matches an expression that is denied"
        return None

    return check


def rate_limit_tool(tool: str, max_calls: int, interval_s: float, *, clock: Clock | None = None) -> Check:
    """Refuse a call of ``tool`` that would be more than the ``max_calls``-th within ``interval_s`` seconds.

    A sliding window; ``max_calls=0`` refuses every call. What counts is what this check lets through, when it
    does: an attempt, also if another policy or an approver then refuses it or the tool fails. What it refuses
    does not count. The window belongs to the check: registered in a team's engine, it is the whole team's, and
    every engine that shares the check shares it. It starts empty, and a new process forgets it.
    """
    tool = _name("tool", tool)
    if type(max_calls) is not int or max_calls < 0:
        raise ValueError("max_calls must be a whole number, 0 or more")
    if type(interval_s) not in (int, float) or not 0 < interval_s < float("inf"):
        raise ValueError("interval_s must be a number of seconds above 0")
    return RateLimit(tool, max_calls, float(interval_s), clock)


def require_state(key: str, value: Any) -> Check:
    """Refuse every action, of any kind, unless the state has ``value`` under ``key``; equal as JSON.

    That includes the action that would write it: somebody else has to.
    """
    key, wanted = _name("key", key), _json("value", value)

    def check(action: Action, state: StateView) -> str | None:
        found = state.get(key, _ABSENT)
        if found is _ABSENT:
            return f"the state has no {key!r}, which is required"
        return None if json_equal(found, wanted) else f"the state has another {key!r} than is required"

    return check


class _Broken:
    """Refuses a tool because its rule can't be applied."""

    def __init__(self, tool: str, problem: str) -> None:
        self._tool = tool
        self.problem = problem

    def __call__(self, action: Action, state: StateView) -> str | None:
        return f"tool {self._tool!r} is denied, because {self.problem}" if action.tool == self._tool else None


# What rules compare by


def _equals(wanted: Any) -> Callable[[Any], bool]:
    # Python's equality, not JSON's: a tool that takes 1 takes 1.0 as well.
    return lambda value: bool(value == wanted)


def _contains(wanted: Any) -> Callable[[Any], bool]:
    if isinstance(wanted, str):
        finds = _finds("contains", wanted)
        return lambda value: finds(texts_in(value))
    if type(wanted) not in (int, float, bool):
        raise ValueError(f"contains must be a text, a number or a truth value, not a {type(wanted).__name__}")
    wanted = _json("contains", wanted)
    return lambda value: any(item == wanted for item in _items(value))


def _finds(argument: str, word: str) -> Callable[[Iterable[str]], bool]:
    """Whether one of many texts has ``word`` in it."""
    if not isinstance(word, str):
        raise ValueError(f"{argument} must be a text, not a {type(cast('Any', word)).__name__}")
    fold = folded(word)
    if not fold.strip():
        raise ValueError(f"{argument} must not be empty; nothing but white space would refuse too much")
    return lambda texts: any(word in text or fold in folded(text) for text in texts)


def _items(value: Any) -> Iterator[Any]:
    """``value``, and every value at any depth of it."""
    yield value
    if isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            yield from _items(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _items(item)


# What rules are given


def _name(argument: str, value: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{argument} must be a name, a text that is not empty")
    return value


def _json(argument: str, value: Any) -> Any:
    return json_copy(value, argument)
