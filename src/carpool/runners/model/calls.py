"""The model calls of one agent. Each attempt waits for the provider's limits, asks the lease, is made, and is booked.

Booked is what the provider reports. Where it reports nothing, because the attempt was cancelled, timed out, broke off
or can't be read, it is the worst case: the input as estimated (``sizes``) and as much output as was allowed. Nothing
is booked for an attempt that was refused or never sent (``failures``). So what is booked is never less than the
provider's invoice, as far as the estimate of the input is not too low and reports are true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio

from ...budget import Lease
from ...clock import new_id
from ...errors import BudgetExhausted
from ...types import TokenAccounting
from ..prices import ModelPrice
from ..rate_limits import RateLimits, Slot
from .calls_in_flight import CallsInFlight
from .clients import Connected
from .conversation import Conversation
from .failures import ModelError, broken_off, failure_of, no_answer, refused_again, with_wait
from .settings import AskedSettings
from .text_stream import OnText, TextStream
from .worst_case import WorstCase, worst_case

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse

__all__ = ["LEAST_OUTPUT", "CallRules", "ModelCalls"]

LEAST_OUTPUT = 16
"""Tokens: with less room than that no call is made. OpenAI's responses API takes no smaller limit."""

_FIRST_PAUSE_S = 0.5  # doubles with every attempt
_LONGEST_PAUSE_S = 30.0
_FAR = 16  # a quick estimate will do while so many calls like this one still fit


class CallRules:
    """What holds for every call of a runner: how often, how long, and who listens."""

    def __init__(self, retries: int, timeout_s: float, longest_retry_wait_s: float, on_text: OnText | None) -> None:
        self.retries = retries
        self.timeout_s = timeout_s
        self.longest_retry_wait_s = longest_retry_wait_s
        self.on_text = on_text


