"""Which item an agent on record worked on: as the run was told, and as the task says that the agent was given.

What was typed says it of the latest process alone: by the next one an item may have come before the others, and who
was ``mapper_3`` is another. So a task, which is never another, has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ..durable import AgentRecord, RunDocument
from ..prompts import quote
from .assembly import Assembly

__all__ = ["LABELS", "label_of", "labels_of", "stored_labels"]

LABELS = "labels"
"""The key of the labels in what a journal keeps about a run."""

_MOST_BYTES = 16_384  # every transaction of the run writes it again, and every list of runs reads it
_ITEM = re.compile(r"\n\n<<<item (?P<label>[^\n]+)>>>\n(?s:.*)\n<<<end of item (?P=label)>>>\Z")


def stored_labels(work: Assembly) -> dict[str, str]:
    """The labels of the items that ``work`` is on, by agent; none if they are more than a header should hold."""
    labels = dict(work.labels)
    try:
        return labels if len(msgspec.json.encode(labels)) <= _MOST_BYTES else {}
    except UnicodeEncodeError:
        return {name: label.encode("utf-8", "replace").decode() for name, label in labels.items()}


def label_of(agent: AgentRecord) -> str | None:
    """The item in the task of ``agent``, if it was given one that has a label.

    A map-reduce quotes the item at the end, and nothing that is quoted can look like the mark of a quotation.
    """
    found = _ITEM.search(agent.task)
    return None if found is None else found["label"]


def labels_of(document: RunDocument) -> Mapping[str, str]:
    """The labels by the names of agents, for those names that were never given to two items."""
    told: dict[str, set[str]] = {}
    about: Any = document.about.get(LABELS)
    if isinstance(about, dict):
        for name, label in msgspec.convert(about, dict[str, str]).items():
            told.setdefault(name, set()).add(_as_quoted(label))
    for agent in document.agents:
        if (label := label_of(agent)) is not None:
            told.setdefault(agent.name, set()).add(label)
    return {name: min(labels) for name, labels in told.items() if len(labels) == 1}


def _as_quoted(label: str) -> str:
    return quote(label, "").partition(">>>")[0].removeprefix("<<<")
