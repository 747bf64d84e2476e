"""The runner that needs no model, key or network: its agents answer with the best sentences of what they read.

Sentences are ranked by TextRank (Mihalcea and Tarau 2004), pulled towards the question by BM25 (Robertson and
Zaragoza 2009), and picked by MMR (Carbonell and Goldstein 1998); ``ranking`` has the papers and their numbers,
``prose`` how sentences are found in Markdown and HTML.

Guaranteed: the same task gives the same answer, in every process and at any concurrency; word for word what
stood there, but for markup, white space, control characters and the full stop that a list item lacks; no
sentence twice; time and memory grow with the length of the text and not with its square.

Not guaranteed: sense. This is no language model: it infers nothing, follows no instruction and never gives a
verdict in JSON, so a supervisor, reviewer or judge of this kind is unreadable. Stop words and word endings are
English; other languages are ranked less well. That two answers agree says nothing: equal agents read alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..tokens import estimate_tokens
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .prose import sentences
from .ranking import Vector, central, fluency, relevance, spread, stems, vectors, words

if TYPE_CHECKING:
    from ..budget import Lease

__all__ = ["ExtractiveRunner"]

SENTENCES = 3  # in an answer, where the metadata says nothing
INLINE_CHARACTERS = 2_000  # about 2 ms of work: up to here a thread would cost more than it frees
THREADS = 2  # the interpreter runs one at a time; each more only makes the event loop wait longer for its turn
RANKED_SENTENCES = 4_000  # about 500,000 characters of prose

DAMPING = 0.85  # TextRank's own
DAMPING_ASKED = 0.5  # half of the rank is the question's; Otterbacher et al. lean on it even more
# The rest are choices, made by reading the summaries of some forty READMEs, manuals, notes and modules.
ASIDE = 0.25  # weight of the system prompt and of instructions after the question's first paragraph
UNDER = 0.5  # of a word, where it stands in the heading and not in the sentence
LEAD = 2.0  # what a text begins with counts 1 + 2, what is second 1 + 2 / 2 … (location: Edmundson 1969)


class ExtractiveRunner:
    """Runs every agent by sentence ranking; holds nothing, so one instance serves any number of agents."""

    async def run(self, spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
        """Answer ``task`` with the best sentences of its material, in their order, clear of markup.

        What stands in blocks is the material, and all else the question: from a line ``<<<label>>>`` to the line
        ``<<<end of label>>>``, as ``prompts`` quotes, or from ``<<<label | key>>>`` to ``<<<end key>>>``. Without
        blocks the first paragraph is the question and the rest the material; a lone paragraph is both.
        ``spec.metadata["sentences"]`` says how many sentences at most (3). Of more than 4,000 sentences those are
        ranked that best fit the question, filled up evenly from all over the material.

        Before ranking it asks ``runtime.lease``, if there is one, for the input and the longest answer there can
        be; afterwards it charges what it was. The cost is 0. A task without text gives an output with an error, and
        spends nothing. A long text is worked on in a thread. Cancelled, it returns at once and charges nothing (what it
        had reserved is the lease's to settle); the thread touches only its own text, so it is left to end by itself,
        for a megabyte within seconds.

        :raises ValueError: when ``sentences`` is no whole number of 1 or more.
        :raises BudgetExhausted: when the lease refuses.
        """
        wanted = _sentences_wanted(spec)
        size = len(spec.system_prompt) + len(task)
        reading = await _off_the_loop(size, _read, spec.system_prompt, task, wanted)
        if not reading.sentences:
            return AgentOutput(name=spec.name, error="nothing to read: the task has no text", tokens=TokenAccounting())

        lease: Lease | None = getattr(runtime, "lease", None)
        if lease is not None:
            lease.reserve(reading.at_most)
        answer = await _off_the_loop(size, _answer, reading, wanted)
        tokens = TokenAccounting(input_tokens=reading.at_most.input_tokens, output_tokens=estimate_tokens(answer))
        if lease is not None:
            lease.charge(tokens)
        return AgentOutput(name=spec.name, answer=answer, turns=1, tokens=tokens)


class _Sentence(NamedTuple):
    text: str
    stems: Counter[str]
    about: dict[str, float]  # the stems, and those of the heading
    fluency: float
    block: int
    place: int  # in its block


class _Reading(NamedTuple):
    asked: list[str]
    aside: list[str]
    sentences: list[_Sentence]
    at_most: TokenAccounting


def _sentences_wanted(spec: AgentSpec) -> int:
    value = spec.metadata.get("sentences", SENTENCES)
    if type(value) is not int or value < 1:
        raise ValueError(
            f"agent {spec.name!r}: metadata 'sentences' must be a whole number of 1 or more, not {value!r}"
        )
    return value


_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")
_threads: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("carpool.extractive")


async def _off_the_loop(size: int, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
    if size <= INLINE_CHARACTERS:
        await anyio.lowlevel.checkpoint()
        return work(*arguments)
    try:
        limiter = _threads.get()
    except LookupError:  # of each event loop its own: a limiter can't outlive the loop that waits on it
        limiter = anyio.CapacityLimiter(THREADS)
        _threads.set(limiter)
    return await anyio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True, limiter=limiter)


# What instructions say about the work, and not about the matter.
_TASK_WORDS = """
    agent answer article assistant brief briefly chapter concise content describe document explain extract file find
    following give happen helpful important information item key list main material mean overview page paragraph
    please point provide question read report say section sentence short shortly summarise summarize summary task tell
    text topic word work write
"""
_TASK_STEMS = frozenset(stems(_TASK_WORDS.split()))


def _read(system_prompt: str, task: str, wanted: int) -> _Reading:
    """All that must be known before the budget is asked."""
    question, blocks = _question_and_blocks(task)
    asked, _, rest = question.strip().partition("\n\n")
    found: dict[tuple[str, ...], _Sentence] = {}
    for block, text in enumerate(blocks):
        for place, (sentence, under) in enumerate(sentences(text)):
            spoken = words(sentence)
            found.setdefault(tuple(spoken) or (sentence,), _sentence(sentence, spoken, under, block, place))
    asked_stems = [stem for stem in stems(words(asked)) if stem not in _TASK_STEMS]
    ranked = _at_most(list(found.values()), asked_stems)
    longest = sorted((estimate_tokens(sentence.text) for sentence in ranked), reverse=True)[:wanted]
    return _Reading(
        asked=asked_stems,
        aside=[stem for stem in stems(words(f"{rest} {system_prompt}")) if stem not in _TASK_STEMS],
        sentences=ranked,
        at_most=TokenAccounting(input_tokens=estimate_tokens(system_prompt + task), output_tokens=sum(longest)),
    )


_DELIMITER = re.compile(r"<<<(.*)>>>\s*")


def _question_and_blocks(task: str) -> tuple[str, list[str]]:
    lines = task.split("\n")
    delimiters: dict[str, list[int]] = {}  # what stands in one, and in which lines, the first at the end
    for number in reversed(range(len(lines))):
        if delimiter := _DELIMITER.fullmatch(lines[number]):
            delimiters.setdefault(delimiter[1], []).append(number)
    outside: list[str] = []
    blocks: list[str] = []
    number = 0
    while number < len(lines):
        opening = _DELIMITER.fullmatch(lines[number])
        end = _end_of_block(opening[1], number, delimiters) if opening else None
        if end is None:
            outside.append(lines[number])
        else:
            blocks.append("\n".join(lines[number + 1 : end]))
            number = end
        number += 1
    if blocks:
        return "\n".join(outside), blocks
    question, *rest = re.split(r"\n\s*\n", task.strip(), maxsplit=1)
    return question, rest or [question]


def _end_of_block(label: str, start: int, delimiters: dict[str, list[int]]) -> int | None:
    for closing in (f"end of {label}", f"end {label.rpartition('|')[2].strip()}"):
        numbers = delimiters.get(closing, [])
        while numbers and numbers[-1] <= start:
            numbers.pop()
        if numbers:
            return numbers[-1]
    return None


def _sentence(text: str, spoken: list[str], under: str, block: int, place: int) -> _Sentence:
    body = Counter(stems(spoken))
    about: dict[str, float] = dict.fromkeys(stems(words(under)), UNDER)
    about.update(body)
    return _Sentence(text, body, about, fluency(text, spoken), block, place)


def _at_most(found: list[_Sentence], asked: list[str]) -> list[_Sentence]:
    if len(found) <= RANKED_SENTENCES:
        return found
    scores = relevance(asked, [sentence.about for sentence in found])
    fitting = sorted((place for place, score in enumerate(scores) if score), key=lambda place: -scores[place])
    kept = set(fitting[:RANKED_SENTENCES])
    others = [place for place in range(len(found)) if place not in kept]
    room = RANKED_SENTENCES - len(kept)
    kept.update(others[at * len(others) // room] for at in range(room))
    return [found[place] for place in sorted(kept)]


def _answer(reading: _Reading, wanted: int) -> str:
    found = reading.sentences
    rows = vectors([sentence.stems for sentence in found])
    scores = _scores(reading, rows)
    picked = spread(rows, scores, [sentence.block for sentence in found], wanted)
    return " ".join(found[place].text for place in picked)


def _scores(reading: _Reading, rows: list[Vector]) -> list[float]:
    found = reading.sentences
    asked = relevance(reading.asked, [sentence.about for sentence in found])
    aside = relevance(reading.aside, [sentence.about for sentence in found])
    answerable = any(asked)
    anywhere = 0.01 if answerable else 1.0  # where the question says nothing, the walk starts at every sentence
    restarts = [anywhere + said + ASIDE * nearby for said, nearby in zip(asked, aside, strict=True)]
    ranks = central(rows, restarts, DAMPING_ASKED if answerable else DAMPING)
    return [
        rank * sentence.fluency * (1 if answerable else 1 + LEAD / (1 + sentence.place))
        for rank, sentence in zip(ranks, found, strict=True)
    ]
