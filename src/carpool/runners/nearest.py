"""What was recorded that is most like a request, and how the two differ: for whoever reads that there is no match.

Bounded: to find the nearest, a few thousand characters of each recording are looked at; of a difference at most some
dozen lines are shown, whatever the size of the texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from difflib import unified_diff
from heapq import nlargest
from typing import Any

from .recorded_call import Request

__all__ = ["Nearest", "difference"]

HEAD, TAIL = 1_500, 500  # characters of a task by which it is compared with all
FINALISTS, CLOSELY = 20, 10_000  # how many are compared again, by how many characters
SHOWN = 2_000  # characters of each side of one difference
WIDTH = 100  # of a line that is shown
LINES = 24  # of each side of one difference


class Nearest:
    """Finds the most alike of ``recorded``; what it needs to know of them is worked out once, when first asked."""

    def __init__(self, recorded: Sequence[Request]) -> None:
        self._recorded = recorded
        self._words: list[frozenset[str]] | None = None

    def to(self, request: Request) -> Request | None:
        """``None`` when nothing is recorded."""
        if self._words is None:
            self._words = [_words(each.task) for each in self._recorded]
        asked = _words(request.task)
        rows = enumerate(zip(self._recorded, self._words, strict=True))
        scored = ((_alike(each, words, request, asked), -place) for place, (each, words) in rows)
        finalists = [self._recorded[-place] for _, place in nlargest(FINALISTS, scored)]
        return max(finalists, key=lambda each: _closely_alike(each, request), default=None)


def difference(recorded: Request, request: Request) -> str:
    """A unified diff for each field of the spec that differs, and for the task."""
    lines: list[str] = []
    for field in [*recorded.spec, *(field for field in request.spec if field not in recorded.spec)]:
        lines += _changes(field, _shown(recorded.spec.get(field)), _shown(request.spec.get(field)))
    lines += _changes("task", recorded.task, request.task)
    return "\n".join(lines)


# How much alike


def _words(text: str) -> frozenset[str]:
    text = text if len(text) <= HEAD + TAIL else text[:HEAD] + text[-TAIL:]
    return frozenset(re.findall(r"\w+", text))


def _alike(recorded: Request, words: frozenset[str], request: Request, asked: frozenset[str]) -> float:
    common = len(words & asked)
    overlap = common / (len(words) + len(asked) - common) if words or asked else 1.0
    return 2 * overlap + (recorded.task == request.task) + _same_agent(recorded, request)


def _closely_alike(recorded: Request, request: Request) -> float:
    one, other = recorded.task[:CLOSELY], request.task[:CLOSELY]
    start, end = _in_common(one, other)
    return 2 * (start + end) / max(len(one), len(other), 1) + _same_agent(recorded, request)


def _same_agent(recorded: Request, request: Request) -> float:
    return (recorded.agent == request.agent) + 0.5 * (recorded.spec == request.spec)


def _in_common(one: str, other: str) -> tuple[int, int]:
    """How many characters two texts have in common at the start, and at the end of what remains."""
    most = min(len(one), len(other))
    start = _longest(most, lambda length: one[:length] == other[:length])
    most -= start
    return start, _longest(most, lambda length: one[len(one) - length :] == other[len(other) - length :])


def _longest(most: int, holds: Callable[[int], bool]) -> int:
    """The largest length up to ``most`` for which it ``holds``, as it does for every smaller one."""
    least = 0
    while least < most:
        middle = (least + most + 1) // 2
        if holds(middle):
            least = middle
        else:
            most = middle - 1
    return least


# What differs


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _changes(label: str, old: str, new: str) -> list[str]:
    if old == new:
        return []
    start, end = _in_common(old, new)
    begin = _line_before(old, start)
    gone, gone_cut = _piece(old, begin, len(old) - end)
    come, come_cut = _piece(new, begin, len(new) - end)
    hunks = list(unified_diff(gone, come, lineterm="", n=2))[2:]
    lines = [line for line in hunks if not line.startswith("@@")]
    cut = [" [more is left out here]"] if gone_cut or come_cut else []
    return [f"@@ {label} @@", *lines, *cut]


def _line_before(text: str, place: int) -> int:
    """Where the line begins in which ``place`` is, or somewhat before it where that is far away."""
    return max(text.rfind("\n", 0, place) + 1, place - WIDTH // 2, 0)


def _piece(text: str, begin: int, end: int) -> tuple[list[str], bool]:
    """The lines from ``begin`` until the end of the line in which ``end`` is, and whether some are left out."""
    if not text:
        return [], False
    rest = text.find("\n", end)
    stop = min(len(text) if rest < 0 else rest, end + WIDTH // 2)
    piece = text[begin : min(stop, begin + SHOWN)]
    lines = [line[at : at + WIDTH] for line in piece.split("\n") for at in range(0, max(len(line), 1), WIDTH)]
    return lines[:LINES], begin + SHOWN < stop or len(lines) > LINES
