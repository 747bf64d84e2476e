"""Verdicts: one JSON object, anywhere in a reply, checked against a type. What can't be read never passes.

A verdict is three-valued: readable for, readable against, or inconclusive. A reply that can't be read is asked for
once more with the reason, and is inconclusive after that. To be readable a reply must have one verdict:

- a complete JSON object of its own, in a code fence or not, with whatever prose around it; one inside another,
  or inside a broken one, is not a verdict
- with the fields of the type: ``"true"`` and ``1`` are no bool; a field given twice is none; further ones may be there
- several that say the same are one; several that differ are none, because it can't be told which one is meant
- one that stands in the prompt too is a quotation: an answer can't bring its own approval with it
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from .. import prompts
from ..errors import AgentFailed, BudgetError
from ..spawn import Member, Run
from ..types import AgentOutput

if TYPE_CHECKING:
    from json import JSONDecoder

__all__ = [
    "Advice",
    "AdvisorVerdict",
    "Approval",
    "Findings",
    "Judgement",
    "Reading",
    "Reported",
    "Severity",
    "Unreadable",
    "ask",
    "read",
]

Severity = Literal["blocker", "major", "minor", "info"]
AdvisorVerdict = Literal["continue", "plan", "correction", "stop", "uncertain"]


class Approval(Struct, frozen=True, kw_only=True):
    """What a supervisor replies. ``answer``, if it gives one, is the answer of the team."""

    approved: bool
    feedback: str
    answer: str | None = None


class Reported(Struct, frozen=True, kw_only=True):
    """What a reviewer says of one criterion, in its own words."""

    criterion: str
    passed: bool
    evidence: str
    severity: Severity


class Findings(Struct, frozen=True, kw_only=True):
    """What a reviewer replies."""

    findings: list[Reported]


class Judgement(Struct, frozen=True, kw_only=True):
    """What a judge replies of two answers."""

    winner: Literal["a", "b"]
    rationale: str


class Advice(Struct, frozen=True, kw_only=True):
    """What an advisor replies."""

    verdict: AdvisorVerdict
    guidance: str


V = TypeVar("V", bound=Struct)


class Unreadable(ValueError):
    """There is no verdict in the reply; the text says why, for whoever is asked again."""


class Reading(Struct, Generic[V], frozen=True, kw_only=True):
    """What came of asking one agent for a verdict: one of ``verdict``, ``error`` or ``unreadable`` is set.

    ``error`` is the budget's refusal or the agent's failure; ``unreadable`` why neither of its two replies could be
    read; ``reply`` its last one.
    """

    verdict: V | None = None
    error: BudgetError | AgentFailed | None = None
    unreadable: str | None = None
    reply: str = ""


async def ask(
    run: Run,
    jobs: Sequence[tuple[Member, str]],
    kind: type[V],
    outputs: list[AgentOutput],
    max_concurrent: int | None = None,
) -> list[Reading[V]]:
    """Ask each ``(member, prompt)`` for a verdict of this ``kind``, twice at most; readings in the order of ``jobs``.

    Every output is appended to ``outputs``: the first replies in the order of ``jobs``, then the second ones. After
    a refusal by the budget, or a failure, nobody is asked who is not in flight: there are fewer readings then.
    """
    first = await _replies(run, jobs, max_concurrent)
    outputs += first
    readings = [_reading(run, job, output, kind) for job, output in zip(jobs, first, strict=False)]

    again = [place for place, reading in enumerate(readings) if reading.unreadable is not None]
    if again and not any(reading.error for reading in readings):
        repairs = [(jobs[place][0], _once_more(jobs[place][1], readings[place])) for place in again]
        second = await _replies(run, repairs, max_concurrent)
        outputs += second
        for place, output in zip(again, second, strict=False):
            readings[place] = _reading(run, jobs[place], output, kind)
    return readings


async def _replies(run: Run, jobs: Sequence[tuple[Member, str]], max_concurrent: int | None) -> list[AgentOutput]:
    if len(jobs) == 1:
        return [await run.agent(*jobs[0])]
    return await run.fan_out(_until_lost(run, jobs), max_concurrent or len(jobs))


def _until_lost(run: Run, jobs: Sequence[tuple[Member, str]]) -> Iterator[tuple[Member, str]]:
    """The jobs, until one of them comes to nothing: then the run can't go on, and the rest is not worth its price."""
    seen = len(run.finished)
    for job in jobs:
        if not all(output.succeeded for output in run.finished[seen:]):
            return
        seen = len(run.finished)
        yield job