class ModelCalls:
    """Those of one agent, one after the other."""

    def __init__(
        self,
        agent: str,
        connected: Connected,
        asked: AskedSettings,
        price: ModelPrice | None,
        lease: Lease | None,
        limits: RateLimits,
        in_flight: CallsInFlight,
        rules: CallRules,
    ) -> None:
        self._spent = TokenAccounting()
        self._agent = agent
        self._connected = connected
        self._settings: dict[str, Any] = {**asked.values, **connected.settings}
        self._most_output = asked.max_tokens
        self._price = price
        self._lease = lease
        self._limits = limits
        self._in_flight = in_flight
        self._rules = rules
        self._writes_cache = not connected.name.startswith("anthropic:") or any("cache" in key for key in asked.values)
        self._worst = None if lease is None else WorstCase(lease, price, writes_cache=self._writes_cache)
        if lease is not None:
            lease.charge(self._spent)  # from here on every call is booked: what is not, was not spent

    @property
    def spent(self) -> TokenAccounting:
        """What was booked so far; with a lease as it stands there, to the nano-dollar."""
        return self._spent if self._lease is None else self._lease.charged

    async def ask(self, talk: Conversation, *, offer_tools: bool) -> ModelResponse:
        """The model's next answer.

        :raises BudgetExhausted: when the budget has no room for another call.
        :raises ModelError: when it can't be had, with as many attempts as are allowed.
        """
        attempt = 1
        failure: ModelError | None = None
        while True:
            try:
                return await self._attempt(talk, offer_tools)
            except BudgetExhausted as refusal:
                if failure is None:
                    raise
                raise refused_again(refusal, failure) from failure
            except ModelError as error:
                failure = error
                wait_s = self._wait_s(error, attempt)
                if wait_s is None:
                    raise with_wait(error, self._rules.longest_retry_wait_s) from error.__cause__
            attempt += 1
            await anyio.sleep(wait_s)

    def _wait_s(self, error: ModelError, attempt: int) -> float | None:
        """Seconds until the next attempt; ``None`` when there is to be none."""
        asked = error.retry_after_s or 0.0
        if error.kind != "transient" or attempt > self._rules.retries or asked > self._rules.longest_retry_wait_s:
            return None
        if error.status == 429 and asked:
            self._limits.pause(asked)  # for everybody who calls this provider, not for this agent alone
        pause = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
        return max(asked, pause * int(new_id(4), 16) / 0xFFFF)  # full jitter, but never earlier than asked

    # One attempt

    async def _attempt(self, talk: Conversation, offer_tools: bool) -> ModelResponse:
        slot, output = await self._admitted(talk)
        used: int | None = None
        self._in_flight.begin()
        try:
            try:
                response = await self._request(talk, output, offer_tools)
            except ModelError as error:
                used = self._book(TokenAccounting() if error.refused else self._worst_of(talk, output))
                raise
            except BaseException:  # a cancellation, or a listener that failed
                used = self._book(self._worst_of(talk, output))
                raise
            reported = self._reported(response)
            used = self._book(self._worst_of(talk, output) if reported is None else reported)
        finally:
            self._in_flight.end()
            slot.leave(used)
        talk.hear(response, None if reported is None else reported.total_tokens)
        return response

    async def _admitted(self, talk: Conversation) -> tuple[Slot, int]:
        """A slot, and how much output is reserved for.

        Where the whole worst case does not fit only because other calls are out, one of them is waited for: they
        mostly use less than they hold, and an answer that is cut short can't be had again. Then it is clamped.
        """
        again = False
        while True:
            counted = talk.size.expected() + self._most_output if self._limits.tokens_per_minute is not None else 0
            slot = await self._limits.enter(counted)
            try:
                output = self._reserved(talk, again)
            except BaseException:
                slot.give_back()
                self._in_flight.wake_first()
                raise
            if output is not None:
                if again:
                    self._in_flight.wake_first()  # there may be room for one more
                return slot, output
            slot.give_back()
            await self._in_flight.one_ended(again=again)
            again = True

    def _reserved(self, talk: Conversation, again: bool) -> int | None:
        """How much may be generated, once that is reserved; ``None`` to wait for a call that is out.

        :raises BudgetExhausted: when there is no room, and nothing to wait for.
        """
        lease, worst, most = self._lease, self._worst, self._most_output
        if lease is None or worst is None:
            return most
        if not lease.purse.has_spend_limit:
            lease.reserve()
            return most
        quick = worst.of(talk.size.at_most(), most)
        if worst.fits(quick, _FAR):
            lease.reserve(quick)
            return most
        size = talk.size.expected()
        close = worst.of(size, most)
        if (again or not self._in_flight.waiting) and worst.fits(close):
            lease.reserve(close)
            return most
        if self._in_flight.count:
            return None
        output = max(worst.output_that_fits(size, most), min(LEAST_OUTPUT, most))
        lease.reserve(worst.of(size, output))
        return output

    async def _request(self, talk: Conversation, output: int, offer_tools: bool) -> ModelResponse:
        """:raises ModelError: for everything that the provider, the network or the client library does wrong."""
        settings = {**self._settings, "max_tokens": output}
        if not offer_tools and talk.parameters.function_tools:
            settings["tool_choice"] = "none"
        with anyio.move_on_after(self._rules.timeout_s):
            if self._rules.on_text is None:
                return await self._whole(talk, settings)
            return await self._streamed(talk, settings, self._rules.on_text)
        raise no_answer(self._connected.name, self._rules.timeout_s)

    async def _whole(self, talk: Conversation, settings: dict[str, Any]) -> ModelResponse:
        from pydantic_ai.direct import model_request

        try:
            return await model_request(
                self._connected.model,
                talk.messages,
                model_settings=cast("Any", settings),
                model_request_parameters=talk.parameters,
            )
        except Exception as error:
            raise failure_of(error, self._connected.name) from error

    async def _streamed(self, talk: Conversation, settings: dict[str, Any], on_text: OnText) -> ModelResponse:
        from pydantic_ai.direct import model_request_stream

        listener = TextStream(self._agent, on_text)
        try:
            async with model_request_stream(
                self._connected.model,
                talk.messages,
                model_settings=cast("Any", settings),
                model_request_parameters=talk.parameters,
            ) as stream:
                async for event in stream:
                    await listener.hear(event)
                response = stream.get()
        except Exception as error:
            if error is listener.error:
                raise
            raise failure_of(error, self._connected.name) from error
        if self._broke_off(response):
            raise broken_off(self._connected.name)
        return response

    def _broke_off(self, response: ModelResponse) -> bool:
        """Whether nothing says that a stream was at its end: the client library takes the end of the connection for
        one, and a ``stop`` of its own making stands in ``finish_reason``."""
        if (response.provider_details or {}).get("finish_reason") or response.finish_reason == "content_filter":
            return False
        # Anthropic reports usage at the beginning too, all others at the end.
        return self._connected.model.system == "anthropic" or self._reported(response) is None

    # Booking

    def _book(self, tokens: TokenAccounting) -> int:
        if self._lease is None:
            self._spent += tokens
        else:
            self._lease.charge(tokens)
        return tokens.total_tokens

    def _worst_of(self, talk: Conversation, output: int) -> TokenAccounting:
        return worst_case(self._price, talk.size.expected(), output, writes_cache=self._writes_cache)

    def _reported(self, response: ModelResponse) -> TokenAccounting | None:
        """What the provider says that the call has used; ``None`` where it says nothing that can be true."""
        usage = response.usage
        given, made = usage.input_tokens, usage.output_tokens
        if usage.unmeasured_requests or given <= 0 or made < 0 or (made == 0 and response.parts):
            return None
        tokens = TokenAccounting(
            input_tokens=given,
            output_tokens=made,
            cache_read_tokens=min(max(usage.cache_read_tokens, 0), given),
            cache_write_tokens=min(max(usage.cache_write_tokens, 0), given),
            priced=self._price is not None,
        )
        return tokens if self._price is None else self._price.costed(tokens, usage.cache_write_1h_tokens)
