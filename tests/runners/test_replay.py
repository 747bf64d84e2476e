"""What was recorded is repeated: answers, errors and spend, without the runner that it came from."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool import (
    AgentFailed,
    AgentOutput,
    AgentSpec,
    BudgetLimits,
    Delegator,
    MapReduce,
    SharedInfra,
    Swarm,
    TokenAccounting,
    Vote,
)
from carpool.errors import BudgetExhausted, PolicyDenied
from carpool.runners.cassette import Cassette
from carpool.runners.model import ModelError
from carpool.runners.recorded_error import ReplayedError
from carpool.runners.recording import RecordingRunner
from carpool.runners.replay import ReplayRunner
from carpool.runtime import Runtime
from carpool.testing import Reply, ScriptedRunner

from ..scenes import answers, kinds, spec, specs, tokens
from .recordings import ask, call, gist, lines, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassette.jsonl"


# What is repeated


async def test_a_team_comes_to_the_same_and_spends_the_same_though_nobody_is_asked(path: Path) -> None:
    def team() -> MapReduce:
        return MapReduce(spec("reader"), spec("editor"), max_concurrent=4)

    def told(who: AgentSpec, task: str) -> str:
        return f"{who.name} read {len(task)} characters"

    items = [f"page {number}" for number in range(10)]
    script = {"reader": Reply(told, model_calls=[tokens(7), tokens(5)]), "editor": Reply("all of it", spends=tokens(3))}
    recorded, replayed = SharedInfra(), SharedInfra()
    before = await team().run(
        "Read.", runner=RecordingRunner(ScriptedRunner(script), path), infra=recorded, items=items
    )
    runner = ReplayRunner(path)
    after = await team().run("Read.", runner=runner, infra=replayed, items=items)

    assert after.answer == before.answer == "all of it"
    assert [gist(output) for output in after.outputs] == [gist(output) for output in before.outputs]
    assert after.usage == before.usage == tokens(123)
    assert replayed.budget.snapshot().total_tokens == recorded.budget.snapshot().total_tokens == 123
    assert kinds(replayed.log) == kinds(recorded.log)
    assert (runner.missed, runner.unused) == ([], [])


async def test_an_item_in_front_changes_nothing_for_the_others(path: Path) -> None:
    team = MapReduce(spec("reader"), spec("editor"), max_concurrent=2)
    inner = ScriptedRunner(default="ok")
    await team.run("Read.", runner=RecordingRunner(inner, path), items=["one", "two"])

    result = await team.run("Read.", runner=RecordingRunner(inner, path), items=["zero", "one", "two"])

    assert [output.succeeded for output in result.map_outputs] == [True] * 3
    assert inner.bill.agents[3:] == ["reader_0", "editor"]


async def test_calls_of_the_same_content_are_told_apart_by_the_order_in_which_they_were_asked(path: Path) -> None:
    # The later is asked, the sooner it answers: they stand in the file in the opposite order.
    async def inner(who: AgentSpec, task: str, *_: Any) -> str:
        nonlocal asked
        asked += 1
        number = asked
        await anyio.sleep(0.02 * (4 - number))
        return f"answer {number}"

    asked = 0
    same = [AgentSpec(f"voter_{number}", "Vote.", role="voter") for number in range(3)]
    recorded = await Swarm(same).run("Which?", runner=RecordingRunner(inner, path))
    replayed = await Swarm(same).run("Which?", runner=ReplayRunner(path))

    assert answers(recorded.outputs) == answers(replayed.outputs) == ["answer 1", "answer 2", "answer 3"]
    assert [line["count"] for line in lines(path)] == [3, 2, 1]


async def test_a_failure_and_the_retry_after_it_are_repeated_in_their_order(path: Path) -> None:
    script = {"a": [Reply(raises=OSError("disk"), spends=tokens(2)), Reply("fine", spends=tokens(3))]}
    recorded, replayed = SharedInfra(), SharedInfra()
    agent = spec("a", retries=1, estimate=tokens(4))

    before = await ask(RecordingRunner(ScriptedRunner(script), path), agent, infra=recorded)
    after = await ask(ReplayRunner(path), agent, infra=replayed)

    assert gist(after) == gist(before)
    assert after.tokens == tokens(4 + 3)  # the failed one told nothing: its hold
    assert kinds(replayed.log) == kinds(recorded.log)


async def test_the_answer_comes_under_the_name_that_the_agent_has_now(path: Path) -> None:
    await call(RecordingRunner(ScriptedRunner(default="hello"), path), AgentSpec("mapper_7", "…", role="mapper"))

    assert (await call(ReplayRunner(path), AgentSpec("mapper_3", "…", role="mapper"))).name == "mapper_3"
    assert (await call(ReplayRunner(path), AgentSpec("mapper", "…"))).name == "mapper"


async def test_a_recording_gives_what_the_runner_gave(path: Path) -> None:
    given = AgentOutput(name="somebody else", answer="x", tokens=tokens(5))

    async def inner(*_: Any) -> AgentOutput:
        return given

    assert await call(RecordingRunner(inner, path), spec("a")) is given


async def test_a_replay_lets_a_cancellation_in_and_gives_nothing_out_then(path: Path) -> None:
    await call(RecordingRunner(ScriptedRunner(default="ok"), path), spec("a"))
    runner = ReplayRunner(path)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await call(runner, spec("a"))

    assert scope.cancelled_caught
    assert len(runner.unused) == 1


# What is spent


def purse(infra: SharedInfra) -> tuple[Any, ...]:
    spent = infra.budget.snapshot()
    return spent.input_tokens, spent.output_tokens, spent.cost_usd, spent.overrun, spent.agents_started


MIXED = TokenAccounting(input_tokens=9, output_tokens=4, cost_usd=0.0123, cache_read_tokens=3, priced=False)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("told nothing", id="told nothing"),
        pytest.param(Reply(spends=tokens(5)), id="reported"),
        pytest.param(Reply(reports=MIXED), id="reported all"),
        pytest.param(Reply(model_calls=[MIXED, tokens(5)]), id="reserved and charged"),
        pytest.param(Reply(model_calls=[MIXED, tokens(5)], reserves=False), id="charged"),
        pytest.param(Reply(model_calls=[tokens(5)], reports=tokens(50)), id="charged and reported more"),
        pytest.param(Reply(model_calls=[tokens(400)] * 5), id="was refused a call"),
        pytest.param(Reply(spends=tokens(5), raises=OSError("no")), id="raised"),
        pytest.param(Reply(model_calls=[tokens(5)], raises=OSError), id="charged and raised"),
        pytest.param(Reply(returns=7, model_calls=[tokens(5)]), id="charged and returned nonsense"),
        pytest.param(Reply(reports="nonsense"), id="reported nonsense"),
    ],
)
@pytest.mark.parametrize("estimate", [None, 8])
async def test_the_books_read_the_same(path: Path, reply: Any, estimate: int | None) -> None:
    agent = spec("a", estimate=estimate and tokens(estimate))
    limits = BudgetLimits(max_total_tokens=1_000)
    recorded, replayed = SharedInfra(budget=limits), SharedInfra(budget=limits)
    before = await ask(RecordingRunner(ScriptedRunner({"a": reply}), path), agent, infra=recorded)
    after = await ask(ReplayRunner(path), agent, infra=replayed)

    assert purse(replayed) == purse(recorded)
    assert gist(after) == gist(before)


async def test_a_call_that_broke_off_is_booked_at_what_it_had_reserved(path: Path) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        runtime.lease.reserve(tokens(100))
        runtime.lease.charge(tokens(60))
        runtime.lease.reserve(tokens(200))
        raise ConnectionError("cut")

    recorded, replayed = SharedInfra(), SharedInfra()
    before = await ask(RecordingRunner(inner, path), spec("a"), infra=recorded)
    after = await ask(ReplayRunner(path), spec("a"), infra=replayed)

    assert before.error == after.error == "ConnectionError: cut"
    assert purse(replayed) == purse(recorded)
    assert replayed.budget.snapshot().total_tokens == 260


@pytest.mark.parametrize("asked", [None, TokenAccounting(), tokens(3)], ids=["nothing", "for nothing", "for 3"])
@pytest.mark.parametrize("charges", [False, True])
async def test_asking_alone_books_what_it_did_then(path: Path, asked: TokenAccounting | None, charges: bool) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        runtime.lease.reserve(tokens(2))
        if charges:
            runtime.lease.charge(tokens(1))
        runtime.lease.reserve(asked)
        raise OSError

    recorded, replayed = SharedInfra(), SharedInfra()
    await ask(RecordingRunner(inner, path), spec("a", estimate=tokens(9)), infra=recorded)
    await ask(ReplayRunner(path), spec("a", estimate=tokens(9)), infra=replayed)

    assert purse(replayed) == purse(recorded)


async def test_a_budget_in_dollars_that_was_used_up_to_the_last_is_not_overdrawn_by_a_rounding(path: Path) -> None:
    async def main(runner: Any) -> list[str | None]:
        infra = SharedInfra(budget=BudgetLimits(max_cost_usd=0.3))
        return [
            output.error for output in (await Swarm(agents, "sequential").run("t", runner=runner, infra=infra)).outputs
        ]

    agents = specs("ab")
    dimes = [Reply(model_calls=[TokenAccounting(cost_usd=dollars)]) for dollars in (0.1, 0.2)]
    inner = ScriptedRunner(dict(zip("ab", dimes, strict=True)))

    assert await main(RecordingRunner(inner, path)) == await main(ReplayRunner(path)) == [None, None]


async def test_the_runner_sees_its_lease_as_it_is_and_has_it_back_afterwards(path: Path) -> None:
    seen: list[Any] = []

    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        runtime.lease.reserve()
        runtime.lease.charge(tokens(2))
        seen.append((runtime.lease.charged, runtime.lease.state, runtime.lease.hold, runtime.lease.purse))
        return "ok"

    infra = SharedInfra()
    runtime = infra.make_runtime()
    with infra.begin_agent(tokens(3)) as lease:
        runtime.lease = lease
        await RecordingRunner(inner, path).run(spec("a"), "t", runtime, None)
        assert runtime.lease is lease

    assert seen == [(tokens(2), "held", tokens(3), infra.budget)]
    assert lines(path)[0]["lease"] == [["reserve", None], ["charge", {"input_tokens": 2}]]


usage = st.builds(
    TokenAccounting,
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    cost_usd=st.sampled_from([0.0, 0.1, 0.2, 1e-9]),
    priced=st.booleans(),
)
deeds = st.tuples(st.just("reserve"), st.none() | usage) | st.tuples(st.just("charge"), usage)


@given(st.lists(deeds, max_size=6), st.none() | usage, st.none() | usage, st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_a_lease_is_asked_and_told_the_books_read_the_same(
    tmp_path_factory: Any, deeds: list[Any], estimate: TokenAccounting, reports: TokenAccounting, raises: bool
) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> AgentOutput:
        for deed, amount in deeds:
            getattr(runtime.lease, deed)(amount)
        if raises:
            raise OSError
        return AgentOutput(name="a", answer="ok", tokens=reports)

    file = tmp_path_factory.getbasetemp() / "any_lease.jsonl"
    agent = spec("a", estimate=estimate)
    recorded, replayed = SharedInfra(), SharedInfra()
    before = anyio.run(ask, RecordingRunner(inner, file, record="all"), agent, "t", recorded)
    after = anyio.run(ask, ReplayRunner(file), agent, "t", replayed)

    assert purse(replayed) == purse(recorded)
    assert gist(after) == gist(before)


async def test_under_a_smaller_budget_a_reservation_is_refused_that_fitted_when_it_was_recorded(path: Path) -> None:
    inner = ScriptedRunner(default=Reply(model_calls=[tokens(10)] * 3))
    await ask(RecordingRunner(inner, path), spec("a"))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=25))
    result = await Vote([spec("a")]).run("t", runner=ReplayRunner(path), infra=infra)

    assert result.votes[0].error.startswith("BudgetExhausted")
    assert result.stop_reason == "budget_exhausted"
    assert infra.budget.snapshot().total_tokens == 20


async def greedy(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
    """Reserves all that is left, three times, as one does whose worst case is larger; others come in between."""
    for number in range(3):
        left = runtime.lease.purse.remaining().max_total_tokens
        runtime.lease.reserve(tokens(left))
        runtime.lease.charge(tokens(number + 2))
        await anyio.sleep(0.001 * len(who.name))
    return "done"


async def test_a_worst_case_that_took_all_that_was_left_is_no_reason_to_refuse_now(path: Path) -> None:
    agents = [spec("a" * number) for number in range(1, 6)]
    limits = BudgetLimits(max_total_tokens=5 * 9 + 1)
    recorded, replayed = SharedInfra(budget=limits), SharedInfra(budget=limits)
    before = await Swarm(agents).run("t", runner=RecordingRunner(greedy, path), infra=recorded)
    after = await Swarm(list(reversed(agents))).run("t", runner=ReplayRunner(path), infra=replayed)

    assert [output.error for output in before.outputs] == [output.error for output in after.outputs] == [None] * 5
    assert purse(replayed) == purse(recorded)


async def test_what_only_the_holds_of_others_keep_out_is_let_in(path: Path) -> None:
    """When it was recorded they had not used them up either, or it would not have been let in then."""
    await ask(RecordingRunner(ScriptedRunner(default=Reply(model_calls=[tokens(50)])), path), spec("a"))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=80))
    runtime = infra.make_runtime()
    with infra.begin_agent(tokens(60)) as other, infra.begin_agent(tokens(20)) as runtime.lease:
        output = await ReplayRunner(path).run(spec("a"), "t", runtime, None)
        runtime.lease.settle(output.tokens)
        other.settle(tokens(1))

    assert infra.budget.snapshot().total_tokens == 51


async def test_a_price_that_nobody_knows_refuses_the_next_start_and_no_call_that_was_granted(path: Path) -> None:
    agents = [spec("a"), spec("b"), spec("c")]
    inner = ScriptedRunner(default=Reply(model_calls=[MIXED], after_s=0.01))
    limits = BudgetLimits(max_cost_usd=1)
    recorded, replayed = SharedInfra(budget=limits), SharedInfra(budget=limits)
    before = await Swarm(agents, max_concurrent=2).run("t", runner=RecordingRunner(inner, path), infra=recorded)
    after = await Swarm(agents, max_concurrent=2).run("t", runner=ReplayRunner(path), infra=replayed)

    assert [output.error is None for output in before.outputs] == [True, True, False]
    assert [output.error is None for output in after.outputs] == [True, True, False]
    assert replayed.budget.snapshot().cost_usd == recorded.budget.snapshot().cost_usd == 2 * MIXED.cost_usd


async def test_a_call_that_broke_off_is_booked_the_same_where_its_reservation_does_not_fit(path: Path) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        runtime.lease.reserve(tokens(100))
        raise ConnectionError("cut")

    await ask(RecordingRunner(inner, path), spec("a"))
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=30))
    output = await ask(ReplayRunner(path), spec("a"), infra=infra)

    assert output.error == "ConnectionError: cut"
    assert infra.budget.snapshot().total_tokens == 100


async def test_a_refusal_by_the_budget_that_was_recorded_is_one_again(path: Path) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> str:
        runtime.lease.charge(tokens(5))
        runtime.lease.reserve(tokens(100))
        return "never"

    limits = BudgetLimits(max_total_tokens=50)
    before = await Vote([spec("a")]).run("t", runner=RecordingRunner(inner, path), infra=SharedInfra(budget=limits))
    after = await Vote([spec("a")]).run("t", runner=ReplayRunner(path), infra=SharedInfra(budget=limits))

    assert before.stop_reason == after.stop_reason == "budget_exhausted"
    assert before.votes[0].error == after.votes[0].error


async def test_agents_that_were_asked_through_a_tool_are_not_asked_again(path: Path) -> None:
    async def inner(who: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> AgentOutput:
        said = "2 kg"
        if who.name == "main":
            said = await runtime.call_tool("delegate", specialist="expert", task="How heavy?")
        return AgentOutput(name=who.name, answer=f"{who.name}: {said}", tokens=tokens(5))

    team = Delegator(spec("main"), {"expert": spec("expert")})
    before = await team.run("Weigh it.", runner=RecordingRunner(inner, path))
    runner = ReplayRunner(path)
    after = await team.run("Weigh it.", runner=runner)

    assert before.answer == after.answer
    assert (before.usage, after.usage) == (tokens(10), tokens(5))
    assert [call.agent for call in runner.unused] == ["expert"]


# What was raised


class Own(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        OSError("disk"),
        TimeoutError(),
        KeyError("gone"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ExceptionGroup("two", [OSError("one"), ValueError("other")]),
        Own("mine \ud800 \0"),
        Unprintable(),
        AgentFailed("judge", "asleep"),
        PolicyDenied("shell", ["no rm", "no sudo"]),
        BudgetExhausted("no more", object(), dimension="cost_usd"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_reads_the_same(path: Path, error: Exception) -> None:
    before = await ask(RecordingRunner(ScriptedRunner({"a": Reply(raises=error)}), path), spec("a"))
    after = await ask(ReplayRunner(path), spec("a"))

    assert before.error is not None
    assert after.error == before.error


async def raised(path: Path, error: Exception) -> Exception:
    with pytest.raises(type(error)):
        await call(RecordingRunner(ScriptedRunner({"a": Reply(raises=error)}), path), spec("a"))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is asked
        await call(ReplayRunner(path), spec("a"))
    return caught.value


async def test_errors_of_carpool_and_of_python_are_of_their_own_class(path: Path) -> None:
    denied = await raised(path, PolicyDenied("shell", ["no rm"]))
    assert (type(denied), denied.tool, denied.violations) == (PolicyDenied, "shell", ["no rm"])


async def test_a_refusal_keeps_its_dimension_and_loses_its_snapshot(path: Path) -> None:
    refused = await raised(path, BudgetExhausted("no more", object(), dimension="seconds", held_back=True))
    assert type(refused) is BudgetExhausted
    assert (refused.reason, refused.dimension, refused.held_back, refused.snapshot) == (
        "no more",
        "seconds",
        True,
        None,
    )


async def test_an_error_of_a_model_call_keeps_what_helps_against_it(path: Path) -> None:
    replayed = await raised(path, ModelError("quota", "some:model", "no credit", status=402, retry_after_s=1.5))
    assert isinstance(replayed, ModelError)
    assert (replayed.kind, replayed.status, replayed.retry_after_s) == ("quota", 402, 1.5)


async def test_an_error_of_any_other_class_is_one_of_that_name(path: Path) -> None:
    replayed = await raised(path, Own("mine"))
    assert isinstance(replayed, ReplayedError)
    assert (type(replayed).__name__, str(replayed)) == ("Own", "mine")


@pytest.mark.parametrize(
    "returned", [None, 7, object(), AgentOutput(name="a", answer=7), AgentOutput(name="a", tokens="many")]
)
async def test_what_is_no_output_is_refused_alike(path: Path, returned: Any) -> None:
    before = await ask(RecordingRunner(ScriptedRunner({"a": Reply(returns=returned)}), path), spec("a"))
    after = await ask(ReplayRunner(path), spec("a"))

    assert before.error.startswith(("TypeError: the runner returned", "ValueError: the runner returned"))
    assert after.error == before.error


# What is missing


async def miss(path: Path, agent: AgentSpec, task: str = "t", infra: SharedInfra | None = None) -> str:
    runner = ReplayRunner(path)
    with pytest.raises(LookupError) as caught:
        await call(runner, agent, task, infra)
    assert runner.missed == [str(caught.value)]
    return str(caught.value)


async def test_a_miss_fails_its_agent_and_nobody_else_and_spends_nothing(path: Path) -> None:
    await record(path, (spec("a"), "t"))
    infra = SharedInfra()
    result = await Vote([spec("a"), spec("b", estimate=tokens(50))]).run("t", runner=ReplayRunner(path), infra=infra)

    assert result.votes[0].answer == "ok"
    assert "'b' is not recorded" in result.votes[1].error
    assert infra.budget.snapshot().total_tokens == 0


async def test_a_miss_shows_the_nearest_and_what_differs(path: Path) -> None:
    pages = "\n".join(f"line {number} of the page" for number in range(50))
    await record(
        path,
        (spec("editor"), f"Join these.\n{pages}"),
        (spec("reader", model="openai:a", metadata={"temperature": 1}), f"Read this.\n{pages}"),
        (spec("reader"), "Something else altogether"),
    )
    asked = spec("reader", model="openai:b", metadata={"temperature": 1})
    text = await miss(path, asked, f"Read this.\n{pages.replace('line 30 of', 'line 30 from')}")

    assert f"{path}: agent 'reader' is not recorded" in text
    assert "Nearest is agent 'reader', line 3:" in text
    assert text.splitlines()[1:] == [
        "--- recorded",
        "+++ asked",
        "@@ model @@",
        "-openai:a",
        "+openai:b",
        "@@ task @@",
        "-line 30 of the page",
        "+line 30 from the page",
    ]


async def test_a_line_more_is_shown_as_a_line_more(path: Path) -> None:
    await record(path, (spec("a"), "one\ntwo\nfour"))
    text = await miss(path, spec("a", max_turns=3), "one\ntwo\nthree\nfour")

    assert text.splitlines()[3:] == ["@@ max_turns @@", "+3", "@@ task @@", "+three", " four"]


async def test_asked_more_often_than_recorded_is_said_so(path: Path) -> None:
    await record(path, (spec("a"), "t"), (spec("a"), "t"))
    runner = ReplayRunner(path)
    await call(runner, spec("a"))
    await call(runner, spec("a"))

    with pytest.raises(LookupError, match="recorded with this task 2 times, and this is call 3"):
        await call(runner, spec("a"))


@pytest.mark.parametrize("size", [10_000, 3_000_000])
@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("line", ["word " * 20 + "\n", "nolinesatall"])
async def test_a_difference_in_a_huge_task_is_shown_in_a_few_lines(
    path: Path, size: int, place: str, line: str
) -> None:
    text = (line * (size // len(line)))[:size]
    at = {"start": 0, "middle": size // 2, "end": size}[place]
    await record(path, (spec("a"), text))
    told = await miss(path, spec("a"), f"{text[:at]}NEEDLE{text[at:]}")

    assert "NEEDLE" in told
    assert len(told) < 2_500


async def test_two_huge_tasks_that_have_nothing_in_common_are_cut(path: Path) -> None:
    await record(path, (spec("a"), "\n".join("abcdefg" for _ in range(100_000))))
    told = await miss(path, spec("a"), "\n".join("1234567" for _ in range(100_000)))

    assert told.endswith("[more is left out here]")
    assert len(told) < 6_000


async def test_the_nearest_of_thousands_is_found_while_one_waits(path: Path) -> None:
    cassette = Cassette(path, "missing")
    runner = RecordingRunner(ScriptedRunner(default="ok"), cassette)
    for number in range(2_000):
        await call(runner, spec("reader"), f"Read page {number} of {'the book ' * 100}")
    replaying = ReplayRunner(path)
    with pytest.raises(LookupError, match=r"(?s)-Read page 1234 .*\+Read page 1234\?"):
        await call(replaying, spec("reader"), f"Read page 1234? of {'the book ' * 100}")


def test_what_was_not_asked_for_is_known(path: Path) -> None:
    async def main() -> list[str]:
        await record(path, (spec("a"), "t"), (spec("b"), "t"), (spec("a"), "t"))
        runner = ReplayRunner(path)
        await call(runner, spec("a"))
        return [f"{recorded.agent} {recorded.count}" for recorded in runner.unused]

    assert anyio.run(main) == ["b 1", "a 2"]
