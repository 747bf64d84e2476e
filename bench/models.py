"""What ``ModelRunner`` adds to the client library that it stands on: CPU per agent of one model call."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from time import thread_time
from typing import Any

import anyio

from carpool import AgentSpec, BudgetLimits, SharedInfra, open_run

from .report import Report, Table, Target

__all__ = ["measure"]

AT_ONCE = 10
ALLOWED = 1.3
INSTRUCTIONS = "You are a careful reader. Answer in one sentence."
WORDS = "The harbour master counts the boats that come in with the tide and writes their names into a book. "

CLIENT = "the client library alone"
FREE = "ModelRunner, no limit"
FAR = "ModelRunner, a limit far away"
NEAR = "ModelRunner, a limit within reach"
LIMITS = {FREE: None, FAR: BudgetLimits(max_total_tokens=10**9), NEAR: BudgetLimits(max_total_tokens=150_000)}
ROWS = (CLIENT, FREE, FAR, NEAR)


@dataclass(frozen=True)
class Case:
    protocol: str
    model: str
    characters: int

    @property
    def task(self) -> str:
        return (WORDS * (self.characters // len(WORDS) + 1))[: self.characters]


CASES = (
    Case("chat completions", "openai:bench", 100),
    Case("chat completions", "openai:bench", 2_000),
    Case("responses", "openai-responses:bench", 100),
    Case("messages", "anthropic:bench", 100),
)


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (10, 1) if quick else (100, 11)
    measured = asyncio.run(_measured(agents, rounds))
    rows: list[list[Any]] = []
    targets: list[Target] = []
    for case in CASES:
        for what in ROWS:
            times = measured[case, what]
            ratio = median(one / alone for one, alone in zip(times, measured[case, CLIENT], strict=True))
            rows.append([f"{case.protocol}, {case.characters:,} characters", what, median(times), ratio])
            if what == FAR:
                promise = f"{case.protocol}, {case.characters:,} characters, a limit far away: ratio ≤ {ALLOWED}"
                targets.append(Target(promise, f"{ratio:.2f}", ratio <= ALLOWED))
    return Report(
        "models",
        "Models: an agent of one model call, per agent",
        [Table(["request", "what", "CPU ms", "client = 1"], rows, {"CPU ms": ".3f", "client = 1": ".2f"})],
        targets,
        [
            f"Medians of {rounds} rounds of {agents} agents of each, {AT_ONCE} at a time, in turn; the ratio is the",
            "median of the ratios of a round. CPU time of the thread with the event loop: the server, on loopback, has",
            "a thread of its own. The client alone is Pydantic AI's model_request over the same connections; in the",
            "runner's figures is all of a run: lease, events, output. Near a limit the input is estimated closely.",
        ],
    )


async def _measured(agents: int, rounds: int) -> dict[tuple[Case, str], list[float]]:
    from tests.providers.server import ProviderServer

    times: dict[tuple[Case, str], list[float]] = {(case, what): [] for case in CASES for what in ROWS}
    with ProviderServer("There are four boats.") as provider:
        async with AsyncExitStack() as stack:
            once = {case: await _contenders(case, provider.openai_url, provider.url, stack) for case in CASES}
            for turn in range(-1, rounds):  # the first warms up and is not counted
                gc.collect()
                for case, what in _in_turn(turn):
                    began = thread_time()
                    await once[case][what](agents)
                    if turn >= 0:
                        times[case, what].append((thread_time() - began) / agents * 1e3)
    return times


def _in_turn(turn: int) -> Iterator[tuple[Case, str]]:
    for case in CASES:
        for place in range(len(ROWS)):
            yield case, ROWS[(place + turn) % len(ROWS)]


Many = Callable[[int], Awaitable[None]]


async def _contenders(case: Case, openai_url: str, url: str, stack: AsyncExitStack) -> dict[str, Many]:
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import InstructionPart, ModelRequest, UserPromptPart
    from pydantic_ai.models import ModelRequestParameters

    from carpool.runners.model import ModelRunner

    base_urls = {"openai": openai_url, "openai-responses": openai_url, "anthropic": url}
    runner = await stack.enter_async_context(ModelRunner(base_url=base_urls))
    model = (await runner._clients.connect(case.model)).model
    spec = AgentSpec("reader", INSTRUCTIONS, model=case.model)

    async def client(agents: int) -> None:
        async def worker() -> None:
            for _ in range(agents // AT_ONCE):
                await model_request(
                    model,
                    [ModelRequest(parts=[UserPromptPart(case.task)])],
                    model_settings={"max_tokens": 4_096},
                    model_request_parameters=ModelRequestParameters(instruction_parts=[InstructionPart(INSTRUCTIONS)]),
                )

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(worker)

    def carpool(limits: BudgetLimits | None) -> Many:
        async def many(agents: int) -> None:
            async with open_run(runner=runner, infra=SharedInfra(budget=limits)) as run:
                outputs = await run.fan_out([(spec, case.task)] * agents, AT_ONCE)
            assert all(output.succeeded for output in outputs), outputs

        return many

    return {CLIENT: client, **{what: carpool(limits) for what, limits in LIMITS.items()}}
