"""What agents are told about each other: pure functions from texts to a task.

Another agent's words, and any item, stand between two lines that begin with ``<<<`` and say whose they are. A
quoted text can neither close its block nor forge another: wherever it has ``<<<`` itself, a backslash is put
in front. Nothing is cut unless a limit is set, and then the cut says how much is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .types import AgentOutput

__all__ = [
    "ADVICE",
    "APPROVAL",
    "FINDINGS",
    "JUDGEMENT",
    "answers",
    "ask_again",
    "consultation",
    "debate",
    "map_item",
    "match",
    "mission",
    "next_stage",
    "quote",
    "reduce",
    "review",
    "revision",
    "sequel",
    "shortened",
    "supervision",
    "synthesis",
    "tie_break",
    "verdict_on_votes",
]

# The forms of the verdicts that agents are asked for. None of them is a JSON object: none can be taken for a verdict.
APPROVAL = '{"approved": true or false, "feedback": "what to do better, or why it is good"}'
FINDINGS = (
    '{"findings": [{"criterion": "word for word as above", "passed": true or false, '
    '"evidence": "what in the work shows it", "severity": "blocker" or "major" or "minor" or "info"}]}'
)
JUDGEMENT = '{"winner": "a" or "b", "rationale": "why"}'
ADVICE = (
    '{"verdict": "continue" or "plan" or "correction" or "stop" or "uncertain", "guidance": "what to do next, and why"}'
)


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
    return "\n\n".join([quote(f"answer of {each.name}", each.answer, limit) for each in outputs if each.succeeded])


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


def mission(mission: str, task: str) -> str:
    return f"{mission}\n\n{quote('what all of this is for', task)}" if task else mission


def supervision(
    task: str, round_number: int, max_rounds: int, outputs: Sequence[AgentOutput], limit: int | None = None
) -> str:
    shown = "\n\n".join(
        quote(f"answer of {each.name}", each.answer, limit)
        if each.succeeded
        else quote(f"failure of {each.name}, who gave no answer", each.error or "an empty answer", limit)
        for each in outputs
    )
    return (
        f"{task}\n\n"
        f"You supervise those who work on this task. This is round {round_number} of at most {max_rounds}. "
        f"What they have come to:\n\n{shown}\n\n"
        "Approve it, or say what they must do better. "
        f"Reply with one JSON object: {APPROVAL}. "
        'If you approve, you may add "answer": "the answer as it should be given".'
    )


def revision(task: str, previous: str | None, supervisor: str, feedback: str, limit: int | None = None) -> str:
    own = f"Your own answer was:\n\n{quote('your answer', previous, limit)}\n\n" if previous else ""
    return (
        f"{task}\n\n{own}It was not approved. Answer again, and take this into account:\n\n"
        f"{quote(f'feedback of {supervisor}', feedback, limit)}"
    )


def review(criteria: Sequence[str], work: str, limit: int | None = None) -> str:
    listed = "\n".join(f"- {' '.join(criterion.split())}" for criterion in criteria)
    return (
        f"Judge this work by these criteria, each by itself, and look for what is wrong:\n\n{listed}\n\n"
        f"{quote('the work', work, limit)}\n\n"
        f"Reply with one JSON object: {FINDINGS}, with a finding for each criterion, "
        "and further ones for what else is wrong."
    )


def match(task: str, a: str, b: str, limit: int | None = None) -> str:
    return (
        f"Two answers were given to this task:\n\n{quote('the task', task)}\n\n"
        f"{quote('answer a', a, limit)}\n\n{quote('answer b', b, limit)}\n\n"
        f"Decide which is better. Reply with one JSON object: {JUDGEMENT}."
    )


def tie_break(task: str, a: str, b: str, for_a: str, for_b: str, limit: int | None = None) -> str:
    return (
        f"{match(task, a, b, limit)}\n\n"
        "Two judges before you disagreed. Weigh their reasons, and decide by the answers alone.\n\n"
        f"{quote('a reason for answer a', for_a, limit)}\n\n{quote('a reason for answer b', for_b, limit)}"
    )


def consultation(question: str, limit: int | None = None) -> str:
    return (
        f"You are asked for advice by somebody who does the work alone:\n\n{quote('the question', question, limit)}\n\n"
        f"Reply with one JSON object: {ADVICE}."
    )


def ask_again(prompt: str, reply: str, reason: str, limit: int | None = None) -> str:
    return (
        f"{prompt}\n\nYou have replied before, and your reply could not be read: {reason}. "
        f"Reply once more, with one JSON object as asked for.\n\n{quote('your reply', reply, limit)}"
    )


def shortened(text: str, limit: int | None = None) -> str:
    """At most ``limit`` characters of ``text``, and how much is missing."""
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit:,} more characters are left out here]"


def _on_one_line(label: str) -> str:
    """A name as it may stand outside a block or in its first line: it can begin none itself."""
    if label.isprintable() and "<" not in label and ">" not in label:
        return label
    return " ".join(label.replace("<", "(").replace(">", ")").split())
