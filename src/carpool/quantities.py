"""Amounts as people type them: ``500k tokens``, ``$2.50``, ``20 agents``, ``1h30m``. Pure parsing."""

from __future__ import annotations

import re
from math import inf
from typing import Any

__all__ = ["parse_limits"]

_MULTIPLES = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}  # by the unit, or its first letter
_NUMBER = r"(?P<number>\d[\d_]*(?:\.\d+)?|\.\d+)"

_TOKENS = re.compile(rf"{_NUMBER}\s*(?P<multiple>[kmgb]?)\s*(?P<side>input|output|total|)\s*tok(?:en)?s?", re.I)
_DOLLARS = re.compile(rf"(?:\$\s*{_NUMBER}|{_NUMBER.replace('number', 'plain')}\s*(?:usd|dollars?))", re.I)
_AGENTS = re.compile(rf"{_NUMBER}\s*(?P<multiple>[kmgb]?)\s*agents?", re.I)
_DEPTH = re.compile(r"(?:depth\s*(?P<number>\d+)|(?P<plain>\d+)\s*(?:levels?|deep))", re.I)
_UNIT = r"(ms|sec(?:ond)?s?|min(?:ute)?s?|hours?|days?|[smhd])"
_DURATION = re.compile(rf"(?:\d+(?:\.\d+)?\s*{_UNIT}\s*)+", re.I)
_DURATION_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*{_UNIT}", re.I)

_GROUPED = re.compile(r"(?<![\d.,_])\d{1,3}(?:,\d{3})+(?![\d,])")  # 1,000,000, but neither 2.50,100 nor 1,00

_EXAMPLE = "write for example '500k tokens, $2.50, 20 agents, 10m'"


def parse_limits(text: str) -> dict[str, Any]:
    """The limits that ``text`` names, as keyword arguments of ``BudgetLimits``.

    Parts are separated by commas. A part is tokens (``500k tokens``, ``200k input tokens``), dollars
    (``$2.50``, ``2.50 usd``), agents (``20 agents``), time (``90s``, ``10m``, ``1h30m``) or depth
    (``depth 3``); ``k``, ``m`` and ``g`` multiply tokens and agents. A text without a part is refused: most often it
    is a variable that somebody forgot to set, and no limit is the last thing that was meant.

    :raises ValueError: naming the part that can't be read, or a limit that is set twice; or if nothing is named.
    """
    found: dict[str, Any] = {}
    # A comma between digits groups thousands ("1,000 agents"); every other comma separates parts.
    for part in re.split(r"(?<!\d),|,(?!\d{3}(?!\d))", text):
        if not part.strip():
            continue
        name, value = _read(part.strip(), text)
        if value == inf:
            raise ValueError(f"budget {text!r}: {part.strip()!r} is more than can be counted")
        if name in found:
            raise ValueError(f"budget {text!r}: {name} is set twice, the second time by {part.strip()!r}")
        found[name] = value
    if not found:
        raise ValueError(f"budget {text!r}: {text!r} says no tokens or dollars, and no other limit; {_EXAMPLE}")
    return found


def _read(part: str, text: str) -> tuple[str, int | float]:
    if _GROUPED.search(part):
        part = part.replace(",", "")
    if match := _TOKENS.fullmatch(part):
        side = match["side"].lower() or "total"
        return f"max_{side}_tokens", _whole(match["number"], match["multiple"], part, text)
    if match := _DOLLARS.fullmatch(part):
        return "max_cost_usd", float((match["number"] or match["plain"]).replace("_", ""))
    if match := _AGENTS.fullmatch(part):
        return "max_agents", _whole(match["number"], match["multiple"], part, text)
    if match := _DEPTH.fullmatch(part):
        return "max_depth", _whole(match["number"] or match["plain"], "", part, text)
    if _DURATION.fullmatch(part):
        pieces = _DURATION_PART.findall(part)
        return "max_seconds", sum(
            float(number) * _SECONDS.get(unit.lower(), _SECONDS[unit[0].lower()]) for number, unit in pieces
        )
    raise ValueError(f"budget {text!r}: can't read {part!r}; {_EXAMPLE}")


def _whole(number: str, multiple: str, part: str, text: str) -> int:
    from decimal import Decimal  # 2.3 million is a whole number of tokens; 2.3 * 1e6 as floats is not

    value = Decimal(number.replace("_", "")) * _MULTIPLES[multiple.lower()]
    if value > 2**64:
        raise ValueError(f"budget {text!r}: {part!r} is more than can be counted")
    if value != int(value):
        raise ValueError(f"budget {text!r}: {part!r} is not a whole number")
    return int(value)
