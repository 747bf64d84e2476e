"""The words for what is wrong with a value: what was expected, what is there, what was perhaps meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from msgspec import inspect

from .source import Ambiguous

__all__ = ["LARGEST", "described", "expected", "shown", "suggestion", "unambiguous"]

LARGEST = 1.7976931348623157e308
"""The largest float; a number beyond it is none that JSON's readers agree on."""

_SHOWN = 40  # characters of a value that is wrong
_NAMED = 20  # of the names that there are
_WORDS: dict[type, str] = {
    inspect.AnyType: "a JSON value",
    inspect.BoolType: "true or false",
    inspect.DictType: "a table",
    inspect.FloatType: "a number",
    inspect.IntType: "a whole number",
    inspect.ListType: "a list",
    inspect.StrType: "a text",
    inspect.StructType: "a table",
}


def suggestion(word: str, known: list[str]) -> str:
    """``did you mean 'vote'?``, or what there is."""
    plain = {each.lower().replace("_", ""): each for each in reversed(known)}
    close = get_close_matches(word.lower().replace("-", "").replace("_", "").replace(" ", ""), plain, 1)
    if close:
        return f"did you mean {plain[close[0]]!r}?"
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"there {'is' if len(known) == 1 else 'are'}: {', '.join(known[:_NAMED]) or 'none'}{more}"


def described(info: inspect.Type) -> str:
    """``a text or a table``."""
    if isinstance(info, inspect.Metadata):
        return described(info.type)
    if isinstance(info, inspect.UnionType):
        words = [described(kind) for kind in info.types if not isinstance(kind, inspect.NoneType)]
        return " or ".join(dict.fromkeys(words))
    if isinstance(info, inspect.LiteralType):
        return f"one of {', '.join(map(str, info.values))}"
    return _WORDS[type(info)]


def expected(info: inspect.Type, data: Any) -> str:
    wanted = described(info)
    said = f"must be {wanted}, not {shown(data)}"
    if "a text" in wanted and not isinstance(data, str | list | dict | None):
        return f"{said}; put quotes around it"
    if "number" in wanted and isinstance(data, str) and _is_number(data):
        return f"{said}; take the quotes away"
    return said


def unambiguous(info: inspect.Type, data: Ambiguous) -> str:
    said = f"{data.text} is {data.readings}; "
    wanted = described(info)
    if "number" in wanted:
        return said + "write the number with digits alone, such as 10, or with a point, such as 1000.0"
    if wanted == _WORDS[inspect.BoolType]:
        return said + "write true or false"
    return said + "put quotes around it"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def shown(data: object) -> str:
    if isinstance(data, Ambiguous):
        return data.text
    if data is None:
        return "nothing"
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, list):
        return "a list"
    if isinstance(data, dict):
        return "a table"
    if isinstance(data, int) and abs(data) > LARGEST:
        return "a number of hundreds of digits"
    text = repr(data) if isinstance(data, str) else str(data)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
