"""The runner of agents that are model calls: a loop over turns, in which each call asks the budget and each tool is the
runtime's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from ...budget.book import Book
from ...errors import BudgetExhausted, ConfigError
from ...mailbox import Mailbox
from ...runtime import Runtime
from ...tools import Tool
from ...types import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, OutcomeStatus
from ..prices import ModelPrice, Prices
from ..rate_limits import RateLimits
from .calls import CallRules, ModelCalls
from .calls_in_flight import CallsInFlight
from .clients import Clients, Connected
from .conversation import Conversation
from .settings import settings_of
from .structured import AnswerSchema, AnswerSchemas
from .text_stream import OnText
from .tool_calls import results_of, tools_for

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model

__all__ = ["ModelRunner"]


class ModelRunner:
    """Runs an agent as a conversation with a model: its system prompt, its task, and tools, turn by turn.

    ``spec.model`` says which: ``"openai:…"`` (chat completions), ``"openai-responses:…"``, ``"anthropic:…"``, a name of
    ``models``, ``"name:…"`` for an OpenAI-compatible server whose ``base_url`` is given under that name, or whatever
    else the installed Pydantic AI knows. Without one it is ``model``.

    Per model call, and per attempt at one, it reserves the worst case, lowers the token limit to what the budget has
    left, and books what the provider reports; the module ``calls`` says what is booked when it reports nothing. Where
    not even 16 tokens of output fit, no call is made: the agent ends with the text that it has so far (status
    ``partial_success``), or with ``BudgetExhausted`` if it has none.

    The model is offered the tools of the agent's runtime and can call no others, whatever it reads; the calls of one
    turn run together. On the last of ``spec.max_turns`` no tools are offered, so that there is an answer.

    One object serves any number of agents at once, in any number of event loops (ready-made ``models``: in one after
    the other). Connections are kept for the loop, and closed when it ends; ``async with`` closes them earlier.
    Cancelled, a call is broken off and booked.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | Mapping[str, str] | None = None,
        api_key: str | Mapping[str, str] | None = None,
        models: Mapping[str, Model[Any]] | None = None,
        settings: Mapping[str, Any] | None = None,
        max_output_tokens: int = 4_096,
        input_margin: float = 4 / 3,
        prices: Mapping[str, ModelPrice] | None = None,
        rate_limits: RateLimits | Mapping[str, RateLimits] | None = None,
        retries: int = 3,
        call_timeout_s: float = 600.0,
        longest_retry_wait_s: float = 60.0,
        on_text: OnText | None = None,
    ) -> None:
        """``base_url`` and ``api_key`` are for the provider of ``model`` (``openai`` where none is given), or, as
        mappings, for each provider by name. Without a key it is ``OPENAI_API_KEY`` or ``ANTHROPIC_API_KEY``.

        - ``settings``: for every agent, under its own ``metadata["model_settings"]``
        - ``max_output_tokens``: of one call, where the settings have no ``max_tokens``
        - ``input_margin``: what estimates of input are multiplied by before they are reserved (``sizes``)
        - ``prices``: before those of genai-prices (``Prices``)
        - ``rate_limits``: one for all calls, or by ``"provider:name"`` or provider; else none but what a provider asks
        - ``retries``: further attempts at a call, after a transient failure
        - ``call_timeout_s``: for one attempt; ``longest_retry_wait_s``: asked to wait for longer, it gives up
        - ``on_text(agent, text)``: called, or awaited, for text as it comes; after a broken stream from the beginning

        :raises ValueError: for a number that can't be meant.
        :raises ConfigError: for a base URL that is none.
        """
        if max_output_tokens < 1 or not input_margin >= 1 or retries < 0 or not call_timeout_s > 0:
            raise ValueError(
                "max_output_tokens and call_timeout_s must be above 0, input_margin 1 or more, retries 0 or more; not "
                f"{max_output_tokens!r}, {call_timeout_s!r}, {input_margin!r}, {retries!r}"
            )
        self._model = model
        provider = "openai" if model is None else model.partition(":")[0]
        self._clients = Clients(_by_provider(base_url, provider), _by_provider(api_key, provider), models or {})
        self._settings = dict(settings or {})
        self._max_output_tokens = max_output_tokens
        self._margin = input_margin
        self._prices = Prices(prices)
        self._schemas = AnswerSchemas()
        self._rate_limits = rate_limits
        self._unlimited: dict[str, RateLimits] = {}
        self._in_flight: WeakKeyDictionary[Book, CallsInFlight] = WeakKeyDictionary()
        self._rules = CallRules(retries, call_timeout_s, longest_retry_wait_s, on_text)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of this event loop. A later call opens new ones."""
        await self._clients.aclose()

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """:raises ConfigError: without a model, a key or the extra, for unknown settings or tools.
        :raises BudgetExhausted: when the budget has no room for the first call.
        :raises ModelError: when the provider can't be asked.
        """
        tools = tools_for(spec, runtime)
        if missing := [name for name in spec.tools if name not in tools]:
            known = ", ".join(sorted(tools)) or "none"
            raise ConfigError(f"agent {spec.name!r} names tools that its team has not: {missing}; it has: {known}")
        name = spec.model or self._model
        if name is None:
            raise ConfigError(
                f"agent {spec.name!r} has no model: give AgentSpec(model='openai:…') or ModelRunner('openai:…')"
            )
        connected = await self._clients.connect(name)
        schema = self._schemas.of(spec)
        calls = self._calls(spec, connected, runtime)
        return await _Turns(spec, runtime, tools, calls, self._talk(spec, task, tools, schema, connected), schema).run()

    def _talk(
        self, spec: AgentSpec, task: str, tools: Mapping[str, Tool], schema: AnswerSchema | None, connected: Connected
    ) -> Conversation:
        instructions, output = spec.system_prompt, None
        if schema is not None:
            output = schema.asked_natively(connected.model)
            if output is None:
                instructions = f"{instructions}\n\n{schema.instructions()}".strip()
        return Conversation(instructions, task, list(tools.values()), output, self._margin)

    def _calls(self, spec: AgentSpec, connected: Connected, runtime: Runtime) -> ModelCalls:
        return ModelCalls(
            spec.name,
            connected,
            settings_of(spec, self._settings, self._max_output_tokens),
            self._prices.of(connected.name, connected.base_url, runtime.clock.now()),
            runtime.lease,
            self._limits_of(connected.name),
            self._calls_in_flight(runtime),
            self._rules,
        )

    def _limits_of(self, model: str) -> RateLimits:
        given = self._rate_limits
        if isinstance(given, RateLimits):
            return given
        found = None if given is None else given.get(model) or given.get(model.partition(":")[0])
        return found or self._unlimited.setdefault(model, RateLimits())

    def _calls_in_flight(self, runtime: Runtime) -> CallsInFlight:
        if runtime.lease is None:
            return CallsInFlight()
        return self._in_flight.setdefault(runtime.lease.purse.book, CallsInFlight())


class _Turns:
    """One agent at work."""

    def __init__(
        self,
        spec: AgentSpec,
        runtime: Runtime,
        tools: dict[str, Tool],
        calls: ModelCalls,
        talk: Conversation,
        schema: AnswerSchema | None,
    ) -> None:
        self._spec = spec
        self._runtime = runtime
        self._tools = tools
        self._calls = calls
        self._talk = talk
        self._schema = schema
        self._turns = 0
        self._tool_calls = 0
        self._tools_used: dict[str, None] = {}
        self._text = ""  # the last that the model said

    async def run(self) -> AgentOutput:
        most = self._spec.max_turns
        for turn in range(1, most + 1):
            try:
                response = await self._calls.ask(self._talk, offer_tools=turn < most)
            except BudgetExhausted as refusal:
                if not self._text or self._schema is not None:
                    raise
                return self._output(self._text, self._stopped(refusal.reason, {"budget": refusal.dimension}))
            self._turns = turn
            self._text = (response.text or "").strip() or self._text
            if turn < most and response.tool_calls:
                await self._use_tools(response)
                continue
            answer, problem = self._checked(response)
            if problem is None or turn == most:
                return self._ended(response, answer, problem)
            self._object(problem)
        return self._failed(f"no model call is allowed: max_turns is {most}")

    async def _use_tools(self, response: ModelResponse) -> None:
        calls = response.tool_calls
        self._tool_calls += len(calls)
        self._tools_used.update(dict.fromkeys(call.tool_name for call in calls if call.tool_name in self._tools))
        self._talk.say(await results_of(calls, self._tools, self._runtime))

    def _checked(self, response: ModelResponse) -> tuple[str, str | None]:
        """The answer, and what is wrong with it."""
        text = response.text or ""
        if self._schema is None:
            return text, None
        try:
            return self._schema.check(text), None
        except ValueError as error:
            return "", str(error)

    def _object(self, problem: str) -> None:
        from pydantic_ai.messages import UserPromptPart

        self._talk.say([UserPromptPart(content=f"Your answer can't be used: {problem}. Answer again, all of it.")])

    # What came of it

    def _ended(self, response: ModelResponse, answer: str, problem: str | None) -> AgentOutput:
        most, why = self._spec.max_turns, response.finish_reason
        if problem is not None:
            return self._failed(f"the answer can't be used: {problem}; that was turn {self._turns} of at most {most}")
        if not answer:
            if response.tool_calls:
                summary = f"still asking for tools on the last of {most} turns; raise max_turns to go on"
                return self._failed(summary, AgentOutcome.timeout(summary, self._turns, most))
            return self._failed(f"the model gave no text (finish reason: {why or 'unknown'})")
        if why == "length":
            return self._output(answer, self._stopped("cut off at the token limit", {"finish_reason": why}))
        return self._output(answer, None)

    def _stopped(self, reason: str, data: dict[str, Any]) -> AgentOutcome:
        evidence = Evidence(kind=EvidenceKind.STOP_REASON, description=reason, data=data)
        return AgentOutcome(status=OutcomeStatus.PARTIAL_SUCCESS, summary=reason, evidence=[evidence])

    def _failed(self, error: str, outcome: AgentOutcome | None = None) -> AgentOutput:
        return self._output("", outcome or AgentOutcome.failure(error), error)

    def _output(self, answer: str, outcome: AgentOutcome | None, error: str | None = None) -> AgentOutput:
        return AgentOutput(
            name=self._spec.name,
            answer=answer,
            turns=self._turns,
            tool_calls=self._tool_calls,
            tools_used=list(self._tools_used),
            error=error,
            outcome=outcome,
            tokens=self._calls.spent,
        )


def _by_provider(value: str | Mapping[str, str] | None, provider: str) -> Mapping[str, str]:
    if value is None:
        return {}
    return {provider: value} if isinstance(value, str) else value
