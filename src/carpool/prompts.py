"""What agents are told about each other: pure functions from texts to a task.

Another agent's words, and any item, stand between two lines that begin with ``<<<`` and say whose they are. A
quoted text can neither close its block nor forge another: wherever it has ``<<<`` itself, a backslash is put
in front. Nothing is cut unless a limit is set, and then the cut says how much is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .types import AgentOutput

__all__ = [
    "answers",
    "debate",
    "map_item",
    "next_stage",
    "quote",
    "reduce",
    "sequel",
    "synthesis",
    "verdict_on_votes",
]


def quote(label: str, text: str, limit: int | None = None) -> str:
    """``text`` in a block that says what it is; at most ``limit`` characters of it."""
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}\n[{len(text) - limit:,} more characters are left out here]"
    if "<<<" in text:
        text = text.replace("<<<", "\\<<<")
    label = _on_one_line(label)
    return f"<<<{label}>>>\n{text}\n<<<end of {label}>>>"


def answers(outputs: Iterable[AgentOutput], limit: int | None = None) -> str:
    """The answers of all that succeeded, each in a block under its agent's name."""
    return "\n\n".join(quote(f"answer of {each.name}", each.answer, limit) for each in outputs if each.succeeded)


def map_item(task: str, label: str, item: str, limit: int | None = None) -> str:
    return f"{task}\n\n{quote(label, item, limit)}"


def reduce(task: str, items: int, failed: int, outputs: Sequence[AgentOutput], limit: int | None = None) -> str:
    missing = f" {failed} of them gave no answer and are missing here." if failed else ""
    return (
        f"{task}\n\n"
        f"The task was done on {items:,} items, each by itself.{missing} "
        f"Combine these {len(outputs):,} answers into one.\n\n{answers(outputs, limit)}"
    )


def next_stage(task: str, stage: str, answer: str, limit: int | None = None) -> str:
    return f"{task}\n\nThe stage before yours gave this:\n\n{quote(f'answer of {stage}', answer, limit)}"


def sequel(task: str, before: Sequence[AgentOutput], limit: int | None = None) -> str:
    shown = answers(before, limit)
    return f"{task}\n\nOthers have answered before you:\n\n{shown}" if shown else task


def debate(task: str, name: str, latest: Sequence[AgentOutput], limit: int | None = None) -> str:
    return (
        f"{task}\n\n"
        f"You are {_on_one_line(name)}. These are the latest answers of all, yours among them. "
        f"Weigh them and give your own answer again, changed or not.\n\n{answers(latest, limit)}"
    )


def synthesis(task: str, outputs: Sequence[AgentOutput], limit: int | None = None) -> str:
    return f"{task}\n\nSeveral agents have answered. Make one answer of theirs.\n\n{answers(outputs, limit)}"


def verdict_on_votes(task: str, tally: dict[str, int], outputs: Sequence[AgentOutput], limit: int | None = None) -> str:
    counts = "\n\n".join(
        quote(f"{count} of {sum(tally.values())} votes", answer, limit) for answer, count in tally.items()
    )
    return (
        f"{task}\n\nSeveral agents have voted. The count:\n\n{counts}\n\n"
        f"Their answers in full follow. State the answer that they support.\n\n{answers(outputs, limit)}"
    )


def _on_one_line(label: str) -> str:
    """A name as it may stand outside a block or in its first line: it can begin none itself."""
    if label.isprintable() and "<" not in label and ">" not in label:
        return label
    return " ".join(label.replace("<", "(").replace(">", ")").split())
