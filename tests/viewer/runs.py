"""What tests of the viewer look at: runs in a journal, made by patterns as any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from carpool import AgentOutput, AgentSpec, BudgetLimits, MapReduce, Pattern, SharedInfra, TokenAccounting
from carpool.durable import Journal

__all__ = ["COST", "every_outcome", "run_on", "saying", "spec"]

COST = TokenAccounting(input_tokens=100, output_tokens=20, cost_usd=0.0125)


def spec(name: str, **fields: Any) -> AgentSpec:
    return AgentSpec(name, f"You are {name}.", **fields)


def saying(say: Callable[[AgentSpec, str], str], *, cost: TokenAccounting = COST) -> Any:
    """A runner whose agents answer what ``say`` makes of their spec and task."""

    async def runner(spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        await anyio.lowlevel.checkpoint()
        return AgentOutput(name=spec.name, answer=say(spec, task), tokens=cost)

    return runner


async def run_on(
    journal: Journal, team: Pattern[Any], runner: Any, *, run_id: str = "r", task: str = "What?", **infra: Any
) -> None:
    """``team`` to its end, however that is."""
    await team.run(task, runner=runner, infra=SharedInfra(journal=journal, **infra), run_id=run_id)


async def every_outcome(journal: Journal, run_id: str = "r", *, max_concurrent: int = 2) -> None:
    """A run in which agents finish, fail, are tried again, and are refused. How many of each is only sure when they
    come one at a time."""
    failed: set[str] = set()

    async def runner(spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        await anyio.lowlevel.checkpoint()
        if spec.name in ("reader_1", "reader_3") and spec.name not in failed:
            failed.add(spec.name if spec.name == "reader_3" else "")
            raise ValueError("the page could not be read")
        return AgentOutput(name=spec.name, answer=f"{spec.name} says what there is to say of it", tokens=COST)

    reader, editor = spec("reader", estimate=COST, retries=1), spec("editor", estimate=COST)
    team = MapReduce(reader, editor, max_concurrent=max_concurrent, name="book")
    team = team.over(items=[f"page {n}" for n in range(8)])
    await run_on(journal, team, runner, run_id=run_id, budget=BudgetLimits(max_total_tokens=900, max_agents=8))
