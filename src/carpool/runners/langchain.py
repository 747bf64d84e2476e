"""Runnables of LangChain and graphs of LangGraph that a team has already: each of their model calls asks the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from ..errors import CarpoolError, ConfigError
from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec
from .adapting.langchain_callbacks import budget_callbacks
from .adapting.langchain_models import clients_of, models_in
from .adapting.lookup import agent_for, refuse_what_is_not_ours
from .adapting.meter import Meter
from .adapting.outcome import adapted, answer_of
from .adapting.terms import Terms
from .model.loop_end import close_when_the_loop_ends
from .prices import ModelPrice

__all__ = ["LangChainRunner"]

_LIBRARY = "LangChain"


class LangChainRunner:
    """Runs graphs of LangGraph (``create_agent`` makes one) and other runnables of LangChain, found by the agent's
    name, else by its role.

    A runnable keeps its models, prompts and tools, and is never changed: one object may be at work for any number of
    agents at once. Where it takes messages, ``spec.system_prompt`` is one of them, a system message before the task;
    where it takes a text, it stands before the task. A structured response is the answer as JSON.

    Every model call that LangChain tells its callbacks of reserves its worst case and is booked; one that does not fit
    is not made. What callbacks can't do: lower the token limit of a call (its worst case is what the model's own
    ``max_tokens`` says, so set that; where there is none, ``max_output_tokens`` is reserved and not enforced), and see
    or stop the attempts that a client makes by itself (set ``max_retries=0`` on the chat model). A model that is called
    synchronously does not wait for room, it is refused.

    Cancelled, calls are broken off and booked. A thread that a synchronous step left behind makes no further call.
    """

    def __init__(
        self,
        runnables: Mapping[str, Runnable[Any, Any]],
        *,
        make_input: Callable[[AgentSpec, str], Any] | None = None,
        config: Callable[[AgentSpec, Runtime], RunnableConfig] | None = None,
        context: Callable[[AgentSpec, Runtime], Any] | None = None,
        prices: Mapping[str, ModelPrice] | None = None,
        max_output_tokens: int = 4_096,
        input_margin: float = 4 / 3,
    ) -> None:
        """``make_input(spec, task)`` is what a runnable is invoked with; without it that is a state with messages, just
        messages or a text, by its kind. ``config`` and, for graphs, ``context`` make those of one run.

        - ``prices``: before those of genai-prices (``Prices``); the provider is called as LangChain calls it
        - ``max_output_tokens``: reserved for a call of a model that has no ``max_tokens``
        - ``input_margin``: what estimates of input are multiplied by before they are reserved

        :raises ValueError: for a number that can't be meant.
        """
        self._runnables = dict(runnables)
        self._models: dict[int, list[BaseLanguageModel[Any]]] = {}  # by runnable, looked for when it is first called
        self._make_input = make_input
        self._config = config
        self._context = context
        self._terms = Terms(prices, max_output_tokens=max_output_tokens, input_margin=input_margin)

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """:raises LookupError: when there is no runnable of that name or role.
        :raises ConfigError: when the spec asks for a model, tools or caching; for a graph without messages.
        :raises BudgetExhausted: when the budget has no room for the first call.
        :raises ModelError: when the provider can't be asked.
        """
        runnable = agent_for(spec, self._runnables, _LIBRARY)
        refuse_what_is_not_ours(spec, runtime, _LIBRARY)
        given = _input(runnable, spec, task) if self._make_input is None else self._make_input(spec, task)
        meter = Meter(self._terms, spec, runtime)
        config: RunnableConfig = {"callbacks": budget_callbacks(meter)}
        if self._config is not None:
            config = merge_configs(self._config(spec, runtime), config)
        context = {} if self._context is None else {"context": self._context(spec, runtime)}

        async def work() -> str:
            return _answer(await runnable.ainvoke(given, config, **context))

        try:
            return await adapted(spec, meter, work)
        finally:
            await self._close_when_the_loop_ends(runnable)

    async def _close_when_the_loop_ends(self, runnable: Runnable[Any, Any]) -> None:
        """Some models make their client in their first call, so that this is asked after it."""
        models = self._models.get(id(runnable))
        if models is None:
            models = self._models[id(runnable)] = models_in(runnable)
        for client in clients_of(models):
            await close_when_the_loop_ends(client)


# What goes in


def _input(runnable: Runnable[Any, Any], spec: AgentSpec, task: str) -> Any:
    first = _first(runnable)
    channels: Any = getattr(first, "channels", None)
    if isinstance(channels, Mapping) and "messages" not in channels:
        known = ", ".join(sorted(str(name) for name in cast("Mapping[Any, Any]", channels)))
        raise ConfigError(
            f"agent {spec.name!r}: its graph has no messages but {known}; give LangChainRunner(make_input=…)"
        )
    messages: list[BaseMessage] = [HumanMessage(task)]
    if spec.system_prompt:
        messages.insert(0, SystemMessage(spec.system_prompt))
    if channels is not None:
        return {"messages": messages}
    if isinstance(first, BaseChatModel):
        return messages
    return f"{spec.system_prompt}\n\n{task}" if spec.system_prompt else task


def _first(runnable: Any) -> Any:
    """What the input of ``runnable`` goes to: the first of a sequence, what a binding or a fallback is around."""
    while True:
        inner = next((each for name in ("bound", "runnable", "first") if (each := getattr(runnable, name, None))), None)
        if not isinstance(inner, Runnable):
            return runnable
        runnable = cast("Any", inner)


# What comes out


def _answer(result: Any) -> str:
    if isinstance(result, BaseMessage):
        return str(result.text)
    if not isinstance(result, dict):
        return answer_of(result)
    state = cast("dict[str, Any]", result)
    if state.get("__interrupt__"):
        raise CarpoolError("the graph was interrupted and waits for an answer, which nobody gives here")
    if state.get("structured_response") is not None:
        return answer_of(state["structured_response"])
    messages: Any = state.get("messages")
    if messages and isinstance(messages[-1], BaseMessage):
        return str(messages[-1].text)
    return answer_of(state)
