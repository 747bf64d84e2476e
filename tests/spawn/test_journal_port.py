"""What the door tells a journal, and when; what it does when the journal can't be written."""

import asyncio

import anyio
import pytest

from carpool import AgentOutput, BudgetLimits, Pipeline, SharedInfra, Swarm, Vote, open_run
from carpool.errors import JournalError
from carpool.testing import Reply, ScriptedRunner, VirtualClock, cancel_at_every_await

from ..scenes import FakeJournal, answers, assert_keeps_what_ended, assert_nothing_left, spec, specs, story, tokens


async def test_recall_then_lease_then_started_then_the_runner_then_ended_then_finished() -> None:
    journal, order = FakeJournal(), []

    async def look(who, task, runtime, mailbox) -> str:
        order.extend(journal.told)
        order.append("runner")
        assert story(infra.log, "a") == ["started"]
        assert infra.budget.in_flight == 1
        journal.told.clear()
        return "x"

    infra = SharedInfra(journal=journal)
    original = journal.say

    async def say(what, call) -> None:
        leases, told = infra.budget.in_flight, story(infra.log, "a")
        assert (leases, told) == {"recall": (0, []), "started": (1, []), "completed": (0, ["started"])}[what]
        await original(what, call)

    journal.say = say
    async with open_run(runner=look, infra=infra) as run:
        await run.agent(spec("a"), "t")
    order.extend(journal.told)

    assert order == ["recall a", "started a", "runner", "completed a"]
    assert story(infra.log, "a") == ["started", "finished"]
    assert journal.open == 0


async def test_what_is_remembered_is_replayed_without_its_runner_and_paid_for_once() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner(default=Reply("x", spends=tokens(10)))
    first = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=100))
    second = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=100))
    for infra in (first, second):
        await Swarm(specs("abc")).run("t", runner=runner, infra=infra)

    assert len(runner.bill.calls) == 3
    assert first.budget.snapshot().total_tokens == second.budget.snapshot().total_tokens == 30
    assert second.budget.snapshot().agents_started == 3
    assert story(second.log, "a") == ["replayed"]
    assert_nothing_left(second)


async def test_a_replayed_agent_gets_the_name_of_its_present_place() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner(default=Reply("x"))
    for name in ("m_0", "m_7"):
        async with open_run(runner=runner, infra=SharedInfra(journal=journal)) as run:
            output = await run.agent(spec(name, role="m"), "the same task")

    assert output.name == "m_7"
    assert len(runner.bill.calls) == 1


async def test_identical_calls_are_replayed_as_often_as_they_were_made() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner(default=Reply("x"))
    for count in (2, 3):
        async with open_run(runner=runner, infra=SharedInfra(journal=journal)) as run:
            await run.fan_out([(spec(f"m_{index}", role="m"), "t") for index in range(count)], 2)

    assert len(runner.bill.calls) == 3


async def test_a_replay_is_not_asked_of_the_budget_but_counts_in_it() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner(default=Reply("x", spends=tokens(60)))
    await Swarm(specs("ab")).run("t", runner=runner, infra=SharedInfra(journal=journal))
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=100))
    result = await Swarm(specs("abc"), max_concurrent=1).run("t", runner=runner, infra=infra)

    assert [output.succeeded for output in result.outputs] == [True, True, False]
    assert result.usage == tokens(120)


async def test_failed_and_refused_agents_run_again() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner({"a": [Reply(raises=OSError), "x"], "b": "x"})
    first = await Swarm(specs("ab"), max_concurrent=1).run(
        "t", runner=runner, infra=SharedInfra(journal=journal, budget=BudgetLimits(max_agents=1))
    )
    second = await Swarm(specs("ab"), max_concurrent=1).run("t", runner=runner, infra=SharedInfra(journal=journal))

    assert not any(output.succeeded for output in first.outputs)
    assert all(output.succeeded for output in second.outputs)


