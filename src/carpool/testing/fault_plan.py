"""A plan of what goes wrong, around any runner: which calls are struck, by what, after spending how much.

plan = FaultPlan(runner)
plan.nth(3, "mapper").times_out(spends=TokenAccounting(input_tokens=900))
plan.every(5).is_rate_limited()
plan.chance(0.10, seed=7).raises(ConnectionResetError("reset by peer"))
…
assert plan.never_struck == []
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from ..mailbox import Mailbox
from ..runner import RunnerLike, run_function
from ..runtime import Runtime
from ..types import AgentSpec, TokenAccounting

__all__ = ["Calls", "FaultPlan", "Strike"]

Work = Callable[[], Awaitable[Any]]
Act = Callable[[Work, AgentSpec], Awaitable[Any]]


class Strike(Struct, frozen=True, kw_only=True):
    """One fault that happened: to the ``call``-th call (of those that the fault is about) of ``agent``.

    ``at`` is the loop's time, in seconds; ``spent`` what was spent before the fault.
    """

    fault: str
    agent: str
    call: int
    at: float
    spent: TokenAccounting


class FaultPlan:
    """A runner that runs another one, and makes go wrong what is planned.

    First said which calls, then what befalls them; each returns the plan, so that sentences can be chained. ``of`` is
    a role or the name of one agent; without it every call counts. Calls are counted when they arrive, from 1; a retry
    is a call. So as long as the agents arrive in the same order, the same ones are struck: always on a
    ``VirtualClock``. Of several faults that are due at one call the one that was planned first strikes, and the others
    have missed their turn. A call that nothing strikes goes to the runner as it is.

    ``struck`` is what happened, in that order; ``never_struck`` says which faults have not happened. Made for one event
    loop at a time.
    """

    def __init__(self, runner: RunnerLike) -> None:
        self.struck: list[Strike] = []
        self._run = run_function(runner)
        self._planned: list[_Fault] = []

    # Which calls

    def nth(self, number: int, of: str | None = None) -> Calls:
        """One call, the ``number``-th."""
        _refuse_unless_number("number", number)
        return self._calls(lambda call: call == number, f"the {_ordinal(number)} call", of)

    def first(self, number: int, of: str | None = None) -> Calls:
        """Each of the first ``number`` calls."""
        _refuse_unless_number("number", number)
        return self._calls(lambda call: call <= number, f"each of the first {number} calls", of)

    def every(self, number: int, of: str | None = None) -> Calls:
        """Call ``number``, 2 * ``number``, 3 * ``number``, …; ``every(1)`` is each call."""
        _refuse_unless_number("number", number)
        said = "every call" if number == 1 else f"every {_ordinal(number)} call"
        return self._calls(lambda call: call % number == 0, said, of)

    def chance(self, share: float, *, seed: int, of: str | None = None) -> Calls:
        """Each call with a probability of ``share``, 0 to 1. Which ones depends on ``seed`` and on the call's number
        alone: the same in every process and in every version of Python."""
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise ValueError(f"share must be a number from 0 to 1, not {share!r}")
        said = f"with a chance of {share * 100:g} % (seed {seed}) a call"
        return self._calls(lambda call: _draw(seed, call) < share, said, of)

    # What happened

    @property
    def never_struck(self) -> list[str]:
        """The faults that have not happened even once, each as a sentence."""
        return [fault.said for fault in self._planned if not fault.strikes]

    @property
    def spent(self) -> TokenAccounting:
        """What was spent before the faults, in all."""
        return sum((strike.spent for strike in self.struck), TokenAccounting())

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> Any:
        """What the runner comes to, or the fault that strikes."""
        work = partial(self._run, spec, task, runtime, mailbox)
        # All are counted, whichever of them strikes.
        due = [fault for fault in self._planned if fault.is_due(spec)]
        if not due:
            return await work()
        fault = due[0]
        self._strike(fault, spec, runtime)
        return await fault.act(work, spec)

    def _strike(self, fault: _Fault, spec: AgentSpec, runtime: Runtime) -> None:
        fault.strikes += 1
        spent = fault.spends or TokenAccounting()
        self.struck.append(
            Strike(fault=fault.said, agent=spec.name, call=fault.calls, at=anyio.current_time(), spent=spent)
        )
        if fault.spends is not None and runtime.lease is not None:
            runtime.lease.charge(fault.spends)

    def _calls(self, are_meant: Callable[[int], bool], said: str, of: str | None) -> Calls:
        return Calls(self, self._planned, are_meant, said if of is None else f"{said} of {of}", of)


class Calls:
    """Some of a plan's calls; what is said of them is what befalls them.

    ``spends`` is charged on the agent's lease before anything else happens. Where the runner is called all the same,
    and reports what it spent, the larger of the two is booked, as always.
    """

    def __init__(
        self,
        plan: FaultPlan,
        planned: list[_Fault],
        are_meant: Callable[[int], bool],
        said: str,
        of: str | None,
    ) -> None:
        self._plan = plan
        self._planned = planned
        self._are_meant = are_meant
        self._said = said
        self._of = of

    # Instead of the runner's work

    def raises(self, error: Exception | type[Exception], *, spends: TokenAccounting | None = None) -> FaultPlan:
        """The call raises ``error``, or one of that class."""

        async def act(work: Work, spec: AgentSpec) -> Any:
            await checkpoint()
            raise error if isinstance(error, type) else error.with_traceback(None)  # which would grow with each call

        return self._meet("raises " + (error.__name__ if isinstance(error, type) else repr(error)), act, spends)

    def is_rate_limited(
        self, *, retry_after_s: float | None = None, spends: TokenAccounting | None = None
    ) -> FaultPlan:
        """The call raises what ``ModelRunner`` does when a provider refuses for now: a transient ``ModelError``."""

        async def act(work: Work, spec: AgentSpec) -> Any:
            from ..runners.model import ModelError  # loaded when it strikes; it needs no extra

            await checkpoint()
            model = spec.model or spec.name
            text = "rate limit reached (429)"
            raise ModelError("transient", model, text, status=429, retry_after_s=retry_after_s, refused=True)

        return self._meet("is rate limited", act, spends)

    def times_out(self, *, spends: TokenAccounting | None = None) -> FaultPlan:
        """The call never ends by itself: it waits for its ``timeout_s``, or to be cancelled. On a ``VirtualClock``
        that is a ``Deadlock`` where neither ever comes."""

        async def act(work: Work, spec: AgentSpec) -> Any:
            await anyio.sleep_forever()

        return self._meet("times out", act, spends)

    def returns(self, anything: Any, *, spends: TokenAccounting | None = None) -> FaultPlan:
        """The call comes back with ``anything``: ``""``, ``None``, an output that is none, words that say nothing."""

        async def act(work: Work, spec: AgentSpec) -> Any:
            await checkpoint()
            return anything

        return self._meet(f"returns {anything!r}", act, spends)

    # Around the runner's work

    def is_slow(self, by_s: float, *, spends: TokenAccounting | None = None) -> FaultPlan:
        """The runner is called ``by_s`` seconds later."""
        if not by_s >= 0:
            raise ValueError(f"by_s must be 0 seconds or more, not {by_s!r}")

        async def act(work: Work, spec: AgentSpec) -> Any:
            await anyio.sleep(by_s)
            return await work()

        return self._meet(f"is slow by {by_s:g} s", act, spends)

    def swallows_cancellation(self, times: int = 1, *, spends: TokenAccounting | None = None) -> FaultPlan:
        """The runner's answer is kept back until the call has been cancelled ``times`` times, and is returned then,
        as if nobody had. Nothing reaches the runner meanwhile but a native ``Task.cancel``. A call that nobody
        cancels never ends."""
        _refuse_unless_number("times", times)

        async def act(work: Work, spec: AgentSpec) -> Any:
            returned: Any = None
            with anyio.CancelScope(shield=True):
                returned = await work()
            for _ in range(times):
                try:
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    continue
            return returned

        return self._meet(f"swallows {times} cancellation{'s' * (times > 1)}", act, spends)

    def _meet(self, what: str, act: Act, spends: TokenAccounting | None) -> FaultPlan:
        if spends is not None and not isinstance(spends, TokenAccounting):
            raise TypeError(f"spends is a TokenAccounting, not {spends!r}")
        said = f"{self._said} {what}{_after_spending(spends)}"
        self._planned.append(_Fault(said, self._are_meant, self._of, act, spends))
        return self._plan


class _Fault:
    """A fault that is planned, how many calls came by, and how many of them it struck."""

    def __init__(
        self,
        said: str,
        is_meant: Callable[[int], bool],
        of: str | None,
        act: Act,
        spends: TokenAccounting | None,
    ) -> None:
        self.said = said
        self.act = act
        self.spends = spends
        self.calls = 0
        self.strikes = 0
        self._is_meant = is_meant
        self._of = of

    def is_due(self, spec: AgentSpec) -> bool:
        """Count a call; whether this one is to be struck."""
        if self._of is not None and self._of not in (spec.name, spec.role):
            return False
        self.calls += 1
        return self._is_meant(self.calls)


def _draw(seed: int, call: int) -> float:
    """From 0 up to 1, evenly."""
    return int.from_bytes(sha256(f"{seed} {call}".encode()).digest()[:8]) / 2**64


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _after_spending(spends: TokenAccounting | None) -> str:
    if spends is None:
        return ""
    cost = f" and ${spends.cost_usd:g}" if spends.cost_usd else ""
    return f" after spending {spends.total_tokens} tokens{cost}"


def _refuse_unless_number(name: str, value: int) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}")
