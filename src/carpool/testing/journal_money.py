"""What a journal promises to a budget: all that was spent under a run is booked, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from ..budget import CoordinationBudget
from ..infra import SharedInfra
from ..patterns import MapReduce, Pattern, Pipeline, Swarm, Vote
from ..recall import Past
from ..results import CoordinationResult
from ..spawn import Run
from ..types import BudgetLimits, TokenAccounting
from .journal_desk import COST, Check, Desk, agent, agents, attempt, require, tokens
from .reply import Reply, Script

__all__ = ["MONEY"]

_HELD = {"estimate": tokens(25)}
_BROKEN = Reply(model_calls=[COST], raises=OSError("no"))


async def what_was_in_flight_is_charged_at_its_hold(desk: Desk) -> None:
    team = Swarm(agents("abc", **_HELD), max_concurrent=1)
    await desk.run(team, dies_at="b")
    there = await desk.journal.holdings("run")
    require(there.spent == tokens(35), f"10 were spent and 25 held, and {there.spent!r} is on record")
    resumed = await desk.run(team)
    require(resumed.spent == 55, f"10 + 25 + 10 + 10 were spent, and {resumed.spent} is booked")
    started = resumed.infra.budget.snapshot().agents_started
    require(started == 3, f"3 slots are taken, by one that is replayed and two that run, and {started} are booked")
    replayed = await desk.run(team)
    require(replayed.spent == 55, f"replayed, {replayed.spent} is booked")


async def a_further_attempt_in_flight_is_charged_with_those_before_it(desk: Desk) -> None:
    team = Swarm([agent("a", retries=1, **_HELD)])
    await desk.run(team, {"a": _BROKEN}, dies_at=2)
    there = await desk.journal.holdings("run")
    require(there.spent == tokens(35), f"10 were spent and 25 held, and {there.spent!r} is on record")


async def what_came_to_nothing_stays_spent(desk: Desk) -> None:
    team = Swarm(agents("abc", **_HELD), max_concurrent=1)
    await desk.run(team, {"a": _BROKEN})
    await desk.cancelled_at("a", team, {"b": _BROKEN})
    resumed = await desk.run(team)
    # a failed, was cancelled and ran; b and c ran.
    require(list(resumed.calls) == ["a"], f"called were {list(resumed.calls)}")
    require(resumed.spent == 50, f"50 were spent, and {resumed.spent} is booked")
    require((await desk.journal.holdings("run")).spent == tokens(50), "another sum is on record")
    require(resumed.outcome.usage == tokens(30), "what came to nothing is in the result's usage")


async def a_budget_that_has_it_already_books_nothing_twice(desk: Desk) -> None:
    team = Pipeline(agents("ab"), budget=BudgetLimits(max_total_tokens=1_000))
    budget = CoordinationBudget(BudgetLimits(max_total_tokens=1_000))
    whole = await desk.run(team, budget=budget)
    again = await desk.run(team, budget=budget)
    require(again.spent == 20, f"20 were spent, and the same budget has {again.spent}")
    snapshots = [went.outcome.budget.total_tokens for went in (whole, again)]
    require(snapshots == [20, 20], f"the pattern's own purse has {snapshots[1]} of {snapshots[0]}")
    other = await desk.run(team)
    require((other.spent, other.outcome.budget.total_tokens) == (20, 20), "another budget has not booked it, or twice")
    require(budget.snapshot().agents_started == 2, "slots were booked twice")


class _Purses(Pattern[CoordinationResult]):
    """Two of its agents have purses of their own, one inside a team that has one too; it keeps what it saw."""

    def __init__(self) -> None:
        super().__init__(budget=BudgetLimits(max_total_tokens=1_000))
        self.seen: list[int] = []

    async def execute(self, run: Run, task: str) -> CoordinationResult:
        team = Pipeline(
            [agent("a"), agent("b", budget=BudgetLimits(max_total_tokens=100))],
            budget=BudgetLimits(max_total_tokens=500),
        )
        outputs = [await run.agent(team, task)]
        self.seen = [run.purse.snapshot().total_tokens, run.record.nested["pipeline"][0].budget.total_tokens]
        return run.result(task=task, answer="done", outputs=outputs)


async def purses_inside_the_budget_have_what_was_spent_in_them(desk: Desk) -> None:
    pattern = _Purses()
    await desk.run(pattern, {"b": _BROKEN})
    require(pattern.seen == [20, 20], f"the scene is not as it should be: {pattern.seen}")
    for calls in (["b"], []):
        went = await desk.run(pattern)
        require(list(went.calls) == calls, f"called were {list(went.calls)}")
        require(went.spent == 30, f"30 were spent, and {went.spent} is booked")
        require(pattern.seen == [30, 30], f"30 were spent, and inside are booked {pattern.seen}")


async def a_purse_of_an_agents_own_is_no_larger_after_resuming(desk: Desk) -> None:
    greedy: Script = {"a": Reply(model_calls=[COST] * 9, raises=OSError("no"))}
    team = Swarm([agent("a", budget=BudgetLimits(max_total_tokens=30))])
    for calls in (1, 0, 0):
        went = await desk.run(team, greedy)
        require(len(went.calls) == calls, f"{len(went.calls)} calls, and the purse had room for {calls}")
    require(went.spent == 30, f"of 30 {went.spent} were spent")


async def a_run_that_its_budget_stopped_goes_on_with_a_larger_one(desk: Desk) -> None:
    team = MapReduce(agent("m", estimate=COST), agent("r", estimate=COST)).over(items=list("abcdef"))
    first = await desk.run(team, budget=BudgetLimits(max_total_tokens=40))
    require(first.outcome.stop_reason == "budget_exhausted", f"stop_reason is {first.outcome.stop_reason!r}")
    same = await desk.run(team, budget=BudgetLimits(max_total_tokens=40))
    require((list(same.calls), same.spent) == ([], 40), f"with the same budget {list(same.calls)} were called")
    more = await desk.run(team, budget=BudgetLimits(max_total_tokens=80))
    require(more.outcome.all_succeeded, "it does not end well")
    require(more.spent == 80, f"80 were spent in all, and {more.spent} is booked")
    require(sorted(more.calls) == ["m_3", "m_4", "m_5", "r"], f"called were {list(more.calls)}")


async def a_limit_holds_over_all_processes(desk: Desk) -> None:
    limits = BudgetLimits(max_total_tokens=70, max_agents=7)
    team = MapReduce(agent("m", estimate=COST), agent("r", estimate=COST)).over(items=list("abcdefgh"))
    called = 0
    for death in (2, 2, 1, 3, 0):
        went = await desk.run(team, budget=limits, dies_at=death)
        called += len(went.calls)
    require(called <= 7, f"{called} calls were made for 10 tokens each, of at most 70")
    require(went.spent <= 70, f"{went.spent} of 70 are booked")


async def raised_limits_are_on_record(desk: Desk) -> None:
    infra = SharedInfra(journal=desk.journal, budget=BudgetLimits(max_total_tokens=15))

    async def more(*_: Any) -> str:
        infra.raise_limits(BudgetLimits(max_total_tokens=100))
        return "raised"

    team = Swarm(agents("abc"), max_concurrent=1)
    went = await desk.run(team, {"a": Reply(spends=COST, does=more)}, infra=infra)
    require(went.outcome.all_succeeded, "the scene is not as it should be")
    stored = await desk.journal.read("run")
    require("limits_raised" in [event.kind for event in stored.events()], "the log has no word of it")
    require(stored.header.limits.max_total_tokens == 100, f"the header says {stored.header.limits!r}")
    require(stored.header.spent == tokens(30), f"the header says that {stored.header.spent!r} was spent")


async def past_spend_is_told_by_budget_and_in_sum(desk: Desk) -> None:
    budgets = [CoordinationBudget(), CoordinationBudget()]
    team = Vote(agents("ab"))
    await desk.run(team, {"b": _BROKEN}, budget=budgets[0])
    await desk.run(team, budget=budgets[1])
    recall = await desk.open()
    past = {each.purse: each for each in recall.past}
    await desk.close(recall)
    require(set(past) == {budget.id for budget in budgets}, "it is not told by budget")
    told = [(past[budget.id].spent, past[budget.id].slots) for budget in budgets]
    # In the second process a was replayed: the first budget has paid for it, and has its slot.
    require(told == [(tokens(20), 1), (COST, 1)], f"spent and slots are {told}")
    require(_sum(recall.past) == tokens(30), "the sum is not what was spent")


def _sum(past: Sequence[Past]) -> TokenAccounting:
    return sum((each.spent for each in past), TokenAccounting())


async def any_amount_comes_back_as_it_was(desk: Desk) -> None:
    odd = [
        TokenAccounting(input_tokens=2**70, output_tokens=1, cost_usd=1e300),
        TokenAccounting(input_tokens=3, cost_usd=0.1 + 0.2, cache_read_tokens=1, cache_write_tokens=2),
        TokenAccounting(output_tokens=5, priced=False),
        TokenAccounting(),
    ]
    names = "abcd"
    script: Script = {name: Reply(spends=spent) for name, spent in zip(names, odd, strict=True)}
    first = await desk.run(Swarm(agents(names)), script)
    second = await desk.run(Swarm(agents(names)), script)
    require([output.tokens for output in second.outcome.outputs] == odd, "an amount came back changed")
    sums = [went.infra.budget.snapshot().total_tokens for went in (first, second)]
    require(sums[0] == sums[1], f"booked were {sums[0]}, and are {sums[1]}")


async def a_start_without_an_end_is_charged_at_its_hold(desk: Desk) -> None:
    recall = await desk.open()
    call = desk.call()
    known = await recall.recall(call)
    await recall.started(call, known, attempt(1, tokens(25)))
    await desk.close(recall)
    require(
        (await desk.journal.holdings("run")).spent == tokens(25), "a start without an end is not charged at its hold"
    )


async def who_was_cancelled_at_whatever_moment_is_not_lost(desk: Desk) -> None:
    team = Swarm(agents("abc", **_HELD), max_concurrent=2)
    for moment in range(40):
        run_id = f"cancelled at moment {moment}"
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel, scope, moment)
                await desk.run(team, run_id=run_id)
                group.cancel_scope.cancel()
        if await desk.journal.header(run_id) is None:
            continue
        there = await desk.journal.holdings(run_id)
        require(there.lost == 0, f"{run_id}: {there.lost} are lost, and {there.cancelled} cancelled")
        most = 10 * there.completed + 25 * there.cancelled
        require(there.spent.total_tokens <= most, f"{run_id}: {there.spent!r} is on record")
        resumed = await desk.run(team, run_id=run_id)
        require(resumed.outcome.all_succeeded, f"{run_id}: it does not go on")


async def _cancel(scope: anyio.CancelScope, moment: int) -> None:
    """After so many steps of the loop, or a little later, so that a journal that waits for a disk has its turn too."""
    for _ in range(moment):
        await checkpoint()
    if moment % 2:
        await anyio.sleep(moment * 0.0005)
    scope.cancel()


MONEY: tuple[Check, ...] = (
    what_was_in_flight_is_charged_at_its_hold,
    a_further_attempt_in_flight_is_charged_with_those_before_it,
    what_came_to_nothing_stays_spent,
    a_budget_that_has_it_already_books_nothing_twice,
    purses_inside_the_budget_have_what_was_spent_in_them,
    a_purse_of_an_agents_own_is_no_larger_after_resuming,
    a_run_that_its_budget_stopped_goes_on_with_a_larger_one,
    a_limit_holds_over_all_processes,
    raised_limits_are_on_record,
    past_spend_is_told_by_budget_and_in_sum,
    any_amount_comes_back_as_it_was,
    a_start_without_an_end_is_charged_at_its_hold,
    who_was_cancelled_at_whatever_moment_is_not_lost,
)