async def test_an_agent_that_is_refused_tells_the_journal_nothing() -> None:
    journal = FakeJournal()
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_agents=0))
    await Swarm(specs("a")).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert journal.told == ["recall a"]


async def test_each_attempt_is_durable_before_it_is_made_and_only_the_last_output_ends_it() -> None:
    journal = FakeJournal()
    runner = ScriptedRunner({"a": [Reply(raises=OSError), "x"]})
    async with open_run(runner=runner, infra=SharedInfra(journal=journal)) as run:
        await run.agent(spec("a", retries=3), "t")

    assert journal.told == ["recall a", "started a", "started a", "completed a"]


@pytest.mark.parametrize("fails", ["recall", "started", "completed"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "pattern", [Swarm(specs("abc")), Swarm(specs("abc"), max_concurrent=1), Pipeline(specs("abc"))]
)
async def test_a_journal_that_cannot_be_written_ends_the_run_with_what_is_there(fails: str, at: int, pattern) -> None:
    journal = FakeJournal(fails=fails, at=at)
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=10_000))
    runner = ScriptedRunner(default=Reply("x", spends=tokens(10), after_s=1))
    with pytest.raises(JournalError, match="no room on the disk") as caught:
        await pattern.run("t", runner=runner, infra=infra)

    assert_nothing_left(infra)
    assert_keeps_what_ended(infra.log, caught.value.partial)
    assert caught.value.usage == caught.value.partial.usage
    assert journal.open == 0


async def test_an_output_that_could_not_be_made_durable_is_paid_for_and_not_lost() -> None:
    journal = FakeJournal(fails="completed")
    infra = SharedInfra(journal=journal)
    with pytest.raises(JournalError) as caught:
        await Swarm(specs("a")).run("t", runner=ScriptedRunner(default=Reply("dear", spends=tokens(99))), infra=infra)

    assert answers(caught.value.partial.outputs) == ["dear"]
    assert caught.value.usage == tokens(99)


async def test_a_start_that_could_not_be_made_durable_takes_no_slot_and_costs_nothing() -> None:
    journal = FakeJournal(fails="started")
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=100))
    runner = ScriptedRunner(default="x")
    with pytest.raises(JournalError):
        await Swarm(specs("a", estimate=tokens(10))).run("t", runner=runner, infra=infra)

    assert runner.bill.calls == []
    assert infra.budget.snapshot().agents_started == 0
    assert infra.budget.snapshot().total_tokens == 0


async def test_a_start_that_was_cancelled_once_it_was_on_record_is_on_record_as_cancelled_and_costs_nothing() -> None:
    journal = FakeJournal()
    infra = SharedInfra(journal=journal, budget=BudgetLimits(max_total_tokens=100))
    with anyio.CancelScope() as scope:
        original = journal.say

        async def say(what, name) -> None:
            if what == "started":
                scope.cancel()
            await original(what, name)

        journal.say = say
        await Swarm(specs("a", estimate=tokens(10))).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert journal.told == ["recall a", "started a", "cancelled a"]
    assert story(infra.log, "a") == ["started", "cancelled"]
    assert infra.budget.snapshot().agents_started == 0
    assert journal.past[0].spent == tokens(0)


async def test_a_retry_that_could_not_be_made_durable_keeps_the_attempt_before_it() -> None:
    journal = FakeJournal(fails="started", at=2)
    infra = SharedInfra(journal=journal)
    runner = ScriptedRunner({"a": Reply(raises=OSError("first"), model_calls=[tokens(5)])})
    with pytest.raises(JournalError) as caught:
        await Swarm([spec("a", retries=2)]).run("t", runner=runner, infra=infra)

    assert_nothing_left(infra)
    assert caught.value.usage == tokens(5)


@pytest.mark.parametrize("fails", ["recall", "started", "completed"])
async def test_a_journal_that_cannot_be_written_ends_the_run_from_inside_a_nested_pattern_too(fails: str) -> None:
    infra = SharedInfra(journal=FakeJournal(fails=fails))
    with pytest.raises(JournalError):
        await Vote([Pipeline(specs("ab")), spec("c")]).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert_nothing_left(infra)