def _once_more(prompt: str, reading: Reading[Any]) -> str:
    return prompts.ask_again(prompt, reading.reply, reading.unreadable or "")


def _reading(run: Run, job: tuple[Member, str], output: AgentOutput, kind: type[V]) -> Reading[V]:
    member, prompt = job
    if not output.succeeded:
        return Reading(error=run.error_of(member, output))
    try:
        return Reading(verdict=read(output.answer, kind, prompt=prompt), reply=output.answer)
    except Unreadable as error:
        return Reading(unreadable=str(error), reply=output.answer)


def read(reply: str, kind: type[V], *, prompt: str = "") -> V:
    """The one verdict in ``reply`` that is not quoted from ``prompt``.

    :raises Unreadable: when there is none, or more than one.
    """
    found: list[V] = []
    wrong = "there is no JSON object in it"
    for candidate in _objects(reply):
        if isinstance(candidate, str):
            wrong = candidate
            continue
        try:
            verdict = _fitting(candidate, kind)
        except ValueError as error:
            wrong = str(error)
        else:
            if verdict not in found:
                found.append(verdict)
    quoted = _quoted(prompt, kind) if found else []
    own = [verdict for verdict in found if verdict not in quoted]
    if not own:
        raise Unreadable("its verdict is a quotation from what was shown; give your own" if found else wrong)
    if len(own) > 1:
        raise Unreadable(f"it has {len(own)} different verdicts; give one")
    return own[0]


def _fitting(candidate: dict[str, Any], kind: type[V]) -> V:
    """:raises ValueError: when the object is not of this kind."""
    try:
        verdict = msgspec.convert(candidate, kind)
        msgspec.json.encode(verdict)
    except msgspec.ValidationError as error:
        raise ValueError(f"its JSON object does not fit: {error}") from None
    except UnicodeEncodeError:
        raise ValueError("its JSON object has half of a character in it") from None
    return verdict


def _quoted(prompt: str, kind: type[V]) -> list[V]:
    found: list[V] = []
    for form in _FORMS:
        prompt = prompt.replace(form, "")  # it stands in every prompt, and looks like an object from its beginning
    for candidate in _objects(prompt):
        if not isinstance(candidate, str):
            try:
                found.append(_fitting(candidate, kind))
            except ValueError:
                continue
    return found


_FORMS = (prompts.APPROVAL, prompts.FINDINGS, prompts.JUDGEMENT, prompts.ADVICE)
_BEGINNING = re.compile(r'\{\s*"')
_BRACE_OR_STRING = re.compile(r'[{}"]')
_END_OF_STRING = re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL)


def _objects(text: str) -> Iterator[dict[str, Any] | str]:
    """Each JSON object in ``text`` that is in no other, or why what begins like one is none."""
    if not _BEGINNING.search(text):
        return
    decoder, place = _decoder(), 0
    while (begin := _BEGINNING.search(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, begin.start())
            yield value
            continue
        except _TwiceError as error:
            yield str(error)
        except (ValueError, RecursionError):
            yield "its JSON object is not complete, or no JSON"
        place = _end_of(text, begin.start())


@cache
def _decoder() -> JSONDecoder:
    import json  # its decoder tells where a value ends; msgspec's does not

    # Line breaks inside strings are no JSON, but what many models write.
    return json.JSONDecoder(strict=False, object_pairs_hook=_each_once, parse_constant=_no_constant)


def _end_of(text: str, begin: int) -> int:
    """Where the broken object at ``begin`` ends, by its braces; the end of ``text`` if it never does."""
    depth, place = 0, begin
    while (found := _BRACE_OR_STRING.search(text, place)) is not None:
        place = found.end()
        if found[0] == '"':
            string = _END_OF_STRING.match(text, place)
            if string is None:
                break
            place = string.end()
        else:
            depth += 1 if found[0] == "{" else -1
            if depth == 0:
                return place
    return len(text)


class _TwiceError(ValueError):
    pass


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _TwiceError(f"its JSON object has {name!r} twice")
        fields[name] = value
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
