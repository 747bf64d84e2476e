"""What a person writes with asyncio alone, without carpool: the other side of every comparison."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from carpool import AgentOutput, AgentSpec

__all__ = ["CheckThenAct", "OverBudget", "RunFunction", "map_reduce", "worker_pool"]

RunFunction = Callable[[AgentSpec, str, object, object], Awaitable[AgentOutput]]

MAPPER_PROMPT = "Answer about the one item that you are given."
REDUCER = AgentSpec("reducer", "Combine the answers.")


class OverBudget(Exception):
    """What hand-written code raises once it sees that the limit is reached."""


class CheckThenAct:
    """A token budget as it is usually written: look at the counter, call the model, add what it cost.

    Between looking and adding there is an ``await``, and whoever else looks meanwhile sees the old number. The
    one that finds the limit reached raises; the task group then cancels those at work, and what the others
    have answered never reaches the caller.
    """

    def __init__(self, runner: RunFunction, max_tokens: int, max_concurrent: int) -> None:
        self.runner = runner
        self.max_tokens = max_tokens
        self.spent = 0
        self.semaphore = asyncio.Semaphore(max_concurrent)

    async def run(self, task: str, items: Sequence[str]) -> list[AgentOutput]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.agent(index, task, item)) for index, item in enumerate(items)]
        return [task.result() for task in tasks]

    async def agent(self, index: int, task: str, item: str) -> AgentOutput:
        async with self.semaphore:
            if self.spent >= self.max_tokens:
                raise OverBudget(f"{self.spent} of {self.max_tokens} tokens are spent")
            spec = AgentSpec(f"mapper_{index}", MAPPER_PROMPT)
            output = await self.runner(spec, f"{task}\n\n{item}", None, None)
            if output.tokens is not None:
                self.spent += output.tokens.total_tokens
            return output


async def map_reduce(
    task: str, items: Sequence[str], runner: RunFunction, max_concurrent: int
) -> tuple[AgentOutput, list[AgentOutput]]:
    """The least that does the work: a spec and a prompt for each item, outputs in order, one reducer.

    No budget, no log, no retries, no timeouts; a runner that raises takes everybody down.
    """
    semaphore = asyncio.Semaphore(max_concurrent)

    async def agent(index: int, item: str) -> AgentOutput:
        async with semaphore:
            spec = AgentSpec(f"mapper_{index}", MAPPER_PROMPT)
            return await runner(spec, f"{task}\n\nItem {index}:\n{item}", None, None)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agent(index, item)) for index, item in enumerate(items)]
    outputs = [task.result() for task in tasks]

    answers = "\n\n".join(f"{output.name}:\n{output.answer}" for output in outputs if output.succeeded)
    return await runner(REDUCER, f"{task}\n\nCombine these answers.\n\n{answers}", None, None), outputs


async def worker_pool(
    spec: AgentSpec, items: Sequence[str], runner: RunFunction, max_concurrent: int
) -> list[AgentOutput | None]:
    """The physical limit: so many tasks call the runner on one item after the other, and nothing else."""
    outputs: list[AgentOutput | None] = [None] * len(items)
    jobs = iter(enumerate(items))

    async def worker() -> None:
        for index, item in jobs:
            outputs[index] = await runner(spec, item, None, None)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(max_concurrent, len(items))):
            group.create_task(worker())
    return outputs
