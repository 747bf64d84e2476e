"""Only True approves, only this call, and only while somebody waits for it."""

from datetime import timedelta
from threading import Thread

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from carpool.policy import ApprovalRequest, Approvals, PendingApprovals, digest_of

from ..budget.fake_clock import FakeClock

SECRET = "hunter2-canary"


def request(tool: str = "deploy", /, **arguments) -> ApprovalRequest:
    return ApprovalRequest.of(tool, "full_access", arguments, agent="ann", path="swarm/ann", run="r1")


def approver(answer):
    async def approve(_: ApprovalRequest):
        return answer

    return approve


# The request


def test_a_request_says_who_wants_to_call_what_with_what() -> None:
    clock = FakeClock()
    asked = ApprovalRequest.of("deploy", "full_access", {"to": "prod"}, agent="a", path="p", run="r", clock=clock)

    assert (asked.tool, asked.tier, asked.arguments) == ("deploy", "full_access", {"to": "prod"})
    assert (asked.agent, asked.path, asked.run, asked.timestamp) == ("a", "p", "r", clock.now())
    assert asked.timestamp.utcoffset() == timedelta(0)
    assert asked.arguments_digest == digest_of({"to": "prod"})
    assert asked.id != request().id


def test_a_request_keeps_the_arguments_that_it_was_made_with() -> None:
    arguments = {"to": ["prod"]}
    asked = ApprovalRequest.of("deploy", "full_access", arguments)
    arguments["to"].append("everywhere")

    assert asked.arguments == {"to": ["prod"]}


def test_a_request_goes_over_the_wire_and_back() -> None:
    asked = request(to="prod")

    assert msgspec.json.decode(msgspec.json.encode(asked), type=ApprovalRequest) == asked


def test_a_request_is_not_printed_with_its_arguments() -> None:
    asked = request(token=SECRET)

    assert SECRET not in repr(asked)
    assert SECRET not in str(asked.__rich_repr__())


@pytest.mark.parametrize(
    "arguments", [{"a": object()}, {"a": float("nan")}, {1: 2}, {"a": (1,)}, {"a": b""}, {"a": "\ud800"}], ids=ascii
)
def test_what_is_not_json_has_no_digest(arguments) -> None:
    with pytest.raises(ValueError, match="arguments"):
        digest_of(arguments)
    with pytest.raises(ValueError, match="arguments"):
        ApprovalRequest.of("t", "full_access", arguments)


def test_the_order_of_keys_makes_no_difference_to_the_digest() -> None:
    assert digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of({"b": {"d": 3, "c": 2}, "a": 1})


DISTINCT = [
    {},
    {"a": None},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": "1"},
    {"a": 0},
    {"a": False},
    {"a": -0.0},
    {"a": 0.0},
    {"a": ""},
    {"a": []},
    {"a": {}},
    {"a": [1]},
    {"a": [[1]]},
    {"a": [1, 2]},
    {"a": [2, 1]},
    {"A": 1},
    {"a ": 1},
    {"a": 1, "b": None},
    {"a": "é"},
    {"a": "e\u0301"},
    {"a": 2**64},
    {"a": 2**64 + 1},
    {"a": '1,"b":2'},
]


def test_other_arguments_have_another_digest() -> None:
    assert len({digest_of(each) for each in DISTINCT}) == len(DISTINCT)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab")
objects = st.dictionaries(st.text("ab", max_size=2), scalars | st.lists(scalars, max_size=2), max_size=3)


@given(one=objects, other=objects)
def test_two_digests_agree_when_the_canonical_json_does(one, other) -> None:
    written = [msgspec.json.encode(each, order="deterministic") for each in (one, other)]

    assert (digest_of(one) == digest_of(other)) == (written[0] == written[1])


# The answer


async def test_true_approves() -> None:
    assert await Approvals(approver(True)).ask(request()) is True
    assert await Approvals(approver(True)).refusal(request()) is None


@pytest.mark.parametrize(
    "answer",
    [False, None, 1, "yes", "true", "True", "", [], [True], {"approved": True}, object(), 1.0, NotImplemented, ...],
)
async def test_nothing_else_does(answer) -> None:
    assert await Approvals(approver(answer)).ask(request()) is False


async def test_without_an_approver_everything_is_refused() -> None:
    refusal = await Approvals().refusal(request())

    assert refusal == "tool 'deploy' needs the tier full_access, which is not granted, and there is no approver to ask"


@pytest.mark.parametrize("error", [ValueError(SECRET), KeyError(SECRET), TimeoutError(SECRET), RecursionError()])
async def test_an_approver_that_raises_refuses_and_only_its_class_is_told(error: Exception) -> None:
    async def approve(_: ApprovalRequest) -> bool:
        raise error

    refusal = await Approvals(approve).refusal(request(token=SECRET))

    assert type(error).__name__ in (refusal or "")
    assert SECRET not in (refusal or "")