async def test_a_journal_that_gives_no_memory_lets_nothing_begin() -> None:
    class Taken(FakeJournal):
        async def open_run(self, opening):
            raise JournalError("in use")

    infra = SharedInfra(journal=Taken())
    with pytest.raises(JournalError, match="in use"):
        await Swarm(specs("a")).run("t", runner=ScriptedRunner(default="x"), infra=infra)

    assert len(infra.log) == 0


class Journaled:
    """A swarm with a journal that waits at every step."""

    def __init__(self, clock: VirtualClock) -> None:
        self.journal = FakeJournal()
        self.infra = SharedInfra(journal=self.journal, clock=clock, budget=BudgetLimits(max_total_tokens=10_000))
        self.runner = ScriptedRunner(
            {"a": [Reply(raises=OSError("once"), model_calls=[tokens(3)]), Reply("a", spends=tokens(10), after_s=1)]},
            default=Reply("x", spends=tokens(10), after_s=2),
        )

    async def run(self) -> object:
        members = [spec("a", retries=1, estimate=tokens(10)), *specs("bc", estimate=tokens(10))]
        return await Swarm(members, max_concurrent=2).run("t", runner=self.runner, infra=self.infra)

    def check(self, ended) -> None:
        assert_nothing_left(self.infra)
        assert self.journal.open == 0
        # A call that was reserved and not made is booked as if it had been.
        assert self.infra.budget.snapshot().total_tokens >= self.runner.bill.total.total_tokens
        if ended.error is not None and len(self.infra.log):
            assert_keeps_what_ended(self.infra.log, ended.error.partial)
        # Whatever the journal was told has ended is also known to have ended here, in the same way; and what it was
        # told has started, it was told has ended.
        ends = {"completed": "finished", "failed": "failed", "cancelled": "cancelled"}
        for name in "abc":
            told = [what for what, who in map(str.split, self.journal.told) if who == name]
            if "started" in told:
                assert ends[told[-1]] == story(self.infra.log, name)[-1], (
                    self.journal.told,
                    story(self.infra.log, name),
                )
        if len(self.infra.log):
            assert sum((past.spent for past in self.journal.past), tokens(0)) == tokens(
                self.infra.budget.snapshot().total_tokens
            )


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", ["task", "scope"])
def test_cancelled_at_every_await_of_the_journal_nothing_is_left_or_lost(how, times: int) -> None:
    cancel_at_every_await(Journaled, how=how, times=times)


async def test_what_was_swallowed_is_told_to_the_journal_before_the_run_ends() -> None:
    journal = FakeJournal()
    infra = SharedInfra(journal=journal)
    runner = ScriptedRunner({"a": Reply("kept", hangs=True, swallows=1)})
    task = asyncio.get_running_loop().create_task(Swarm(specs("a")).run("t", runner=runner, infra=infra))
    await anyio.sleep(1)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert journal.told[-1] == "completed a"
    assert answers(journal.outputs) == ["kept"]


async def test_the_hold_is_told_to_the_journal() -> None:
    held = []

    class Noting(FakeJournal):
        async def open_run(self, opening):
            recall = await super().open_run(opening)
            started = recall.started

            async def noting(call, known, attempt) -> None:
                held.append((attempt.number, attempt.hold, attempt.earlier, attempt.at_stake()))
                await started(call, known, attempt)

            recall.started = noting
            return recall

    infra = SharedInfra(journal=Noting(), budget=BudgetLimits(max_total_tokens=100))
    async with open_run(runner=ScriptedRunner(default=Reply("x")), infra=infra) as run:
        output: AgentOutput = await run.agent(spec("a", estimate=tokens(9)), "t")

    assert held == [(1, tokens(9), tokens(0), tokens(9))]
    assert output.succeeded
