"""One agent per item, and one answer of theirs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from carpool import (
    BudgetLimits,
    Item,
    MapReduce,
    MapReduceResult,
    Pipeline,
    SharedInfra,
    UnreadableItem,
    is_budget_skipped,
)
from carpool.testing import Reply, ScriptedRunner

from ..scenes import answers, assert_nothing_left, kinds, names, spec, tokens

MAPPER, REDUCER = spec("mapper"), spec("reducer")


def runner(**script: Any) -> ScriptedRunner:
    return ScriptedRunner({"mapper": lambda who, _: Reply(f"of {who.name}"), "reducer": "one answer"} | script)


def under(**limits: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits(**limits))


async def run(
    items: Any, who: ScriptedRunner | None = None, infra: SharedInfra | None = None, **more: Any
) -> MapReduceResult:
    return await MapReduce(MAPPER, REDUCER, **more).run("Sum up.", runner=who or runner(), infra=infra, items=items)


async def test_a_mapper_for_each_item_in_item_order_and_one_answer() -> None:
    result = await run(["x", "y", "z"])

    assert names(result.map_outputs) == ["mapper_0", "mapper_1", "mapper_2"]
    assert answers(result.map_outputs) == ["of mapper_0", "of mapper_1", "of mapper_2"]
    assert names(result.outputs) == ["mapper_0", "mapper_1", "mapper_2", "reducer"]
    assert result.answer == result.reduced_answer == "one answer"
    assert names(result.reduce_outputs) == ["reducer"]
    assert (result.task, result.stop_reason, result.all_succeeded) == ("Sum up.", "completed", True)
    assert (result.failed, result.skipped) == ([], [])


async def test_order_is_that_of_the_items_whoever_is_fastest() -> None:
    who = runner(mapper=lambda who, _: Reply(who.name, after_s=9 - int(who.name[-1])))

    assert answers((await run(list("abcdefgh"), who)).map_outputs) == [f"mapper_{index}" for index in range(8)]


async def test_a_mapper_is_given_the_task_and_its_item_the_reducer_all_answers_and_counts() -> None:
    who = runner(mapper_1=Reply(raises=OSError("gone")))
    await run(["first text", "second text", "third text"], who)
    asked = {call.agent: call.task for call in who.bill.calls}

    assert "Sum up." in asked["mapper_0"]
    assert "first text" in asked["mapper_0"]
    assert "second" not in asked["mapper_0"]
    for part in ("Sum up.", "3 items", "1 of them", "of mapper_0", "of mapper_2"):
        assert part in asked["reducer"]
    assert "gone" not in asked["reducer"]


async def items_async() -> AsyncIterator[str]:
    for item in "abc":
        await anyio.sleep(1)
        yield item


@pytest.mark.parametrize(
    "items",
    [["a", "b", "c"], ("a", "b", "c"), {"a": 1, "b": 2, "c": 3}, iter("abc"), (each for each in "abc"), items_async()],
    ids=lambda items: type(items).__name__,
)
async def test_items_come_from_any_iterable(items: Any) -> None:
    assert len((await run(items)).map_outputs) == 3


async def test_items_are_texts_labelled_texts_or_json() -> None:
    who = runner()
    await run(["plain", Item(text="inside", label="notes.md"), {"key": [1, 2]}, 7], who)
    asked = [call.task for call in who.bill.calls[:4]]

    assert "plain" in asked[0]
    assert "notes.md" in asked[1]
    assert "inside" in asked[1]
    assert '{"key":[1,2]}' in asked[2]
    assert "7" in asked[3]


@pytest.mark.parametrize("items", ["one text", b"bytes"])
async def test_one_text_is_no_list_of_items(items: Any) -> None:
    with pytest.raises(TypeError, match="list"):
        await run(items)


async def test_without_items_there_is_nothing_to_do_and_no_reducer() -> None:
    who = runner()
    result = await run([], who)

    assert (result.stop_reason, result.answer, result.outputs, result.all_succeeded) == ("no_output", "", [], False)
    assert who.bill.calls == []


async def test_items_that_were_never_given_are_an_error() -> None:
    with pytest.raises(ValueError, match="items"):
        await MapReduce(MAPPER, REDUCER).run("t", runner=runner())


async def test_failed_mappers_are_named_and_do_not_stop_the_others() -> None:
    result = await run(list("abc"), runner(mapper_1=Reply(raises=OSError("gone"))))

    assert result.failed == ["mapper_1"]
    assert (result.stop_reason, result.all_succeeded) == ("completed", False)


async def test_without_one_good_answer_the_reducer_is_not_asked() -> None:
    who = runner(mapper=Reply(raises=OSError("gone")))
    result = await run(list("abc"), who)

    assert (result.stop_reason, result.answer, result.reduce_outputs) == ("no_output", "", [])
    assert "reducer" not in who.bill.agents
    assert result.failed == ["mapper_0", "mapper_1", "mapper_2"]


async def test_unreadable_items_are_named_and_counted_in_their_place() -> None:
    who = runner()
    bad = UnreadableItem(label="pic.png", reason="not text")
    result = await run([bad, "b", bad, "d"], who)

    assert names(result.map_outputs) == ["mapper_0", "mapper_1", "mapper_2", "mapper_3"]
    assert [output.succeeded for output in result.map_outputs] == [False, True, False, True]
    assert "pic.png" in result.map_outputs[0].error
    assert "not text" in result.map_outputs[0].error
    assert result.failed == ["mapper_0", "mapper_2"]
    assert who.bill.agents == ["mapper_1", "mapper_3", "reducer"]
    assert "2 of them" in who.bill.calls[-1].task


async def test_when_no_item_can_be_read_there_is_no_output() -> None:
    result = await run([UnreadableItem(label="x", reason="y")] * 3)

    assert result.stop_reason == "no_output"
    assert len(result.failed) == 3


# The finalizer


@pytest.mark.parametrize("reply", [Reply(raises=OSError("reduce")), "", Reply(returns=7)])
async def test_a_reducer_that_fails_is_replaced_and_its_error_kept(reply: Any) -> None:
    result = await run(list("ab"), runner(reducer=reply))

    assert result.answer == "of mapper_0\n\nof mapper_1"
    assert result.failed == ["reducer"]
    assert result.outputs[-1].name == "reducer"
    assert result.stop_reason == "completed"


async def test_a_reducer_that_is_denied_is_replaced_and_stands_in_skipped() -> None:
    who = runner()
    result = await run(list("ab"), who, under(max_agents=2))

    assert result.answer == "of mapper_0\n\nof mapper_1"
    assert result.skipped == ["reducer"]
    assert is_budget_skipped(result.outputs[-1])
    assert result.stop_reason == "budget_exhausted"
    assert "reducer" not in who.bill.agents


async def test_what_the_reducer_needs_is_kept_back_when_it_has_an_estimate() -> None:
    who = runner(mapper=Reply("m", spends=tokens(100)), reducer=Reply("all", spends=tokens(150)))
    pattern = MapReduce(spec("mapper", estimate=tokens(100)), spec("reducer", estimate=tokens(150)))
    infra = under(max_total_tokens=500)
    result = await pattern.run("t", runner=who, infra=infra, items=list("abcdefgh"))

    assert [output.succeeded for output in result.map_outputs] == [True] * 3 + [False] * 5
    assert result.answer == "all"
    assert infra.budget.snapshot().total_tokens == 450


async def test_a_slot_is_kept_back_too() -> None:
    pattern = MapReduce(MAPPER, spec("reducer", estimate=tokens(1)))
    result = await pattern.run("t", runner=runner(), infra=under(max_agents=4), items=list("abcdefgh"))

    assert len(result.skipped) == 5
    assert result.answer == "one answer"


@pytest.mark.parametrize("reserve", [False, None])
async def test_nothing_is_kept_back_without_estimate_or_when_told_not_to(reserve: bool | None) -> None:
    estimate = tokens(1) if reserve is False else None
    pattern = MapReduce(MAPPER, spec("reducer", estimate=estimate), reserve_for_finalizer=reserve)
    result = await pattern.run("t", runner=runner(), infra=under(max_agents=4), items=list("abcdefgh"))

    assert "reducer" in result.skipped
    assert sum(output.succeeded for output in result.map_outputs) == 4


async def test_a_slot_can_be_kept_back_for_a_reducer_without_estimate() -> None:
    pattern = MapReduce(MAPPER, REDUCER, reserve_for_finalizer=True)
    result = await pattern.run("t", runner=runner(), infra=under(max_agents=4), items=list("abcdefgh"))

    assert result.answer == "one answer"
    assert len(result.skipped) == 5


async def test_a_reservation_that_leaves_nothing_starts_no_mapper_and_waits_for_nobody() -> None:
    pattern = MapReduce(spec("mapper", estimate=tokens(10)), spec("reducer", estimate=tokens(100)))
    result = await pattern.run("t", runner=runner(), infra=under(max_total_tokens=100), items=list("abc"))

    assert len(result.skipped) == 3
    assert result.stop_reason == "budget_exhausted"


async def test_a_denied_retry_shows_in_the_stop_reason_with_a_reservation_too() -> None:
    who = runner(mapper=Reply(raises=OSError("once")), mapper_1="good")
    for estimate in (None, tokens(0)):
        pattern = MapReduce(spec("mapper", retries=1), spec("reducer", estimate=estimate), 1)
        result = await pattern.run("t", runner=who, infra=under(max_agents=3 if estimate else 2), items=["a", "b"])
        assert result.stop_reason == "budget_exhausted"


async def test_a_reducer_that_asks_per_call_may_use_what_was_kept_back_for_it() -> None:
    who = runner(mapper=Reply("m", spends=tokens(10)), reducer=Reply("all", model_calls=[tokens(50), tokens(50)]))
    pattern = MapReduce(spec("mapper", estimate=tokens(10)), spec("reducer", estimate=tokens(100)))
    result = await pattern.run("t", runner=who, infra=under(max_total_tokens=120), items=list("abcde"))

    assert result.reduce_outputs[0].turns == 2
    assert result.budget.total_tokens == 120


# Trees


async def test_many_answers_are_reduced_in_groups_first() -> None:
    who = runner(reducer=lambda who, task: Reply(f"<{who.name}>"))
    result = await run([str(n) for n in range(9)], who, fan_in=3)

    assert len(result.reduce_outputs) == 4
    assert result.reduce_outputs[-1].name == "reducer"
    assert len(set(names(result.outputs))) == len(result.outputs)
    assert result.answer == "<reducer>"
    last = who.bill.calls[-1].task
    assert "of mapper_" not in last
    assert all(output.answer in last for output in result.reduce_outputs[:-1])


@pytest.mark.parametrize("count", range(1, 20))
@pytest.mark.parametrize("fan_in", [2, 3, 7])
async def test_no_reducer_sees_more_than_fan_in_and_no_answer_is_lost(count: int, fan_in: int) -> None:
    who = runner(
        mapper=lambda who, _: Reply(f"({who.name})"),
        reducer=lambda who, task: Reply(" ".join(part for part in task.split() if part.startswith("("))),
    )
    result = await run([str(n) for n in range(count)], who, fan_in=fan_in)

    assert sorted(result.answer.split()) == sorted(f"(mapper_{index})" for index in range(count))
    for call in who.bill.calls[count:]:
        assert call.task.count("<<<answer of") <= fan_in
    most = MapReduce(MAPPER, REDUCER, fan_in=fan_in).plan(items=[""] * count).agents_max
    assert len(who.bill.calls) <= most


async def test_long_answers_are_reduced_in_groups_and_nothing_is_cut_silently() -> None:
    who = runner(mapper=lambda who, _: Reply(who.name[-1] * 60), reducer="r")
    result = await run(list("abcdef"), who, reduce_chars=130)

    assert len(result.reduce_outputs) > 1
    for call in who.bill.calls[6:-1]:
        assert call.task.count("<<<answer of") == 2
    assert result.answer == "r"


async def test_one_answer_that_is_too_long_is_cut_with_a_mark() -> None:
    who = runner(mapper="y" * 1000, reducer="r")
    await run(list("ab"), who, reduce_chars=100)

    assert "more characters are left out" in who.bill.calls[-1].task


async def test_a_group_whose_reducer_fails_is_joined_and_goes_on() -> None:
    who = runner(reducer=Reply(raises=OSError("no")))
    result = await run(list("abcd"), who, fan_in=2)

    assert result.answer.count("of mapper_") == 4
    assert set(names(result.reduce_outputs)) == set(result.failed)


async def test_reducers_of_a_tree_that_are_denied_lose_no_answer() -> None:
    result = await run(list("abcdefgh"), infra=under(max_agents=9), fan_in=2)

    assert result.stop_reason == "budget_exhausted"
    for index in range(2, 8):
        assert f"of mapper_{index}" in result.answer


# The budget


async def test_a_thousand_items_against_a_limit_worth_a_hundred_return_every_finished_output() -> None:
    infra = under(max_total_tokens=10_000)
    who = runner(mapper=Reply("x", spends=tokens(100), after_s=1))
    result = await run([str(n) for n in range(1000)], who, infra, max_concurrent=8)

    assert len(result.map_outputs) == 1000
    assert sum(output.succeeded for output in result.map_outputs) == len(who.bill.calls) == 100
    assert len(result.skipped) == 901
    assert result.stop_reason == "budget_exhausted"
    assert result.usage.total_tokens == result.budget.total_tokens == who.bill.total.total_tokens == 10_000
    assert result.answer.count("x") == 100


async def test_an_endless_source_ends_with_the_budget() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "again"

    result = await run(endless(), infra=under(max_agents=20), max_concurrent=4, reserve_for_finalizer=True)

    assert sum(output.succeeded for output in result.map_outputs) == 19
    assert len(result.map_outputs) < 30
    assert result.answer == "one answer"
    assert result.stop_reason == "budget_exhausted"


async def test_when_the_source_fails_those_in_flight_finish_and_the_error_has_them() -> None:
    async def failing() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise OSError("share is gone")

    infra = SharedInfra()
    with pytest.raises(OSError, match="share is gone") as caught:
        await run(failing(), runner(mapper=Reply("m", spends=tokens(5), after_s=9)), infra)

    assert answers(caught.value.partial.outputs) == ["m", "m"]
    assert caught.value.usage == tokens(10)
    assert_nothing_left(infra)


async def test_memory_is_not_filled_with_tasks() -> None:
    most = 0

    async def look(who, task, runtime, mailbox) -> str:
        nonlocal most
        await anyio.sleep(1)
        most = max(most, len(asyncio.all_tasks()))
        return "x"

    before = len(asyncio.all_tasks())
    await MapReduce(MAPPER, REDUCER, 5).run("t", runner=look, items=(str(n) for n in range(200)))

    assert most - before <= 6


# Building one


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": -1}, "max_concurrent"),
        ({"fan_in": 1}, "fan_in"),
        ({"fan_in": 0}, "fan_in"),
        ({"reduce_chars": 0}, "reduce_chars"),
        ({"quote_limit": 0}, "quote_limit"),
        ({"name": " "}, "name"),
    ],
)
def test_an_option_that_can_not_be_is_a_value_error(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MapReduce(MAPPER, REDUCER, **arguments)


def test_mapper_and_reducer_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="same"):
        MapReduce(spec("same"), spec("same"))


@pytest.mark.parametrize(("mapper", "reducer"), [("a", "a_0"), ("r_1", "r")])
def test_names_that_would_collide_when_they_are_numbered_are_a_value_error(mapper: str, reducer: str) -> None:
    with pytest.raises(ValueError, match="rename one"):
        MapReduce(spec(mapper), spec(reducer))


async def test_a_source_that_is_not_read_to_its_end_is_closed() -> None:
    closed = False

    async def endless() -> AsyncIterator[str]:
        nonlocal closed
        try:
            while True:
                await anyio.sleep(1)
                yield "again"
        finally:
            closed = True

    await run(endless(), infra=under(max_agents=3))

    assert closed


async def test_a_mapper_can_be_a_pattern() -> None:
    who = ScriptedRunner(default=lambda who, _: Reply(who.name, spends=tokens(1)))
    infra = SharedInfra()
    result = await MapReduce(Pipeline([spec("a"), spec("b")]), REDUCER).run(
        "t", runner=who, infra=infra, items=["x", "y"]
    )

    assert names(result.map_outputs) == ["pipeline_0", "pipeline_1"]
    assert result.usage == tokens(5)
    assert kinds(infra.log)["agent_finished"] == 5
    paths = {event.path for event in infra.log.events(kind="agent_started")}
    assert paths == {
        "map_reduce/pipeline_0/a",
        "map_reduce/pipeline_0/b",
        "map_reduce/pipeline_1/a",
        "map_reduce/pipeline_1/b",
        "map_reduce/reducer",
    }
