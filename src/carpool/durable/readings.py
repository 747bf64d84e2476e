"""Who read whose answer, told from the tasks that agents were given: pure functions of a run's document.

An answer counts as read by an agent that started after it was given and

- whose task quotes it in a block of its own, whole or cut (what every pattern of carpool does), or
- whose task has it, word for word, anywhere else; looked for if it has three words and 24 characters at least, as
  shorter ones stand anywhere by chance, and if no more than 64 others are told from it by no word of theirs, or
- that asked for it: what a tool returns to an agent is read.

Of identical answers, all that were there count as read when one is. What a model made of it nobody can tell.

Nobody but its pattern reads an answer that is a verdict in one of carpool's forms, or *final*: it goes into the
pattern's answer. Where no agent of a pattern reads another's answer, the pattern puts the answers together itself,
and all are final. Where some do, those are that the last reader gave, readers of the same answers as it, and whoever
else ended after it had started and was read by nobody; where the budget kept somebody out of the pattern, whoever was
read by nobody, because a pattern makes do without an agent that it is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import prompts
from .document import AgentRecord, RunDocument

__all__ = ["Readings", "answered", "readings_of", "scope_of", "was_withdrawn"]

_WORDS_AT_LEAST = 3
_CHARS_AT_LEAST = 24
_WORDS_LOOKED_AT = 64
_ALIKE_AT_MOST = 64

_MARK = re.compile(r"^<<<(.*)>>>$", re.MULTILINE)
_CUT = re.compile(r"([\d,]{1,20}) more characters are left out here\]")
_VERDICTS = (prompts.APPROVAL, prompts.FINDINGS, prompts.JUDGEMENT)


class Readings(NamedTuple):
    """Of a run's agents, by their place in its document: who read the answer of each, and which answers only their
    pattern read: verdicts, and those that are final."""

    readers: list[set[int]]
    verdicts: set[int]
    final: set[int]


def readings_of(document: RunDocument) -> Readings:
    """Time is linear in the texts, but for answers that are hard to tell apart."""
    agents = document.agents
    readers: list[set[int]] = [set() for _ in agents]
    answers = _Answers(agents)
    at = {agent.path: place for place, agent in enumerate(agents)}
    for place, agent in enumerate(agents):
        for read in answers.found_in(agent.task):
            if read != place and _could_read(agent, agents[read]):
                readers[read].add(place)
        if agent.parent in at and agent.parent == scope_of(agent.path) and answered(agent):
            readers[place].add(at[agent.parent])
    verdicts = {
        place for place, agent in enumerate(agents) if answered(agent) and any(form in agent.task for form in _VERDICTS)
    }
    return Readings(readers, verdicts, _final(document, readers) - verdicts)


def answered(agent: AgentRecord) -> bool:
    """Whether it gave an answer that somebody could read."""
    return agent.status == "completed" and agent.output is not None and agent.output.succeeded


def scope_of(path: str) -> str:
    """The pattern, or the agent, in which whoever is at ``path`` was asked for."""
    return path.rpartition("/")[0]


def was_withdrawn(skipped: Mapping[str, Any]) -> bool:
    """Whether an event that an agent was skipped is about one that no budget refused."""
    return str(skipped.get("reason", "")).startswith("never started")


def _could_read(reader: AgentRecord, writer: AgentRecord) -> bool:
    return writer.ended is not None and reader.began >= writer.ended


class _Answers:
    """The answers of a run, to be found in tasks."""

    def __init__(self, agents: Sequence[AgentRecord]) -> None:
        self._quoted: dict[str, list[int]] = {}  # as a block has them
        self._by_length: dict[int, list[tuple[str, int]]] = {}
        spoken: dict[str, list[int]] = {}
        for place, agent in enumerate(agents):
            if agent.output is None or not answered(agent):
                continue
            answer = agent.output.answer
            self._quoted.setdefault(answer.replace("<<<", "\\<<<"), []).append(place)
            self._by_length.setdefault(len(answer), []).append((answer, place))
            if len(words := answer.strip()) >= _CHARS_AT_LEAST:
                spoken.setdefault(words, []).append(place)
        self._spoken = spoken
        self._by_word = _by_telling_word(spoken)

    def found_in(self, task: str) -> set[int]:
        blocks, rest = _taken_apart(task)
        found: set[int] = set()
        for block in set(blocks):
            places = self._quoted.get(block) or self._cut(block)
            found.update(places)
            if not places:
                rest.append(block)
        for text in rest:
            if len(text) >= _CHARS_AT_LEAST:
                found.update(self._said_in(text))
        return found

    def _cut(self, block: str) -> list[int]:
        """Whose answer is the beginning of which the block has, with the note how much is missing."""
        head, _, note = block.rpartition("\n[")
        missing = _CUT.fullmatch(note)
        if missing is None:
            return []
        head = head.replace("\\<<<", "<<<")
        length = len(head) + int(missing[1].replace(",", ""))
        return [place for answer, place in self._by_length.get(length, ()) if answer.startswith(head)]

    def _said_in(self, text: str) -> Iterable[int]:
        if not self._by_word:
            return
        for word in self._by_word.keys() & set(text.split()):
            for answer in self._by_word[word]:
                if answer in text:
                    yield from self._spoken[answer]


def _by_telling_word(answers: Iterable[str]) -> Mapping[str, list[str]]:
    """Each answer under the word of it that the fewest others have. Its first and last are left out: what stands
    around an answer may touch them."""
    words = {answer: answer.split(maxsplit=_WORDS_LOOKED_AT)[:_WORDS_LOOKED_AT] for answer in answers}
    words = {answer: found[1:-1] for answer, found in words.items() if len(found) >= _WORDS_AT_LEAST}
    common = Counter(word for found in words.values() for word in set(found))
    telling: dict[str, list[str]] = {}
    for answer, found in words.items():
        telling.setdefault(min(found, key=lambda word: (common[word], -len(word))), []).append(answer)
    return {word: alike for word, alike in telling.items() if len(alike) <= _ALIKE_AT_MOST}


def _taken_apart(task: str) -> tuple[list[str], list[str]]:
    """The texts that are quoted in ``task``, as they stand there, and what is around them.

    A quoted text has no line that begins with ``<<<``: where two such lines follow each other, and the second ends
    what the first began, what is between them is a quotation.
    """
    marks = list(_MARK.finditer(task))
    blocks: list[str] = []
    rest: list[str] = []
    at = place = 0
    while place + 1 < len(marks):
        first, second = marks[place], marks[place + 1]
        if second[1] == f"end of {first[1]}":
            rest.append(task[at : first.start()])
            blocks.append(task[first.end() + 1 : second.start() - 1])
            at = second.end()
            place += 1
        place += 1
    rest.append(task[at:])
    return blocks, rest


def _final(document: RunDocument, readers: Sequence[set[int]]) -> set[int]:
    agents = document.agents
    scopes: dict[str, list[int]] = {}
    for place, agent in enumerate(agents):
        if answered(agent):
            scopes.setdefault(scope_of(agent.path), []).append(place)
    refused = {
        scope_of(str(event.get("path", "")))
        for event in document.events
        if event.get("kind") == "agent_skipped" and not was_withdrawn(event)
    }
    final: set[int] = set()
    for scope, members in scopes.items():
        if agents[members[0]].parent != scope:
            final |= _final_of(members, agents, readers, makes_do=scope in refused)
    return final


def _final_of(
    members: Sequence[int], agents: Sequence[AgentRecord], readers: Sequence[set[int]], *, makes_do: bool
) -> set[int]:
    """Of ``members``, who have all answered in one pattern, those whose answers went into the pattern's."""
    inside = set(members)
    read: dict[int, set[int]] = {}
    for member in members:
        for reader in readers[member] & inside:
            read.setdefault(reader, set()).add(member)
    if not read:
        return inside
    last = max(read, key=lambda place: agents[place].began)
    begins = agents[last].began
    final = {place for place, what in read.items() if what == read[last] and not readers[place] & inside}
    for member in members:
        ended = agents[member].ended
        if not readers[member] and (makes_do or (ended is not None and ended >= begins)):
            final.add(member)
    return final
