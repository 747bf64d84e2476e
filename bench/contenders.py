"""Who runs in the overhead and sleepers benches: the same runner behind carpool, by hand, and bare."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from carpool import AgentOutput, AgentSpec, BudgetLimits, MapReduce, SharedInfra, TokenAccounting

from . import handwritten

__all__ = ["BARE", "BY_HAND", "CARPOOL", "CONTENDERS", "SPENT", "Contender", "no_op", "waits_once"]

SPENT = TokenAccounting(input_tokens=900, output_tokens=100, cost_usd=0.0005)

CARPOOL = "carpool MapReduce, budgeted and logged"
BY_HAND = "by hand: TaskGroup + Semaphore"
BARE = "bare worker pool"

TASK = "What does this item say?"
MAPPER = AgentSpec("mapper", handwritten.MAPPER_PROMPT)
LIMITS = BudgetLimits(max_total_tokens=10**15, max_cost_usd=1e9, max_agents=10**9)

Contender = Callable[[Sequence[str], Any, int], Awaitable[object]]


async def _carpool(items: Sequence[str], runner: handwritten.RunFunction, max_concurrent: int) -> object:
    pattern = MapReduce(MAPPER, handwritten.REDUCER, max_concurrent=max_concurrent)
    infra = SharedInfra(budget=LIMITS)
    result = await pattern.run(TASK, items=items, runner=runner, infra=infra)
    return result, infra


async def _by_hand(items: Sequence[str], runner: handwritten.RunFunction, max_concurrent: int) -> object:
    return await handwritten.map_reduce(TASK, items, runner, max_concurrent)


async def _bare(items: Sequence[str], runner: handwritten.RunFunction, max_concurrent: int) -> object:
    return await handwritten.worker_pool(MAPPER, items, runner, max_concurrent)


CONTENDERS: dict[str, Contender] = {CARPOOL: _carpool, BY_HAND: _by_hand, BARE: _bare}


async def no_op(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
    """An agent that answers at once and says what it cost."""
    return AgentOutput(name=spec.name, answer="done", tokens=SPENT)


async def waits_once(spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
    """One that gives way to the loop before it answers."""
    await asyncio.sleep(0)
    return AgentOutput(name=spec.name, answer="done", tokens=SPENT)
