"""MapReduce: one agent per item, as many as there are; one more makes a single answer of theirs."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Sequence
from copy import copy
from typing import Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .. import prompts
from ..results import CoordinationResult
from ..spawn import Member, Run
from ..types import AgentOutput, AgentSpec, BudgetLimits
from .members import members_of, renamed
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["Item", "MapReduce", "MapReduceResult", "UnreadableItem"]


class Item(Struct, frozen=True, kw_only=True):
    """A text with a label that the mapper sees above it, a file's name for instance."""

    text: str
    label: str = ""


class UnreadableItem(Struct, frozen=True, kw_only=True):
    """An item that could not be read: it fails without an agent, and the others go on."""

    label: str
    reason: str


Items = Iterable[Any] | AsyncIterable[Any]


class MapReduceResult(CoordinationResult, kw_only=True):
    """``map_outputs``: one per item, in item order. ``reduced_answer``: the reducer's, or the mappers' answers
    joined. ``reduce_outputs``: of every reducer that was asked, the last one's last."""

    map_outputs: list[AgentOutput] = []
    reduced_answer: str = ""
    reduce_outputs: list[AgentOutput] = []


class MapReduce(Pattern[MapReduceResult]):
    """``mapper`` on every item, at most ``max_concurrent`` at a time, then ``reducer`` on their answers.

    Items are strings, :class:`Item`, or JSON values, from any iterable, async or endless: one is taken when a
    slot opens. A collection is asked to its end, so that every item has an output; of any other source nothing
    more is taken after the budget refuses. The mapper of item 3 is called ``<mapper>_3``, counted from 0.

    When the answers are more than ``fan_in``, or longer than ``reduce_chars`` together, groups are reduced first
    and then their results. A reducer that is denied or fails is replaced by the answers, joined. Without one
    good answer the reducer is not asked. Agents: one per item, and the reducers.
    """

    def __init__(
        self,
        mapper: Member,
        reducer: Member,
        max_concurrent: int = 5,
        fan_in: int | None = None,
        reduce_chars: int | None = None,
        *,
        reserve_for_finalizer: bool | None = None,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, not {max_concurrent!r}")
        if fan_in is not None and fan_in < 2:
            raise ValueError(f"fan_in must be 2 or more, not {fan_in!r}")
        if reduce_chars is not None and reduce_chars < 2:
            raise ValueError(f"reduce_chars must be 2 or more, not {reduce_chars!r}")
        self.mapper, self.reducer = members_of(self.kind, [mapper, reducer])
        for one, other in (mapper.name, reducer.name), (reducer.name, mapper.name):
            if other.removeprefix(f"{one}_").isdigit():
                raise ValueError(f"{self.kind}: {other!r} is what an agent of {one!r} will be called; rename one")
        self.max_concurrent = max_concurrent
        self.fan_in = fan_in
        self.reduce_chars = reduce_chars
        self.reserve_for_finalizer = reserve_for_finalizer
        self.items: Items | None = None

    def over(self, items: Items | None = None, **inputs: Any) -> Self:
        """This pattern with its items: for ``run``, or to nest it in another pattern."""
        super().over(**inputs)
        if items is None:
            return self
        if isinstance(items, str | bytes):
            raise TypeError(f"items is one {type(items).__name__}; pass a list of them")
        bound = copy(self)
        bound.items = items
        return bound

    async def execute(self, run: Run, task: str) -> MapReduceResult:
        if self.items is None:
            raise ValueError(f"{self.name} has no items; pass items=… to run, or nest {self.name}.over(items)")
        workers = run.keeping_back(self.reducer, when=self.reserve_for_finalizer)
        jobs = _Jobs(self.mapper, task, self.items, self.quote_limit)
        asked = await workers.fan_out(
            jobs.source(), self.max_concurrent, stop_on_denial=not isinstance(self.items, Collection)
        )
        mapped = jobs.with_unreadable(asked)

        answer, reduced = await self._reduce(run, task, mapped)
        return run.result(
            of=MapReduceResult,
            task=task,
            answer=answer,
            outputs=[*mapped, *reduced],
            map_outputs=mapped,
            reduced_answer=answer,
            reduce_outputs=reduced,
        )

    async def _reduce(self, run: Run, task: str, mapped: Sequence[AgentOutput]) -> tuple[str, list[AgentOutput]]:
        items, good = len(mapped), [output for output in mapped if output.error is None and output.answer]
        failed = items - len(good)
        reduced: list[AgentOutput] = []
        level = 1
        while len(groups := self._groups(good)) > 1:
            jobs = [
                (renamed(self.reducer, f"{self.reducer.name}_{level}_{place}"), self._reduction(task, items, group))
                for place, group in enumerate(groups)
                if len(group) > 1
            ]
            made = iter(await run.fan_out(jobs, self.max_concurrent))
            # A group of one is its own reduction; one whose reducer gave nothing is joined.
            good = [group[0] if len(group) == 1 else _made_of(group, next(made), reduced) for group in groups]
            level += 1
        if not good:
            return "", reduced
        last = await run.agent(self.reducer, self._reduction(task, items, good, failed=failed))
        reduced.append(last)
        return last.answer if last.succeeded else _joined(good), reduced

    def _reduction(self, task: str, items: int, group: Sequence[AgentOutput], failed: int = 0) -> str:
        limit = self.quote_limit
        if self.reduce_chars is not None and sum(len(output.answer) for output in group) > self.reduce_chars:
            limit = min(limit or self.reduce_chars, self.reduce_chars // len(group))
        return prompts.reduce(task, items, failed, group, limit)

    def _groups(self, good: Sequence[AgentOutput]) -> list[list[AgentOutput]]:
        """``good`` in groups that one reducer may take; at least two to a group, so that a level shrinks."""
        if self.fan_in is None and self.reduce_chars is None:
            return [list(good)]
        groups: list[list[AgentOutput]] = []
        chars = 0
        for output in good:
            full = bool(groups) and (
                (self.fan_in is not None and len(groups[-1]) >= self.fan_in)
                or (
                    self.reduce_chars is not None
                    and len(groups[-1]) >= 2
                    and chars + len(output.answer) > self.reduce_chars
                )
            )
            if not groups or full:
                groups.append([])
                chars = 0
            groups[-1].append(output)
            chars += len(output.answer)
        return groups

    def plan(self, task: str = "", items: Items | None = None, **inputs: Any) -> Plan:
        super().over(**inputs)
        items = self.items if items is None else items
        count = len(items) if isinstance(items, Collection) else None
        mapping = plan_of(self.mapper).times(count or 0, count)
        return mapping + plan_of(self.reducer).times(1 if count != 0 else 0, self._reducers(count))

    def _reducers(self, count: int | None) -> int | None:
        """The most reducers for ``count`` answers: groups of two are the smallest that a limit makes."""
        if count is None or count <= 1:
            return count
        smallest = 2 if self.reduce_chars is not None else self.fan_in
        if smallest is None:
            return 1
        reducers = 1
        while count > smallest:
            count = -(-count // smallest)
            reducers += count
        return reducers


class _Jobs:
    """The jobs that items make, one at a time, and what became of the items that made none."""

    def __init__(self, mapper: Member, task: str, items: Items, limit: int | None) -> None:
        self._mapper = mapper
        # Worked out once: every mapper is this one under another name.
        self._like = replace(mapper, role=mapper.role or mapper.name) if isinstance(mapper, AgentSpec) else None
        self._task = task
        self._items = items
        self._limit = limit
        self._count = 0
        self._unreadable: dict[int, AgentOutput] = {}

    def source(self) -> Iterator[tuple[Member, str]] | AsyncIterator[tuple[Member, str]]:
        return self._each_async(self._items) if isinstance(self._items, AsyncIterable) else self._each(self._items)

    def _each(self, items: Iterable[Any]) -> Iterator[tuple[Member, str]]:
        for item in items:
            if job := self._job(item):
                yield job

    async def _each_async(self, items: AsyncIterable[Any]) -> AsyncIterator[tuple[Member, str]]:
        try:
            async for item in items:
                if job := self._job(item):
                    yield job
        finally:
            if close := getattr(items, "aclose", None):
                await close()

    def _job(self, item: object) -> tuple[Member, str] | None:
        index = self._count
        self._count += 1
        name = f"{self._mapper.name}_{index}"
        if isinstance(item, UnreadableItem):
            self._unreadable[index] = AgentOutput(name=name, error=f"could not read {item.label}: {item.reason}")
            return None
        text, label = (item, "") if isinstance(item, str) else _text_of(item)
        mapper = renamed(self._mapper, name) if self._like is None else replace(self._like, name=name)
        return mapper, prompts.map_item(self._task, f"item {label}".rstrip(), text, self._limit)

    def with_unreadable(self, asked: Sequence[AgentOutput]) -> list[AgentOutput]:
        if not self._unreadable:
            return list(asked)
        outputs = iter(asked)
        everyone = (self._unreadable.get(index) or next(outputs, None) for index in range(self._count))
        return [output for output in everyone if output is not None]


def _text_of(item: object) -> tuple[str, str]:
    if isinstance(item, str):
        return item, ""
    if isinstance(item, Item):
        return item.text, item.label
    if isinstance(item, bytes):
        raise TypeError("an item is bytes; decode it, agents read text")
    return msgspec.json.encode(item).decode(), ""


def _made_of(group: Sequence[AgentOutput], output: AgentOutput, reduced: list[AgentOutput]) -> AgentOutput:
    reduced.append(output)
    return output if output.succeeded else AgentOutput(name=output.name, answer=_joined(group))


def _joined(outputs: Iterable[AgentOutput]) -> str:
    return "\n\n".join(output.answer for output in outputs)
