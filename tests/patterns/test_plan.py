"""How many agents, and what they cost at most, before anything runs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import MapReduce, Pattern, Pipeline, SharedInfra, Swarm, TokenAccounting, Vote
from carpool.testing import Reply, ScriptedRunner, VirtualClock

from ..scenes import spec, specs, tokens

TEN = tokens(10)


def counts(pattern: Pattern[Any], **inputs: Any) -> tuple[int, int | None]:
    plan = pattern.plan(**inputs)
    return plan.agents_min, plan.agents_max


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Pipeline(specs("abc")), (3, 3)),
        (Swarm(specs("abc")), (3, 3)),
        (Swarm(specs("abc"), "sequential", spec("s")), (4, 4)),
        (Swarm(specs("abc"), "debate", rounds=4), (3, 12)),
        (Swarm(specs("abc"), rounds=4), (3, 3)),
        (Vote(specs("abcde")), (5, 5)),
        (Vote(specs("abcde"), spec("s")), (6, 6)),
        (Vote(specs("abcde"), max_concurrent=1), (3, 5)),
        (Vote(specs("abcde"), max_concurrent=1, quorum=5), (5, 5)),
        (Vote(specs("abcde"), max_concurrent=1, stop_when_decided=False), (5, 5)),
        (Pipeline(specs("ab", retries=2)), (2, 6)),
        (Vote([Pipeline(specs("ab")), spec("c")]), (3, 3)),
        (Pipeline([Swarm(specs("ab"), "debate"), spec("c", retries=1)]), (3, 6)),
    ],
)
def test_agents_at_least_and_at_most(pattern: Pattern[Any], expected: tuple[int, int]) -> None:
    assert counts(pattern) == expected


@pytest.mark.parametrize(
    ("count", "more", "expected"),
    [
        (0, {}, (0, 0)),
        (1, {}, (2, 2)),
        (10, {}, (11, 11)),
        (9, {"fan_in": 3}, (10, 13)),
        (2, {"fan_in": 3}, (3, 3)),
    ],
)
def test_a_map_reduce_counts_its_items(count: int, more: dict[str, Any], expected: tuple[int, int]) -> None:
    pattern = MapReduce(spec("m"), spec("r"), **more)

    assert counts(pattern, items=["x"] * count) == expected
    assert counts(pattern.over(items=["x"] * count)) == expected


def test_items_of_unknown_number_have_no_upper_bound() -> None:
    plan = MapReduce(spec("m"), spec("r")).plan(items=iter("abc"))

    assert plan.agents_max is None


def test_looking_at_the_plan_takes_nothing_from_the_source() -> None:
    source = iter("abc")
    MapReduce(spec("m"), spec("r")).plan(items=source)

    assert list(source) == ["a", "b", "c"]


def test_the_worst_case_spend_is_that_of_all_starts() -> None:
    pattern = MapReduce(spec("m", estimate=TEN, retries=1), spec("r", estimate=tokens(100)))

    assert pattern.plan(items=["x"] * 5).spend == tokens(200)


def test_who_has_no_estimate_is_named() -> None:
    plan = Pipeline([spec("a", estimate=TEN), spec("b"), spec("c")]).plan()

    assert plan.unestimated == ["b", "c"]
    assert plan.spend == TEN


def test_a_cost_without_a_price_stays_without_one() -> None:
    plan = Pipeline([spec("a", estimate=TokenAccounting(input_tokens=1, priced=False))]).plan()

    assert plan.spend.priced is False


@pytest.mark.parametrize("pattern", [Pipeline(specs("a")), Swarm(specs("a")), Vote(specs("a"))])
def test_a_plan_takes_what_run_takes(pattern: Pattern[Any]) -> None:
    pattern.plan("a task")
    with pytest.raises(TypeError, match="nonsense"):
        pattern.plan(nonsense=1)


def members(depth: int) -> Any:
    agents = st.builds(lambda retries, fails: (retries, fails), st.integers(0, 2), st.booleans())
    if depth == 0:
        return agents
    return st.one_of(
        agents,
        st.tuples(
            st.sampled_from(["swarm", "debate", "pipeline", "vote", "map"]),
            st.lists(members(depth - 1), min_size=1, max_size=3),
        ),
    )


def build(shape: Any, script: dict[str, Any], prefix: str) -> Any:
    if isinstance(shape[0], int):
        retries, fails = shape
        script[prefix] = Reply(raises=OSError("no")) if fails else Reply(prefix, spends=TEN)
        return spec(prefix, retries=retries, estimate=TEN)
    kind, below = shape
    team = [build(each, script, f"{prefix}{'xyz'[place]}") for place, each in enumerate(below)]
    match kind:
        case "swarm":
            return Swarm(team, name=prefix)
        case "debate":
            return Swarm(team, "debate", rounds=2, name=prefix)
        case "pipeline":
            return Pipeline(team, "continue", name=prefix)
        case "vote":
            return Vote(team, max_concurrent=1, name=prefix)
        case _:
            script[prefix + "r"] = Reply("r", spends=TEN)
            return MapReduce(team[0], spec(prefix + "r", estimate=TEN), fan_in=2, name=prefix).over(
                items=["i", "j", "k"]
            )


@given(
    st.tuples(
        st.sampled_from(["swarm", "debate", "pipeline", "vote", "map"]), st.lists(members(1), min_size=1, max_size=3)
    )
)
def test_no_run_starts_or_spends_more_than_its_plan_says(shape: Any) -> None:
    script: dict[str, Any] = {}
    pattern = build(shape, script, "t")
    plan, runner, infra = pattern.plan(), ScriptedRunner(script), SharedInfra()
    VirtualClock().run(lambda: pattern.run("t", runner=runner, infra=infra))

    assert plan.agents_max is not None
    assert len(runner.bill.calls) <= plan.agents_max
    assert infra.budget.snapshot().total_tokens <= plan.spend.total_tokens
    if all(reply.raises is None for reply in script.values()):
        assert len(runner.bill.calls) >= plan.agents_min
