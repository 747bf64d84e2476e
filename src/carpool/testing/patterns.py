"""What holds of every pattern, whatever it coordinates: a suite for the built-in ones, and for your own.

def test_my_pattern_keeps_the_rules() -> None:
    check_pattern(lambda: MyPattern([AgentSpec("a", "…"), AgentSpec("b", "…")]))
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import anyio
import msgspec

from ..errors import CarpoolError
from ..eventlog import EventLog
from ..events import AgentEvent, Event
from ..infra import SharedInfra
from ..mailbox import Mailbox
from ..patterns import Pattern, Swarm
from ..results import CoordinationResult
from ..runner import RunnerLike, run_function
from ..runtime import Runtime
from ..types import AgentOutput, AgentSpec, BudgetLimits, TokenAccounting
from .cancellation import Ended, How, cancel_at_every_await
from .scripted_runner import ScriptedRunner
from .virtual_clock import VirtualClock

__all__ = ["PRICE", "check_pattern"]

PRICE = TokenAccounting(input_tokens=3, output_tokens=2, cost_usd=0.25)
"""What each start costs in these checks."""

GIBBERISH = "NOT APPROVED } {"

Factory = Callable[[], Pattern[Any]]
Runners = Callable[[], RunnerLike]


def check_pattern(
    factory: Factory,
    *,
    runner: Runners = lambda: ScriptedRunner(default="ok"),
    task: str = "do it",
    every: int = 1,
) -> None:
    """Run the pattern that ``factory`` makes, anew each time, in every way in which it can go wrong.

    - undisturbed: as many starts as its plan says, in whatever order its agents end; as a member of another pattern
    - denied: at each start, by the number of agents and by tokens
    - failed: each agent, and all; and each with a reply that is of no use
    - cancelled: at each ``every``-th step of the loop, natively and by a scope

    Each time nothing may be left, each agent ends once in the log, what was spent is what is booked, and every agent
    that ended is in the result, or in ``partial`` of a ``CarpoolError``. ``runner`` makes a runner for one run, whose
    replies must not depend on how often it is asked; each of its calls is made to cost ``PRICE``. The pattern should
    be small: the checks take some hundred runs.

    :raises AssertionError: for what does not hold, with a note that says when.
    """
    check = _Check(factory, runner, task)
    starts = check.undisturbed()
    check.any_order(starts)
    check.as_a_member(starts)
    for most in range(starts):
        check.denied(BudgetLimits(max_agents=most))
        check.denied(BudgetLimits(max_total_tokens=most * PRICE.total_tokens))
    for number in range(1, starts + 1):
        check.failed({number})
        check.gibberish({number})
    check.failed(range(1, 10 * starts))
    check.gibberish(range(1, 10 * starts))
    for how in ("task", "scope"):
        check.cancelled(how, every)


class _Check:
    def __init__(self, factory: Factory, runner: Runners, task: str) -> None:
        self._factory = factory
        self._runner = runner
        self._task = task

    def undisturbed(self) -> int:
        with _when("undisturbed"):
            go = self._go()
            result = go.result
            if result is None:
                raise AssertionError(f"it ended with {go.error!r}")
            msgspec.json.encode(result)
            self._check_plan(go.bill.starts)
            _require(result.stop_reason != "budget_exhausted", "it says that it was out of budget, without one")
            return go.bill.starts

    def _check_plan(self, starts: int) -> None:
        try:
            plan = self._factory().plan(self._task)
        except NotImplementedError:
            return
        _require(plan.agents_min <= starts, f"{starts} starts, though its plan says {plan.agents_min} at least")
        if plan.agents_max is not None:
            _require(starts <= plan.agents_max, f"{starts} starts, though its plan says {plan.agents_max} at most")

    def any_order(self, starts: int) -> None:
        with _when("when its agents end in the opposite order"):
            in_order = self._go(delays=range(1, starts + 1))
            in_reverse = self._go(delays=range(starts, 0, -1))
            _require(_gist(in_order.result) == _gist(in_reverse.result), "the result depends on who is faster")

    def as_a_member(self, starts: int) -> None:
        for number in range(starts + 1):
            with _when(f"as a member of another, with start {number} failed" if number else "as a member of another"):
                go = self._go(factory=lambda: Swarm([self._factory()]), fails={number})
                _require(go.result is not None, f"what ended it, ended the pattern around it too: {go.error!r}")

    def denied(self, limits: BudgetLimits) -> None:
        with _when(f"under {limits!r}"):
            go = self._go(limits)
            started, most = go.infra.budget.snapshot().agents_started, limits.max_agents
            _require(most is None or started <= most, f"{started} agents were started, of at most {most}")
            if go.result is not None and any(event.kind == "agent_skipped" for event in go.infra.log.events()):
                _require(go.result.stop_reason == "budget_exhausted", f"stop_reason is {go.result.stop_reason!r}")

    def failed(self, numbers: Collection[int]) -> None:
        with _when(f"with start {_some(numbers)} failed"):
            go = self._go(fails=numbers)
            failed = [output for output in _agents(go.what_there_is) if output.error is not None]
            broken = sum(number in numbers for number in range(1, go.bill.starts + 1))
            _require(len(failed) >= broken, f"{broken} agents failed, of which {len(failed)} are in the result")

    def gibberish(self, numbers: Collection[int]) -> None:
        with _when(f"with a useless reply at start {_some(numbers)}"):
            self._go(useless=numbers)

    def cancelled(self, how: How, every: int) -> None:
        with _when("cancelled"):
            cancel_at_every_await(lambda clock: self._scenario(clock), how=how, every=every)

    def _scenario(self, clock: VirtualClock) -> _Go:
        return _Go(self._factory(), self._task, SharedInfra(clock=clock), _Billed(self._runner()))

    def _go(self, limits: BudgetLimits | None = None, factory: Factory | None = None, **disturbed: Any) -> _Go:
        clock = VirtualClock()
        infra = SharedInfra(budget=limits, clock=clock)
        go = _Go((factory or self._factory)(), self._task, infra, _Billed(self._runner(), **disturbed))
        clock.run(go.to_the_end)
        go.look()
        return go


class _Go:
    """One run of the pattern, and what must hold of it however it ended."""

    def __init__(self, pattern: Pattern[Any], task: str, infra: SharedInfra, bill: _Billed) -> None:
        self.pattern = pattern
        self.task = task
        self.infra = infra
        self.bill = bill
        self.result: CoordinationResult | None = None
        self.error: BaseException | None = None

    async def run(self) -> CoordinationResult:
        return await self.pattern.run(self.task, runner=self.bill, infra=self.infra)

    async def to_the_end(self) -> None:
        try:
            self.result = await self.run()
        except CarpoolError as error:
            self.error = error

    def check(self, ended: Ended) -> None:
        self.error = ended.error
        self.result = ended.result if isinstance(ended.result, CoordinationResult) else None
        if len(self.infra.log):  # else it was stopped before it began
            self.look()

    @property
    def what_there_is(self) -> CoordinationResult:
        """The result, or what the error carries of it."""
        found = self.result or getattr(self.error, "partial", None)
        if not isinstance(found, CoordinationResult):
            raise AssertionError(f"{self.error!r} carries no partial result")
        return found

    def look(self) -> None:
        budget, log = self.infra.budget, self.infra.log
        spent = budget.snapshot()
        _require(budget.in_flight == 0, f"{budget.in_flight} leases are still in flight")
        _require(spent.held == TokenAccounting(), f"{spent.held!r} is still held")
        _check_lives(log)

        booked = (spent.input_tokens, spent.output_tokens, spent.cost_usd)
        made = self.bill.charged
        paid = (made * PRICE.input_tokens, made * PRICE.output_tokens, made * PRICE.cost_usd)
        _require(booked == paid, f"booked is {booked} (input, output, USD), spent was {paid}")
        _check_kept(log, self.what_there_is)
        if self.result is None:
            usage = getattr(self.error, "usage", None)
            cost = _ended_spend(log)
            _require(usage == cost, f"the error's usage is {usage!r}, of agents that cost {cost!r}")


class _Billed:
    """A runner whose every call costs ``PRICE``, and some of whose calls are made to come to nothing."""

    def __init__(
        self,
        runner: RunnerLike,
        *,
        fails: Collection[int] = (),
        useless: Collection[int] = (),
        delays: Sequence[float] = (0,),
    ) -> None:
        self._call = run_function(runner)
        self._fails = fails
        self._useless = useless
        self._delays = delays
        self.starts = 0
        self.charged = 0

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput | str:
        self.starts += 1
        number = self.starts
        await anyio.sleep(self._delays[min(number, len(self._delays)) - 1])
        self.charged += 1
        if runtime.lease is not None:
            runtime.lease.charge(PRICE)
        if number in self._fails:
            raise RuntimeError("it broke")
        if number in self._useless:
            return GIBBERISH
        return await self._call(spec, task, runtime, mailbox)


# What must hold


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


_LIFE = re.compile(r"(skipped |replayed |started (retrying started )*(finished |failed |cancelled ))*")


def _check_lives(log: EventLog) -> None:
    """Each agent that is asked for ends once, and so does each run."""
    lives: dict[tuple[str, str], str] = {}
    counted: Counter[str] = Counter()
    for event in log.events():
        counted[event.kind] += 1
        if isinstance(event, AgentEvent) and event.kind.startswith("agent_"):
            whose = (event.run, event.path)
            lives[whose] = lives.get(whose, "") + event.kind.removeprefix("agent_") + " "
    for (_, path), life in lives.items():
        _require(_LIFE.fullmatch(life) is not None, f"the log says of {path}: {life.strip()}")
    _require(counted["run_started"] == counted["run_finished"], "a run has begun that has not ended")


def _ended(log: EventLog) -> Iterator[Event]:
    return (event for event in log.events() if event.kind in ("agent_finished", "agent_failed", "agent_replayed"))


def _ended_spend(log: EventLog) -> TokenAccounting:
    return sum((getattr(event, "tokens", None) or TokenAccounting() for event in _ended(log)), TokenAccounting())


def _check_kept(log: EventLog, result: CoordinationResult) -> None:
    """Every agent that ended is in the result, by its name and with its price, and the usage is theirs."""
    ended = Counter((getattr(event, "agent", ""), getattr(event, "tokens", None)) for event in _ended(log))
    kept = Counter((output.name, output.tokens) for output in _agents(result))
    _require(ended <= kept, f"not in the result: {ended - kept}")
    spent = _ended_spend(log)
    _require(result.usage == spent, f"usage is {result.usage!r}, of agents that cost {spent!r}")


def _agents(result: CoordinationResult) -> Iterator[AgentOutput]:
    """The outputs of all agents, those in nested results too."""
    for output in result.outputs:
        if output.name not in result.nested:
            yield output
    for results in result.nested.values():
        for each in results:
            yield from _agents(each)


_OF_THE_MOMENT = {"budget", "duration_ms", "elapsed_s", "run_id", "timestamp"}


def _gist(value: object) -> Any:
    """A result without what depends on the time."""
    return _without_moment(msgspec.to_builtins(value))


def _without_moment(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: _without_moment(each) for name, each in fields.items() if name not in _OF_THE_MOMENT}
    if isinstance(value, list):
        return [_without_moment(each) for each in cast("list[Any]", value)]
    return value


@contextmanager
def _when(what: str) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"the pattern, {what}")
        raise


def _some(numbers: Collection[int]) -> str:
    return "1 and all after it" if isinstance(numbers, range) else ", ".join(map(str, sorted(numbers)))