@pytest.mark.parametrize(
    "approve", [lambda _: True, lambda: True, "yes", True], ids=["sync", "of nothing", "text", "bool"]
)
async def test_an_approver_that_can_not_be_awaited_refuses(approve) -> None:
    assert await Approvals(approve).ask(request()) is False


async def test_no_refusal_repeats_an_argument() -> None:
    for answer in (False, "no", None):
        assert SECRET not in (await Approvals(approver(answer)).refusal(request(token=SECRET)) or "")


async def test_an_approver_can_not_change_what_was_asked() -> None:
    async def approve(shown: ApprovalRequest) -> bool:
        shown.arguments["to"] = "everywhere"
        return True

    asked = request(to="test")

    assert await Approvals(approve).ask(asked)
    assert asked.arguments == {"to": "test"}


async def test_arguments_that_are_not_those_of_the_digest_are_not_even_asked_about() -> None:
    asked = []

    async def approve(shown: ApprovalRequest) -> bool:
        asked.append(shown)
        return True

    swapped = [
        replace(request(to="test"), arguments={"to": "prod"}),
        replace(request(to="test"), arguments={"to": object()}),
        replace(request(to="test"), arguments_digest=digest_of({"to": "prod"})),
        replace(request(to="test"), arguments_digest=""),
    ]
    changed = request(to="test")
    changed.arguments["to"] = "prod"

    assert [await Approvals(approve).ask(each) for each in (*swapped, changed)] == [False] * 5
    assert asked == []


# Answers that come later


class Asking:
    """Requests that are asked in tasks of their own, and what came of them."""

    def __init__(self, pending: PendingApprovals) -> None:
        self._approvals = Approvals(pending)
        self.answers: dict[str, bool] = {}

    async def ask(self, asked: ApprovalRequest) -> None:
        self.answers[asked.tool] = await self._approvals.ask(asked)


async def until(condition) -> None:
    with anyio.fail_after(5):
        while not condition():
            await checkpoint()


async def test_a_request_waits_until_it_is_answered() -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request(to="prod")
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        assert pending.waiting() == [asked]
        pending.answer(asked.id, asked.arguments_digest, True)

    assert asking.answers == {"deploy": True}
    assert pending.waiting() == []


async def test_siblings_go_on_while_one_waits() -> None:
    pending = PendingApprovals()
    asking = Asking(pending)
    first, second, third = (request(tool) for tool in ("first", "second", "third"))
    async with anyio.create_task_group() as group:
        for each in (first, second, third):
            group.start_soon(asking.ask, each)
        await until(lambda: len(pending.waiting()) == 3)

        pending.answer(second.id, second.arguments_digest, True)
        await until(lambda: "second" in asking.answers)
        pending.answer(third.id, third.arguments_digest, False)
        await until(lambda: "third" in asking.answers)
        assert pending.waiting() == [first]
        pending.answer(first.id, first.arguments_digest, True)

    assert asking.answers == {"second": True, "third": False, "first": True}


@pytest.mark.parametrize("approved", ["yes", 1, None, 0, "False", [True]])
async def test_an_answer_that_is_neither_true_nor_false_is_refused_and_the_request_still_waits(approved) -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request()
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        with pytest.raises(ValueError, match="True or False"):
            pending.answer(asked.id, asked.arguments_digest, approved)
        assert pending.waiting() == [asked]
        pending.answer(asked.id, asked.arguments_digest, False)

    assert asking.answers == {"deploy": False}


async def test_an_answer_to_other_arguments_is_refused_and_the_request_still_waits() -> None:
    pending = PendingApprovals()
    asking, asked, other = Asking(pending), request(to="test"), request("other", to="prod")
    async with anyio.create_task_group() as group:
        for each in (asked, other):
            group.start_soon(asking.ask, each)
        await until(lambda: len(pending.waiting()) == 2)
        for digest in (other.arguments_digest, "", asked.arguments_digest.upper(), asked.arguments_digest[:8], None):
            with pytest.raises(ValueError, match="has other arguments than were read"):
                pending.answer(asked.id, digest, True)  # type: ignore[arg-type]
        assert len(pending.waiting()) == 2
        for each in (asked, other):
            pending.answer(each.id, each.arguments_digest, each is other)

    assert asking.answers == {"deploy": False, "other": True}


async def test_an_answer_counts_once() -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request()
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        pending.answer(asked.id, asked.arguments_digest, False)
        for answer in (True, False):
            with pytest.raises(ValueError, match="is answered already"):
                pending.answer(asked.id, asked.arguments_digest, answer)

    assert asking.answers == {"deploy": False}
    with pytest.raises(ValueError, match="is answered already"):
        pending.answer(asked.id, asked.arguments_digest, True)


