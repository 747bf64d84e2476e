"""Agents of the OpenAI Agents SDK that a team has already: each of their model calls asks the budget and is booked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec
from agents import Agent, FunctionTool, MultiProvider, RunConfig, Runner, Tool
from agents.items import TResponseInputItem

from ..errors import CarpoolError
from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec
from .adapting.lookup import agent_for, refuse_what_is_not_ours
from .adapting.meter import Meter
from .adapting.openai_agents_model import SaidListener, on_budget, without_retries
from .adapting.outcome import adapted, answer_of
from .adapting.runtime_tools import call_runtime_tool, parameters_of
from .adapting.terms import Terms
from .model.tool_calls import tools_for
from .prices import ModelPrice

__all__ = ["OpenAIAgentsRunner", "run_config"]

_LIBRARY = "OpenAI Agents SDK"


class OpenAIAgentsRunner:
    """Runs agents of the OpenAI Agents SDK, found by the agent's name, else by its role.

    An agent keeps its model, instructions, tools, handoffs and guardrails, and is never changed: one object may be at
    work for any number of carpool's agents at once. ``spec.system_prompt`` goes before the task, as a system message;
    tools that the spec names or a pattern gives are added to those of the first agent, not of one that it hands off
    to. A structured output is the answer as JSON.

    Every model call of the run, also after handoffs and of agents that are tools (``agent.as_tool``), reserves its
    worst case, is held to as many tokens as fit, and is booked. The retries of the SDK and of its clients are off; a
    failure that may pass is tried again here. Agents that your tools and guardrails run by themselves are seen only if
    they are run with ``run_config=run_config()``.

    Cancelled, a call is broken off and booked. Tracing is off, as it would send what agents say to OpenAI; it is as
    you set it in a ``run_config`` of your own.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent[Any]],
        *,
        context: Callable[[AgentSpec, Runtime], Any] | None = None,
        run_config: RunConfig | None = None,
        prices: Mapping[str, ModelPrice] | None = None,
        max_output_tokens: int = 4_096,
        input_margin: float = 4 / 3,
        retries: int = 3,
        longest_retry_wait_s: float = 60.0,
    ) -> None:
        """``context`` makes the SDK's context of one run; ``run_config`` is what runs have beside what is set here.

        - ``prices``: before those of genai-prices (``Prices``)
        - ``max_output_tokens``: of one call, where the agent's settings have no ``max_tokens``
        - ``input_margin``: what estimates of input are multiplied by before they are reserved
        - ``retries``: further attempts at a call, after a failure that may pass; asked to wait for longer than
          ``longest_retry_wait_s`` it fails at once

        :raises ValueError: for a number that can't be meant.
        """
        self._agents = dict(agents)
        self._context = context
        self._config = without_retries(run_config or RunConfig(tracing_disabled=True))
        self._provider = None if run_config is None else run_config.model_provider
        self._terms = Terms(
            prices,
            max_output_tokens=max_output_tokens,
            input_margin=input_margin,
            retries=retries,
            longest_retry_wait_s=longest_retry_wait_s,
        )

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """:raises LookupError: when there is no agent of that name or role.
        :raises ConfigError: when the spec asks for a model or for caching.
        :raises BudgetExhausted: when the budget has no room for the first call.
        :raises ModelError: when the provider can't be asked.
        """
        agent = agent_for(spec, self._agents, _LIBRARY)
        refuse_what_is_not_ours(spec, runtime, _LIBRARY, tools=True)
        if tools := _tools(spec, runtime):
            agent = agent.clone(tools=[*agent.tools, *tools])
        meter = Meter(self._terms, spec, runtime)
        provider = self._provider or MultiProvider()  # as the SDK has it: one for each run, unless you give one
        config = on_budget(self._config, provider, meter)

        async def work() -> str:
            token = _current.set(config)
            try:
                result = await Runner.run(
                    agent,
                    _input(spec, task),
                    context=None if self._context is None else self._context(spec, runtime),
                    max_turns=None,  # it is spec.max_turns that counts
                    hooks=SaidListener(meter),
                    run_config=config,
                )
            finally:
                _current.reset(token)
                if self._provider is None:
                    await provider.aclose()
            if result.interruptions:
                names = sorted({str(each.name) for each in result.interruptions})
                raise CarpoolError(f"it waits for tools to be approved, which nobody does here: {names}")
            return answer_of(result.final_output)

        return await adapted(spec, meter, work)


def run_config() -> RunConfig | None:
    """For ``Runner.run(…, run_config=run_config())`` in a tool or a guardrail: the one of the agent that is at work, so
    that the calls are booked as its own. ``None`` outside any."""
    return _current.get()


_current: ContextVar[RunConfig | None] = ContextVar("carpool_openai_agents_run", default=None)


def _input(spec: AgentSpec, task: str) -> str | list[TResponseInputItem]:
    if not spec.system_prompt:
        return task
    return [{"role": "system", "content": spec.system_prompt}, {"role": "user", "content": task}]


# The runtime's tools


def _tools(spec: AgentSpec, runtime: Runtime) -> list[Tool]:
    return [
        FunctionTool(
            name=name,
            description=tool.schema.description,
            params_json_schema=parameters_of(tool),
            on_invoke_tool=_calling(name, runtime),
            strict_json_schema=False,
        )
        for name, tool in tools_for(spec, runtime).items()
    ]


def _calling(name: str, runtime: Runtime) -> Callable[..., Any]:
    async def call(context: Any, arguments: str) -> str:
        try:
            decoded = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            return f"failed: the arguments are no JSON object: {error}"
        return await call_runtime_tool(runtime, name, decoded)

    return call
