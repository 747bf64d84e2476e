"""What is spent beyond the limit, and which finished answers the caller gets: carpool, and a check by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from carpool import AgentOutput, AgentSpec, BudgetLimits, MapReduce, SharedInfra, Swarm, TokenAccounting

from .handwritten import CheckThenAct, OverBudget
from .report import Report, Table, Target

__all__ = ["measure"]

CALL = TokenAccounting(input_tokens=150, output_tokens=50)  # what every agent really costs: 200 tokens
SECONDS = (0.010, 0.020, 0.015)  # how long one takes, in turn: no two models or prompts are equally fast
AT_ONCE = 20

NO_ESTIMATES = "carpool, no estimates"
RESERVING = "carpool, no estimates, the runner reserves each call"
ESTIMATES = "carpool, true estimates"
BY_HAND = "by hand: check, then act"


class Provider:
    """A model behind a wire. It bills when the answer leaves, so a call that is cancelled before costs nothing
    here; a real provider bills it all the same."""

    def __init__(self) -> None:
        self.calls = 0
        self.billed = 0

    async def answer(self, name: str) -> AgentOutput:
        seconds = SECONDS[self.calls % len(SECONDS)]
        self.calls += 1
        await asyncio.sleep(seconds)
        self.billed += 1
        return AgentOutput(name=name, answer="an answer", tokens=CALL)

    async def run(self, spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
        return await self.answer(spec.name)


class ReservingProvider(Provider):
    """The same, behind a runner that asks its lease before the call, as all of carpool's own do."""

    async def run(self, spec: AgentSpec, task: str, runtime: object, mailbox: object) -> AgentOutput:
        runtime.lease.reserve(CALL)
        return await self.answer(spec.name)


@dataclass(frozen=True)
class Case:
    """``limit`` is worth ``limit // 200`` agents."""

    title: str
    agents: int
    limit: int

    @property
    def items(self) -> list[str]:
        return [f"item {index}" for index in range(self.agents)]

    @property
    def limits(self) -> BudgetLimits:
        return BudgetLimits(max_total_tokens=self.limit)


Outputs = Awaitable[list[AgentOutput]]


async def _swarm(case: Case, provider: Provider, estimate: TokenAccounting | None) -> list[AgentOutput]:
    team = [AgentSpec(f"agent_{index}", "Answer.", estimate=estimate) for index in range(case.agents)]
    infra = SharedInfra(budget=case.limits)
    result = await Swarm(team, "parallel").run("Answer.", runner=provider, infra=infra)
    return result.outputs


async def _map_reduce(case: Case, provider: Provider, estimate: TokenAccounting | None) -> list[AgentOutput]:
    mapper = AgentSpec("mapper", "Answer.", estimate=estimate)
    pattern = MapReduce(mapper, AgentSpec("reducer", "Combine."), max_concurrent=AT_ONCE)
    infra = SharedInfra(budget=case.limits)
    result = await pattern.run("Answer.", items=case.items, runner=provider, infra=infra)
    return result.outputs


async def _by_hand(case: Case, provider: Provider) -> list[AgentOutput]:
    try:
        return await CheckThenAct(provider.run, case.limit, AT_ONCE).run("Answer.", case.items)
    except* OverBudget:
        pass
    return []


def _versions(
    pattern: Callable[[Case, Provider, TokenAccounting | None], Outputs],
) -> list[tuple[str, type[Provider], Callable[[Case, Provider], Outputs]]]:
    return [
        (ESTIMATES, Provider, lambda case, provider: pattern(case, provider, CALL)),
        (RESERVING, ReservingProvider, lambda case, provider: pattern(case, provider, None)),
        (NO_ESTIMATES, Provider, lambda case, provider: pattern(case, provider, None)),
        (BY_HAND, Provider, _by_hand),
    ]


def measure(*, quick: bool = False) -> Report:
    many = 200 if quick else 1000
    cases = [
        (Case("20 agents at once, worth 2", 20, 2 * CALL.total_tokens), _swarm),
        (Case(f"{many:,} items, 20 at a time, worth 100", many, 100 * CALL.total_tokens), _map_reduce),
    ]
    rows: list[list[object]] = []
    for case, pattern in cases:
        for version, provider_type, run in _versions(pattern):
            provider = provider_type()
            kept = sum(output.succeeded for output in asyncio.run(run(case, provider)))
            spent = provider.billed * CALL.total_tokens
            over, lost = max(0, spent - case.limit), provider.billed - kept
            rows.append([case.title, version, case.limit, spent, over, provider.calls, provider.billed, kept, lost])
    columns = ["agents", "version", "limit", "spent", "overshoot", "called", "finished", "kept", "lost"]
    return Report(
        "overshoot",
        "Overshoot: spent beyond the limit, and answers lost (tokens; every agent costs 200)",
        [Table(columns, rows)],
        _targets([dict(zip(columns, row, strict=True)) for row in rows]),
        [
            "called: calls that reached the model. finished: of those, answered and billed. kept: answers that the",
            "caller got. lost: paid for, and gone. Calls that are cancelled are not counted as spent here, which",
            "favours the version by hand. Without an estimate carpool holds the largest spend seen in that role.",
        ],
    )


def _targets(rows: list[dict[str, int]]) -> list[Target]:
    ours = [row for row in rows if row["version"] != BY_HAND]
    exact = max(row["overshoot"] for row in ours if row["version"] != NO_ESTIMATES)
    blind = max(row["overshoot"] for row in ours if row["version"] == NO_ESTIMATES)
    in_flight = AT_ONCE * CALL.total_tokens
    lost = sum(row["lost"] for row in ours)
    return [
        Target("overshoot with true estimates: 0", f"{exact:,} tokens", exact == 0),
        Target(
            f"without any: at most what is in flight spends ({in_flight:,})", f"{blind:,} tokens", blind <= in_flight
        ),
        Target("every finished output is returned: 0 lost", f"{lost:,} lost", lost == 0),
    ]