async def test_an_answered_request_can_not_be_asked_again() -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request()
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        pending.answer(asked.id, asked.arguments_digest, True)

    assert await Approvals(pending).ask(asked) is False, "the approval was for one call"


@pytest.mark.parametrize("request_id", ["", "000000000000", None, "deploy"])
def test_an_answer_to_nobody_is_refused(request_id) -> None:
    with pytest.raises(ValueError, match="is not known here"):
        PendingApprovals().answer(request_id, digest_of({}), True)


async def test_an_answer_can_not_come_before_the_question() -> None:
    pending, asked = PendingApprovals(), request()
    asking = Asking(pending)
    with pytest.raises(ValueError, match="is not known here"):
        pending.answer(asked.id, asked.arguments_digest, True)
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        assert asking.answers == {}
        group.cancel_scope.cancel()


async def test_cancelling_who_asked_withdraws_the_request() -> None:
    pending = PendingApprovals()
    asking, asked, other = Asking(pending), request(), request("other")
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, other)
        async with anyio.create_task_group() as inner:
            inner.start_soon(asking.ask, asked)
            await until(lambda: len(pending.waiting()) == 2)
            inner.cancel_scope.cancel()
        assert pending.waiting() == [other], "only the one that was cancelled"
        with pytest.raises(ValueError, match="was withdrawn"):
            pending.answer(asked.id, asked.arguments_digest, True)
        pending.answer(other.id, other.arguments_digest, True)

    assert asking.answers == {"other": True}


async def test_an_answer_after_the_request_has_expired_is_refused_and_denies() -> None:
    clock = FakeClock()
    pending = PendingApprovals(expires_s=60, clock=clock)
    asking, asked = Asking(pending), request()
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        clock.advance(60)
        with pytest.raises(ValueError, match="has expired"):
            pending.answer(asked.id, asked.arguments_digest, True)

    assert asking.answers == {"deploy": False}


async def test_a_request_that_has_expired_is_not_shown_any_more() -> None:
    clock = FakeClock()
    pending = PendingApprovals(expires_s=60, clock=clock)
    asking = Asking(pending)
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, request())
        await until(pending.waiting)
        clock.advance(59)
        assert pending.waiting()
        clock.advance(1)
        assert pending.waiting() == []

    assert asking.answers == {"deploy": False}


async def test_a_request_that_nobody_looks_at_expires_by_itself() -> None:
    pending, asked = PendingApprovals(expires_s=0.01), request()

    assert "TimeoutError" in (await Approvals(pending).refusal(asked) or "")
    with pytest.raises(ValueError, match="has expired"):
        pending.answer(asked.id, asked.arguments_digest, True)


async def test_what_is_shown_can_not_be_changed() -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request(to="test")
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        pending.waiting()[0].arguments["to"] = "prod"
        assert pending.waiting()[0].arguments == {"to": "test"}
        group.cancel_scope.cancel()


async def test_an_answer_may_come_from_another_thread() -> None:
    pending = PendingApprovals()
    asking, asked = Asking(pending), request()
    async with anyio.create_task_group() as group:
        group.start_soon(asking.ask, asked)
        await until(pending.waiting)
        thread = Thread(target=pending.answer, args=(asked.id, asked.arguments_digest, True))
        thread.start()
        await until(lambda: asking.answers)
    thread.join()

    assert asking.answers == {"deploy": True}


async def test_of_two_answers_at_once_one_is_taken() -> None:
    pending = PendingApprovals()
    asking = Asking(pending)
    asked = [request(f"tool {number}") for number in range(50)]
    taken: list[tuple[str, bool]] = []

    def answer_all(approved: bool) -> None:
        for each in asked:
            try:
                pending.answer(each.id, each.arguments_digest, approved)
            except ValueError:
                continue
            taken.append((each.tool, approved))

    async with anyio.create_task_group() as group:
        for each in asked:
            group.start_soon(asking.ask, each)
        await until(lambda: len(pending.waiting()) == len(asked))
        threads = [Thread(target=answer_all, args=(approved,)) for approved in (True, False, True)]
        for thread in threads:
            thread.start()
        await until(lambda: len(asking.answers) == len(asked))
    for thread in threads:
        thread.join()

    assert len(taken) == len(asked)
    assert dict(taken) == asking.answers


async def test_what_has_ended_is_forgotten_in_the_end() -> None:
    pending = PendingApprovals()
    for _ in range(1_100):
        with anyio.move_on_after(0):
            await pending(request())

    assert len(pending._ended) == 1_000


@pytest.mark.parametrize("expires_s", [0, -1, float("nan")])
def test_a_request_that_expires_at_once_is_refused(expires_s: float) -> None:
    with pytest.raises(ValueError, match="expires_s must be above 0"):
        PendingApprovals(expires_s=expires_s)
