"""One agent of a picture, in full: what it was told, what it answered, on what evidence, and what happened to it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..durable.records import Ended, Entry, encode_json
from ..events import AgentCancelled, AgentFailed, AgentFinished, AgentStarted
from ..types import AgentOutcome
from .picture import Picture
from .place import Place
from .rows import shortened

__all__ = ["PARTS", "detail_of", "events_of", "slice_of", "text_of"]

PARTS = ("system", "task", "answer", "error")
"""The texts of an agent. Of the run as a whole, only ``task``."""

_EVIDENCE = 200
_DATA_CHARS = 4_000


def detail_of(picture: Picture, n: int, *, chars: int | None, events: int | None) -> dict[str, Any]:
    """Agent ``n``, with at most so many characters of each text, and so many events; ``None`` is all.

    :raises LookupError: when there is no such agent.
    """
    place = _place(picture, n)
    fate = place.fate
    spec = None if fate is None else picture.history.specs.get(fate.spec)
    output = None if fate is None else fate.output
    told: dict[str, Any] = {
        "n": n,
        "texts": {part: slice_of(text, 0, chars) for part in PARTS if (text := text_of(picture, n, part))},
        "events": events_of(picture, n, 0, events),
        "event_count": len(place.events),
    }
    if spec is not None:
        told["spec"] = {
            "tools": spec.tools,
            "max_turns": spec.max_turns,
            "model": spec.model,
            "timeout_s": spec.timeout_s,
            "retries": spec.retries,
            "role": spec.role,
        }
    if output is not None:
        told["tools_used"] = output.tools_used
        if output.outcome is not None:
            told["outcome"] = _outcome(output.outcome)
    return told


def text_of(picture: Picture, n: int, part: str) -> str:
    """A whole text of agent ``n``, or of the run where ``n`` is -1; empty where there is none.

    :raises LookupError: when there is no such agent, or no such part.
    """
    if n == -1 and part == "task":
        return picture.header.task
    place, fate = _place(picture, n), _place(picture, n).fate
    if part not in PARTS:
        raise LookupError(f"an agent has no text {part!r}; it has {', '.join(PARTS)}")
    if fate is None:
        return place.reason if part == "error" else ""
    output, spec = fate.output, picture.history.specs.get(fate.spec)
    texts = {
        "system": None if spec is None else spec.system_prompt,
        "task": fate.task,
        "answer": None if output is None else output.answer,
        "error": None if output is None else output.error,
    }
    return texts[part] or ""


def slice_of(text: str, start: int, chars: int | None) -> dict[str, Any]:
    """A part of a text, where the next one begins, whether there is one, and how long the text is."""
    end = len(text) if chars is None else min(len(text), start + chars)
    return {"text": text[start:end], "next": end, "more": end < len(text), "chars": len(text)}


def events_of(picture: Picture, n: int, start: int, most: int | None) -> list[dict[str, Any]]:
    """What happened to agent ``n``, from its event ``start`` on: each as the log has it, and ``t``, when.

    :raises LookupError: when there is no such agent.
    """
    events = _place(picture, n).events
    return [
        _told(what) | {"seq": seq, "t": moment}
        for seq, moment, what in events[start : None if most is None else start + most]
    ]


def _place(picture: Picture, n: int) -> Place:
    if not 0 <= n < len(picture.places):
        raise LookupError(f"no agent {n} in run {picture.header.run_id}; there are {len(picture.places)}")
    return picture.places[n]


def _told(what: Entry | bytes) -> dict[str, Any]:
    """Without what stands beside it on the page: whose event it is, and its time."""
    if isinstance(what, bytes):
        fields: dict[str, Any] = msgspec.json.decode(what)
        fields = {name: value for name, value in fields.items() if name not in _BESIDE}
        return {name: shortened(value, 500) if isinstance(value, str) else value for name, value in fields.items()}
    if not isinstance(what, Ended):
        return {"kind": AgentStarted.kind, "attempt": getattr(what, "attempt", 1)}
    output = what.output
    told: dict[str, Any] = {"kind": _ENDS[what.status], "duration_ms": output.duration_ms, "turns": output.turns}
    if output.tokens is not None:
        told |= {"tokens": output.tokens.total_tokens, "cost_usd": output.tokens.cost_usd}
    if output.error is not None:
        told["error"] = shortened(output.error, 500)
    return told


def _outcome(outcome: AgentOutcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "summary": shortened(outcome.summary, _DATA_CHARS),
        "evidence": [
            {
                "kind": each.kind,
                "description": shortened(each.description, _DATA_CHARS),
                "data": "" if each.data is None else shortened(encode_json(each.data).decode(), _DATA_CHARS),
            }
            for each in outcome.evidence[:_EVIDENCE]
        ],
        "evidence_count": len(outcome.evidence),
    }


_BESIDE = frozenset(("run", "agent", "path", "parent", "timestamp", "seq", "t"))
_ENDS = {"completed": AgentFinished.kind, "failed": AgentFailed.kind, "cancelled": AgentCancelled.kind}
