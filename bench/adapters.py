"""What the adapters add to the libraries whose agents they run: CPU per agent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import thread_time
from typing import Any

import anyio

from carpool import AgentRunner, AgentSpec, BudgetLimits, SharedInfra, open_run

from .report import Report, Table, Target

__all__ = ["measure"]

AT_ONCE = 10
ALLOWED = 1.3
INSTRUCTIONS = "You are a careful reader. Answer in one sentence."
TASK = "How many boats come in with the tide, and who writes their names into the book?"

ALONE = "the library alone"
FREE = "adapter, no limit"
FAR = "adapter, a limit far away"
NEAR = "adapter, a limit within reach"
LIMITS = {FREE: None, FAR: BudgetLimits(max_total_tokens=10**9), NEAR: BudgetLimits(max_total_tokens=300_000)}
ROWS = (ALONE, FREE, FAR, NEAR)

Ask = Callable[[str], Awaitable[Any]]
Many = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """``ask`` runs the agent without carpool, ``runner`` with it."""

    library: str
    calls: int
    ask: Ask
    runner: AgentRunner

    @property
    def title(self) -> str:
        return f"{self.library}, {'one call' if self.calls == 1 else 'a tool, two calls'}"


def measure(*, quick: bool = False) -> Report:
    agents, rounds = (20, 2) if quick else (60, 11)
    measured = asyncio.run(_measured(agents, rounds))
    rows: list[list[Any]] = []
    targets: list[Target] = []
    for title, times in measured.items():
        for what in ROWS:
            ratio = median(one / alone for one, alone in zip(times[what], times[ALONE], strict=True))
            rows.append([title, what, median(times[what]), ratio])
            if what == FAR:
                targets.append(
                    Target(f"{title}, a limit far away: ratio ≤ {ALLOWED}", f"{ratio:.2f}", ratio <= ALLOWED)
                )
    return Report(
        "adapters",
        "Adapters: agents of other libraries, per agent",
        [Table(["agent", "what", "CPU ms", "alone = 1"], rows, {"CPU ms": ".3f", "alone = 1": ".2f"})],
        targets,
        [
            f"Medians of {rounds} rounds of {agents} agents of each, {AT_ONCE} at a time, in turn; the ratio is the",
            "median of the ratios of a round. CPU time of the thread with the event loop: the server, on loopback, has",
            "a thread of its own. Alone is the library's own run of the same agent, its tracing off; in the",
            "adapter's figures is all of a run: lease, events, output. Near a limit the input is estimated closely.",
        ],
    )


async def _measured(agents: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    from tests.providers.server import Answer, Asked, ProviderServer

    def script(asked: Asked) -> Answer:
        if asked.tools and asked.turn == 0:
            return Answer("", tools=[("count", {"what": "boats"})])
        return Answer("There are four boats.")

    times: dict[str, dict[str, list[float]]] = {}
    with ProviderServer(script) as provider:
        contenders = {case.title: _contenders(case) for case in _cases(provider.openai_url)}
        for title in contenders:
            times[title] = {what: [] for what in ROWS}
        for turn in range(-1, rounds):  # the first warms up and is not counted
            for title, what in _in_turn(list(contenders), turn):
                gc.collect()
                began = thread_time()
                await contenders[title][what](agents)
                if turn >= 0:
                    times[title][what].append((thread_time() - began) / agents * 1e3)
    return times


def _in_turn(titles: list[str], turn: int) -> Iterator[tuple[str, str]]:
    for title in titles:
        for place in range(len(ROWS)):
            yield title, ROWS[(place + turn) % len(ROWS)]


def _contenders(case: Case) -> dict[str, Many]:
    spec = AgentSpec("reader", "")

    async def alone(agents: int) -> None:
        async def worker() -> None:
            for _ in range(agents // AT_ONCE):
                await case.ask(TASK)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(worker)

    def carpool(limits: BudgetLimits | None) -> Many:
        async def many(agents: int) -> None:
            async with open_run(runner=case.runner, infra=SharedInfra(budget=limits)) as run:
                outputs = await run.fan_out([(spec, TASK)] * agents, AT_ONCE)
            assert all(output.succeeded and output.turns == case.calls for output in outputs), outputs

        return many

    return {ALONE: alone, **{what: carpool(limits) for what, limits in LIMITS.items()}}


def _cases(url: str) -> Iterator[Case]:
    for tools in ([], [count]):
        yield _pydantic_ai(url, tools)
        yield _openai_agents(url, tools)
        yield _langchain(url, tools)


async def count(what: str) -> str:
    """Count things."""
    return f"4 {what}"


Tools = list[Callable[..., Awaitable[str]]]


def _pydantic_ai(url: str, tools: Tools) -> Case:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    from carpool.runners.pydantic_ai import PydanticAIRunner

    model = OpenAIChatModel("bench", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent: Agent[None, str] = Agent(model, instructions=INSTRUCTIONS, tools=tools)

    async def ask(task: str) -> None:
        await agent.run(task, infer_name=False)

    return Case("Pydantic AI", 1 + len(tools), ask, PydanticAIRunner({"reader": agent}))


def _openai_agents(url: str, tools: Tools) -> Case:
    from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
    from openai import AsyncOpenAI

    from carpool.runners.openai_agents import OpenAIAgentsRunner

    model = OpenAIChatCompletionsModel("bench", openai_client=AsyncOpenAI(base_url=url, api_key="none"))
    made = [function_tool(tool) for tool in tools]
    agent: Agent[None] = Agent(name="reader", instructions=INSTRUCTIONS, model=model, tools=made)

    async def ask(task: str) -> None:
        await Runner.run(agent, task, run_config=RunConfig(tracing_disabled=True))

    return Case("OpenAI Agents SDK", 1 + len(tools), ask, OpenAIAgentsRunner({"reader": agent}))


def _langchain(url: str, tools: Tools) -> Case:
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    from carpool.runners.langchain import LangChainRunner

    model = ChatOpenAI(model="bench", base_url=url, api_key="none")
    graph = create_agent(model, tools, system_prompt=INSTRUCTIONS)

    async def ask(task: str) -> None:
        await graph.ainvoke({"messages": [{"role": "user", "content": task}]})

    return Case("LangChain", 1 + len(tools), ask, LangChainRunner({"reader": graph}))
