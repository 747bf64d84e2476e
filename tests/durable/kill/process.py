"""One process of a run: opens the journal, runs the team, is killed somewhere, or writes down what it came to."""

from __future__ import annotations

import os
import traceback
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec
from msgspec import Struct, to_builtins

from carpool import AgentOutput, AgentSpec, BudgetLimits, CoordinationResult, SharedInfra, StateStore
from carpool.budget import CoordinationBudget
from carpool.spawn import Run

from .bill import Bill, Sights, content_of
from .bugs import plant
from .crew import Crew, sign
from .points import Fuse, Journal, Kill, set_points
from .shapes import TASK, shape_of

__all__ = ["Came", "Order", "booked_in", "plain", "run_process"]


class Order(Struct, frozen=True):
    """What one process is to do. ``process`` counts those of the run from 0; without ``journal`` nothing is kept."""

    shape: str
    run_id: str
    folder: Path
    process: int
    seed: str
    kill: Kill = Kill()
    limits: BudgetLimits = BudgetLimits()
    edition: int = 0
    journal: Path | None = None
    bug: str = ""


class Came(Struct):
    """What a process that was let live came to: its result, without what differs from run to run; the state; what the
    budget had booked, and what the purse of each pattern that has one, by its path."""

    result: dict[str, Any]
    state: dict[str, Any]
    booked: tuple[int, int, int]
    purses: dict[str, tuple[int, int, int]]


def run_process(order: Order, armed: int) -> None:
    """Never returns: ends with 0, and a file ``came.json``; with 1, and ``error.txt``; or by its kill."""
    try:
        anyio.run(_run, order, armed)
    except BaseException:
        (order.folder / "error.txt").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


async def _run(order: Order, armed: int) -> None:
    fuse = Fuse(order.kill, armed)
    shape = shape_of(order.shape, order.edition)
    sights = Sights(order.folder / "sights.jsonl", order.process)
    crew = Crew(Bill(order.folder / "bill.jsonl", order.process), fuse, Random(f"{order.seed} {order.process}"))
    infra = SharedInfra(
        budget=order.limits,
        state=StateStore(shape.state),
        journal=None if order.journal is None else Journal(order.journal, fuse),
        tools=[sign],
        granted_tier="read_only",
        approver=crew.approve,
    )
    purses: dict[str, CoordinationBudget] = {}
    set_points(fuse, lambda run: sights.write("opened", booked_in(infra.budget)))
    _watch(sights, infra.budget, purses)
    if order.bug:
        plant(order.bug)

    result = await shape.team.run(TASK, runner=crew, infra=infra, run_id=order.run_id, **shape.inputs)

    inside = {path: booked_in(purse) for path, purse in purses.items()}
    came = Came(plain(result), infra.state.snapshot(), booked_in(infra.budget), inside)
    (order.folder / "came.json").write_bytes(msgspec.json.encode(came))


def booked_in(budget: CoordinationBudget) -> tuple[int, int, int]:
    """Input tokens, output tokens and starts."""
    there = budget.snapshot()
    return there.input_tokens, there.output_tokens, there.agents_started


def _watch(sights: Sights, budget: CoordinationBudget, purses: dict[str, CoordinationBudget]) -> None:
    """Have a sight written of every answer before the pattern that asked for it sees it; and note purses inside."""
    ask, scope = Run.agent, Run.scope

    def agent(self: Run, member: Any, task: str, **how: Any) -> Coroutine[Any, Any, Any]:
        asked = ask(self, member, task, **how)
        if not isinstance(member, AgentSpec):
            return asked
        return _seen(asked, content_of(member.role or member.name, task), sights, budget)

    def noted_scope(self: Run, name: str, **how: Any) -> Run:
        place = scope(self, name, **how)
        if how.get("budget") is not None:
            purses[place.path] = place.purse
        return place

    Run.agent, Run.scope = agent, noted_scope


async def _seen(
    asked: Coroutine[Any, Any, AgentOutput], content: str, sights: Sights, budget: CoordinationBudget
) -> AgentOutput:
    output = await asked
    if output.error is None:
        sights.write("seen", booked_in(budget), content, output.answer)
    return output


def plain(result: CoordinationResult) -> dict[str, Any]:
    """``result`` without what differs between two uninterrupted runs, and without what a kill costs: its budget."""
    return _without(to_builtins(result))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(each) for key, each in value.items() if key not in _VARYING}
    if isinstance(value, list):
        return [_without(each) for each in value]
    return value


_VARYING = {"run_id", "duration_ms", "budget", "timestamp"}
