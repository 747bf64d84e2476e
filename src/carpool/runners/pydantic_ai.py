"""Agents of Pydantic AI that a team has already: each of their model calls asks the budget and is booked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_ai import DeferredToolRequests, Tool
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.settings import ModelSettings
from pydantic_ai.toolsets import FunctionToolset
from pydantic_ai.usage import UsageLimits

from ..errors import CarpoolError
from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec
from .adapting.lookup import agent_for, refuse_what_is_not_ours
from .adapting.meter import Meter
from .adapting.outcome import adapted, answer_of
from .adapting.pydantic_ai_model import OnBudget, Requests
from .adapting.runtime_tools import call_runtime_tool, parameters_of
from .adapting.terms import Terms
from .model.tool_calls import tools_for
from .prices import ModelPrice

__all__ = ["OnBudget", "PydanticAIRunner"]

_LIBRARY = "Pydantic AI"


class PydanticAIRunner:
    """Runs agents of Pydantic AI, found by the agent's name, else by its role.

    An agent keeps its model, instructions, tools and output type, and is never changed: one object may be at work for
    any number of carpool's agents at once. ``spec.system_prompt`` is added to its instructions, and tools that the
    spec names or a pattern gives are added to its own. A structured output is the answer as JSON.

    Every request that the agent makes, for turns, retries of tools and outputs, and fallbacks too, reserves its worst
    case, is held to as many tokens as fit, and is booked. The clients' own retries are off; a failure that may pass is
    tried again here. Not seen is what tools do by themselves: agents that they call belong on the same budget by the
    capability ``OnBudget()``. Without it, what they spend is booked, unpriced, when they share ``usage=ctx.usage``, and
    else not at all.

    Cancelled, a request is broken off and booked. Nothing is traced that you have not set up yourself.
    """

    def __init__(
        self,
        agents: Mapping[str, AbstractAgent[Any, Any]],
        *,
        deps: Callable[[AgentSpec, Runtime], Any] | None = None,
        prices: Mapping[str, ModelPrice] | None = None,
        max_output_tokens: int = 4_096,
        input_margin: float = 4 / 3,
        retries: int = 3,
        longest_retry_wait_s: float = 60.0,
    ) -> None:
        """``deps`` makes the dependencies of one run.

        - ``prices``: before those of genai-prices (``Prices``)
        - ``max_output_tokens``: of one request, where the agent's settings have no ``max_tokens``
        - ``input_margin``: what estimates of input are multiplied by before they are reserved
        - ``retries``: further attempts at a request, after a failure that may pass; asked to wait for longer than
          ``longest_retry_wait_s`` it fails at once

        :raises ValueError: for a number that can't be meant.
        """
        self._agents = dict(agents)
        self._deps = deps
        self._terms = Terms(
            prices,
            max_output_tokens=max_output_tokens,
            input_margin=input_margin,
            retries=retries,
            longest_retry_wait_s=longest_retry_wait_s,
        )

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """:raises LookupError: when there is no agent of that name or role.
        :raises ConfigError: when the spec asks for a model.
        :raises BudgetExhausted: when the budget has no room for the first request.
        :raises ModelError: when the provider can't be asked.
        """
        agent = agent_for(spec, self._agents, _LIBRARY)
        refuse_what_is_not_ours(spec, runtime, _LIBRARY, tools=True, caching=True)
        requests = Requests(Meter(self._terms, spec, runtime))

        async def work() -> str:
            with requests.at_work():
                result = await agent.run(
                    task,
                    deps=None if self._deps is None else self._deps(spec, runtime),
                    instructions=spec.system_prompt or None,
                    model_settings=ModelSettings(cache=True) if spec.cache_control else None,
                    usage=requests.usage,
                    usage_limits=UsageLimits(request_limit=None),  # it is spec.max_turns that counts
                    infer_name=False,
                    toolsets=_toolsets(spec, runtime),
                    capabilities=[OnBudget()],
                )
            return _answer(result.output)

        return await adapted(spec, requests.meter, work)


def _answer(output: Any) -> str:
    if isinstance(output, DeferredToolRequests):
        names = sorted({call.tool_name for call in (*output.calls, *output.approvals)})
        raise CarpoolError(f"it waits for tools to be run or approved elsewhere, which nobody does here: {names}")
    return answer_of(output)


def _toolsets(spec: AgentSpec, runtime: Runtime) -> list[FunctionToolset[Any]] | None:
    """The tools of the agent's runtime, called through it."""
    tools = tools_for(spec, runtime)
    if not tools:
        return None
    return [
        FunctionToolset(
            [
                Tool.from_schema(_calling(name, runtime), name, tool.schema.description, parameters_of(tool))
                for name, tool in tools.items()
            ]
        )
    ]


def _calling(name: str, runtime: Runtime) -> Callable[..., Any]:
    async def call(**arguments: Any) -> str:
        return await call_runtime_tool(runtime, name, arguments)

    return call
