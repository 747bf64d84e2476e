"""Random teams of agents that ask for agents, under tight budgets: nobody waits for ever, nothing is lost.

The virtual clock makes a run that waits for ever an error at once, and every run reproducible.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from carpool import AgentSpec, BudgetLimits, Run, SharedInfra, is_budget_skipped, open_run
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import assert_nothing_left, spec, tokens

CALM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Node(Struct, frozen=True):
    """An agent: what it is estimated at, what it spends, how long it takes, and whom it asks for."""

    estimate: int | None
    spends: int
    seconds: int
    slots: int = 1
    retries: int = 0
    fails: bool = False
    children: tuple[Node, ...] = ()


def nodes(children: Any, *, truthful: bool = False, lone: bool = False) -> Any:
    def build(estimate: int, share: int, seconds: int, slots: int, fails: bool, retries: int, below: Any) -> Node:
        spends = estimate * share // 100 if truthful else estimate * share // 50
        return Node(estimate, spends, seconds, slots, 0 if lone else retries, fails, tuple(below))

    return st.builds(
        build,
        st.integers(0, 60),
        st.integers(0, 100),
        st.integers(0, 5),
        st.integers(1, 3),
        st.just(False) if lone else st.booleans(),
        st.integers(0, 1),
        children,
    )


def trees(*, truthful: bool) -> Any:
    leaves = nodes(st.just(()), truthful=truthful)
    return st.recursive(leaves, lambda below: nodes(st.lists(below, max_size=3), truthful=truthful), max_leaves=8)


def play(forest: list[Node], slots: int, limit: int) -> tuple[SharedInfra, ScriptedRunner, list[Any]]:
    clock = VirtualClock()
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=limit), clock=clock)
    runner = ScriptedRunner()
    places: dict[str, Run] = {}

    def reply(name: str, node: Node) -> AgentSpec:
        members = [(reply(f"{name}.{index}", child), "t") for index, child in enumerate(node.children)]

        async def ask(who: AgentSpec, task: str, runtime: Any, mailbox: Any) -> str:
            place = places[name.rpartition(".")[0]].inside(runtime)
            places[name] = place
            await place.fan_out(members, node.slots)
            return "x"

        runner.script[name] = Reply(
            spends=tokens(node.spends), after_s=node.seconds, does=ask, raises=OSError("no") if node.fails else None
        )
        return spec(name, estimate=None if node.estimate is None else tokens(node.estimate), retries=node.retries)

    jobs = [(reply(str(index), node), "t") for index, node in enumerate(forest)]

    async def main() -> list[Any]:
        async with open_run(runner=runner, infra=infra) as run:
            places[""] = run
            return await run.fan_out(jobs, slots)

    return infra, runner, clock.run(main)


@CALM
@given(st.lists(trees(truthful=False), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 200))
def test_nobody_waits_for_ever_and_nothing_is_left(forest: list[Node], slots: int, limit: int) -> None:
    infra, runner, outputs = play(forest, slots, limit)

    assert_nothing_left(infra)
    assert len(outputs) == len(forest)
    # A failed agent reports nothing and is booked at its hold, so the bill is no exact measure of what is booked.
    assert infra.budget.snapshot().agents_started == len(runner.bill.calls)


@CALM
@given(st.lists(trees(truthful=True), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 200))
def test_with_true_estimates_the_limit_is_never_crossed(forest: list[Node], slots: int, limit: int) -> None:
    infra, runner, _ = play(forest, slots, limit)

    assert runner.bill.total.total_tokens <= infra.budget.snapshot().total_tokens <= limit
    assert infra.budget.snapshot().overrun.total_tokens == 0


@CALM
@given(
    st.lists(nodes(st.just(()), truthful=True, lone=True), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 100),
)
def test_work_that_would_have_fit_is_never_lost_to_holds(agents: list[Node], slots: int, spare: int) -> None:
    """Whoever fits when everything that really was spent is spent, is let in: holds only make it wait."""
    limit = sum(node.spends for node in agents) + max(node.estimate or 0 for node in agents) + 1 + spare
    _, _, outputs = play(agents, slots, limit)

    assert [is_budget_skipped(output) for output in outputs] == [False] * len(agents)


@CALM
@given(
    st.lists(nodes(st.just(()), truthful=True, lone=True), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 200),
)
def test_whoever_is_refused_would_not_have_fit_beside_what_was_really_spent(
    agents: list[Node], slots: int, limit: int
) -> None:
    infra, runner, outputs = play(agents, slots, limit)

    # What was spent in the end is the most that it could have been when the refusal came.
    spent = runner.bill.total.total_tokens
    for node, output in zip(agents, outputs, strict=True):
        if is_budget_skipped(output):
            assert spent >= limit or spent + (node.estimate or 0) > limit
    assert infra.budget.snapshot().total_tokens == spent
