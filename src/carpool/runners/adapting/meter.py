"""The model calls of an agent that another library runs: asked of the lease before each, booked after it.

Booked is what the provider reports; where it reports nothing, because a call was cancelled, broke off or can't be read,
the worst case that was reserved; nothing where it refused. So what is booked is never less than the invoice, as far as
the estimate of the input is not too low, the limit on the output is kept, and every call passes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from threading import Lock
from typing import TypeVar

import anyio

from ...budget import Lease
from ...errors import BudgetError, BudgetExhausted, CarpoolError, ModelError
from ...runtime import Runtime
from ...types import AgentSpec, TokenAccounting
from ..model.calls import LEAST_OUTPUT
from ..model.failures import refused_again
from ..model.worst_case import WorstCase
from .request import Request
from .terms import Terms

__all__ = ["Call", "Meter", "OutOfTurns"]

_FAR = 16  # a quick estimate will do while so many calls like this one still fit
_CONVERSATIONS = 4  # so many last requests are looked at for one that a new request goes on from
_NOTHING = TokenAccounting()

T = TypeVar("T")
Meaning = Callable[[Exception, str], ModelError]


class OutOfTurns(CarpoolError):
    """An agent has made as many model calls as its ``spec.max_turns`` allows, and asked for another."""


class Call:
    """One that is out, and may generate ``output``. It ends once; after that ``end`` and ``fail`` change nothing."""

    __slots__ = ("_meter", "output", "request", "worst")

    def __init__(self, meter: Meter, request: Request, output: int, worst: TokenAccounting | None) -> None:
        self._meter = meter
        self.request = request
        self.output = output
        self.worst = worst  # what is reserved for it; nothing where no limit asks for that

    def end(self, tokens: TokenAccounting | None) -> None:
        """It has used ``tokens``; ``None``: nobody says how much, so it was the worst case."""
        self._meter.ended(self, tokens)

    def fail(self, error: Exception, failure: ModelError) -> None:
        """``error`` came of it, which means ``failure``."""
        self._meter.failure = error, failure
        self.end(_NOTHING if failure.refused else None)


class Meter:
    """The calls of one agent, several of which may be out at a time: its tools and branches may call models too.

    Safe from any thread. Closed, it books whatever is out at its worst case, and lets no further call out.
    """

    def __init__(self, terms: Terms, spec: AgentSpec, runtime: Runtime) -> None:
        self.turns = 0
        self.tool_calls = 0
        self.tools_used: dict[str, None] = {}
        self.text = ""  # the last that the agent's model said
        self.cut_off = False  # whether that came to an end only because no more was allowed
        self.refusal: BudgetExhausted | OutOfTurns | None = None  # why the last call was not let out
        self.failure: tuple[Exception, ModelError] | None = None  # how the last call failed
        self._terms = terms
        self._spec = spec
        self._clock = runtime.clock
        self._lease = lease = runtime.lease
        self._in_flight = terms.calls_in_flight(lease)
        self._lock = Lock()
        self._open: dict[Call, None] = {}
        self._answered: deque[Request] = deque(maxlen=_CONVERSATIONS)
        self._ended = _NOTHING  # what calls came to that have ended while others are out
        self._spent = _NOTHING
        self._closed = False
        if lease is not None:
            lease.charge(_NOTHING)  # from here on every call is booked: what is not, was not spent

    @property
    def spent(self) -> TokenAccounting:
        """What was booked so far; with a lease as it stands there, to the nano-dollar."""
        return self._spent if self._lease is None else self._lease.charged

    def request(self, model: str, base_url: str | None, most: int | None, *, clamps: bool = True) -> Request:
        return self._terms.request(model, base_url, most, self._clock.now(), clamps=clamps)

    def use_tool(self, name: str) -> None:
        """A tool is called."""
        self.tool_calls += 1
        self.tools_used[name] = None

    def book(self, tokens: TokenAccounting) -> None:
        """Book what was spent by calls that did not pass here."""
        with self._lock:
            self._ended += tokens
            self._settle()

    # A call as a whole

    async def ask(
        self,
        request: Request,
        attempt: Callable[[int], Awaitable[T]],
        used: Callable[[T], TokenAccounting | None],
        meant: Meaning,
    ) -> T:
        """What ``attempt(output)`` returns, once it is let out; tried again after a failure that may pass.

        ``used`` says what the provider reports, ``meant`` what an error of the library means.

        :raises BudgetExhausted: when the budget has no room for it.
        :raises OutOfTurns: when the agent has had its turns. Beside these, what ``attempt`` raised last.
        """
        self.turn()
        number = 1
        failed: ModelError | None = None
        while True:
            try:
                async with self.out(request, meant) as call:
                    answer = await attempt(call.output)
                    call.end(used(answer))
                return answer
            except Exception as error:
                if failed is not None and isinstance(error, BudgetExhausted) and error is self.refusal:
                    self.refusal = refused_again(error, failed)
                    raise self.refusal from error
                failure = self.failure
                if failure is None or failure[0] is not error:
                    raise
                failed = failure[1]
                wait_s = self._terms.wait_s(failed, number)
                if wait_s is None:
                    self.failure = error, self._terms.final(failed)
                    raise
            number += 1
            await anyio.sleep(wait_s)

    @asynccontextmanager
    async def out(self, request: Request, meant: Meaning) -> AsyncGenerator[Call]:
        """Let one call out for the length of the block. Where that does not end it, it was the worst case."""
        call = await self.begin(request)
        try:
            yield call
        except Exception as error:
            call.fail(error, meant(error, request.model))
            raise
        finally:
            call.end(None)

    # Its beginning

    def turn(self) -> None:
        """Another model call, that is no further attempt at one.

        :raises OutOfTurns: when there were as many as there may be.
        """
        most = self._spec.max_turns
        with self._lock:
            if self.turns < most:
                self.turns += 1
                return
        self.refusal = OutOfTurns(f"agent {self._spec.name!r} asked for more than {most} model calls (max_turns)")
        raise self.refusal

    async def begin(self, request: Request) -> Call:
        """Let a call out, as soon as there is room for it.

        Where its whole worst case does not fit only because other agents' calls are out, one of them is waited for:
        they mostly use less than they hold, and an answer that is cut short can't be had again. Then it is clamped.

        :raises BudgetExhausted: when there is no room, and nothing to wait for.
        """
        waited = False
        while True:
            try:
                call = self._begin(request, waited=waited, may_wait=True)
            except BaseException:
                self._in_flight.wake_first()
                raise
            if call is not None:
                if waited:
                    self._in_flight.wake_first()  # there may be room for one more
                return call
            await self._in_flight.one_ended(again=waited)
            waited = True

    def begin_now(self, request: Request) -> Call:
        """The same for those who can't wait.

        :raises BudgetExhausted: when there is no room at this moment.
        """
        call = self._begin(request, waited=False, may_wait=False)
        assert call is not None  # noqa: S101 - who may not wait is not asked to
        return call

    def _begin(self, request: Request, *, waited: bool, may_wait: bool) -> Call | None:
        with self._lock:
            if self._closed:
                raise CarpoolError(f"agent {self._spec.name!r} has ended; what it left behind calls no more models")
            if request.earlier is None:
                request.earlier = next(filter(request.goes_on_from, reversed(self._answered)), None)
            try:
                reserved = self._reserved(request, waited=waited, may_wait=may_wait)
            except BudgetExhausted as refusal:
                self.refusal = refusal
                raise
            if reserved is None:
                return None
            self.refusal = self.failure = None
            call = Call(self, request, *reserved)
            self._open[call] = None
            self._in_flight.begin()
        return call

    def _reserved(self, request: Request, *, waited: bool, may_wait: bool) -> tuple[int, TokenAccounting | None] | None:
        """How much may be generated, once that is reserved, and the reservation; ``None`` to wait for a call."""
        lease, most = self._lease, request.most
        if lease is None:
            return most, None
        if not lease.purse.has_spend_limit:
            lease.reserve()
            return most, None
        if self._open:
            return self._reserved_beside(lease, request)
        worst = WorstCase(lease, request.price, writes_cache=True)
        wanted = worst.of(request.at_most(), most)
        if not worst.fits(wanted, _FAR):
            size = request.expected()
            wanted = worst.of(size, most)
            fits = (waited or not self._in_flight.waiting) and worst.fits(wanted)
            if not fits and may_wait and self._in_flight.count:
                return None
            if not fits and request.clamps:
                most = max(worst.output_that_fits(size, most), min(LEAST_OUTPUT, most))
                wanted = worst.of(size, most)
        lease.reserve(wanted)
        return most, wanted

    def _reserved_beside(self, lease: Lease, request: Request) -> tuple[int, TokenAccounting]:
        """The same while others of this agent are out. It is not kept waiting: one of them may wait for it."""
        held, most = self._held(), request.most
        while True:
            wanted = request.worst(most)
            try:
                lease.reserve(held + wanted)
                return most, wanted
            except BudgetExhausted:
                if not request.clamps or most <= LEAST_OUTPUT:
                    raise
            most = max(most // 2, LEAST_OUTPUT)

    # Its end

    def ended(self, call: Call, tokens: TokenAccounting | None) -> None:
        with self._lock:
            if call not in self._open:
                if tokens is not None and call.worst is not None:
                    self._book(_beyond(tokens, call.worst))  # it was given up, and has come to an end all the same
                    call.worst = None
                return
            del self._open[call]
            if call.request.counted is not None:
                call.request.earlier = None  # what has been counted needs none, and would keep it alive
                self._answered.append(call.request)
            if tokens is None:
                tokens = call.worst = call.request.worst(call.output)
            else:
                call.worst = None
            self._ended += tokens
            self._settle()
        self._in_flight.end()

    def close(self) -> None:
        """The agent has ended. Doing it again changes nothing."""
        with self._lock:
            self._closed = True
            left = list(self._open)
        for call in left:
            call.end(None)

    def _settle(self) -> None:
        """Book what has ended, once nothing is out: a charge ends the reservation for everything."""
        if not self._open:
            self._book(self._ended)
            self._ended = _NOTHING
        elif self._lease is not None and self._lease.purse.has_spend_limit:
            with suppress(BudgetError):  # then more than is needed stays held
                self._lease.reserve(self._held())

    def _held(self) -> TokenAccounting:
        """What is reserved: for all that is out, and for what has ended meanwhile."""
        return sum((call.worst or _NOTHING for call in self._open), self._ended)

    def _book(self, tokens: TokenAccounting) -> None:
        if self._lease is None:
            self._spent += tokens
        else:
            self._lease.charge(tokens)


def _beyond(tokens: TokenAccounting, booked: TokenAccounting) -> TokenAccounting:
    """What of ``tokens`` is not ``booked`` yet."""
    return TokenAccounting(
        input_tokens=max(0, tokens.input_tokens - booked.input_tokens),
        output_tokens=max(0, tokens.output_tokens - booked.output_tokens),
        cost_usd=max(0.0, tokens.cost_usd - booked.cost_usd),
        priced=tokens.priced,
    )
