"""Any sequence of starts, ends, crashes and reopenings, against a model that is a handful of dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from msgspec import Struct

from carpool import AgentOutput, EventLog, TokenAccounting
from carpool.durable import Journal, MemoryJournal, SqliteJournal
from carpool.durable.recollection import RUNS_AGAIN_AT_MOST
from carpool.recall import Attempt, Call, Change, Ending, Opening, Recall, Recalled
from carpool.secrets import Redactor
from carpool.testing.journal_desk import Desk, require_whole_lives

from ..scenes import spec, tokens
from .quick import quick_folder

CONTENTS = "aab"


class Known(Struct):
    """What the model has of one call."""

    content: str
    status: str = "running"
    hold: int = 0
    earlier: int = 0
    in_vain: int = 0
    lost: int = 0
    answer: str = ""
    changes: tuple[Change, ...] = ()
    taken: bool = False  # in this process


class Asked(Struct):
    """A call of the present process that is not over."""

    call: Call
    known: Recalled
    process: int
    attempts: int = 0
    failed: int = 0


def attempt(asked: Asked, hold: int) -> Attempt:
    earlier = tokens(asked.failed)
    return Attempt(number=asked.attempts, hold=tokens(hold), earlier=earlier, at_stake=lambda: tokens(hold))


class Machine(RuleBasedStateMachine):
    """One run. ``self.calls`` is the model: keys to what came of their calls, in the order of their first start."""

    asked = Bundle("asked")
    started = Bundle("started")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        self.journal: Journal = self.make()
        self.recall: Recall | None = None
        self.process = 0
        self.calls: dict[str, Known] = {}
        self.spent: Counter[str] = Counter()
        self.slots: Counter[str] = Counter()
        self.approved: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.answers = 0
        self.asked_for = 0
        self.purse = ""

    def make(self) -> Journal:
        return MemoryJournal()

    def anew(self) -> Journal:
        return self.journal

    def teardown(self) -> None:
        self.do(self.journal.aclose())
        self.stack.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def run() -> Any:
            return await work

        return self.portal.call(run)

    # Processes

    @precondition(lambda self: self.recall is None)
    @rule(purse=st.sampled_from(["p", "q"]))
    def opens(self, purse: str) -> None:
        self.lose()
        opening = Opening(run_id="run", log=EventLog(), redactor=Redactor(), purse=purse)
        self.recall = self.do(self.journal.open_run(opening))
        self.purse = purse
        self.process += 1
        self.left = Counter(self.approved)
        for each in self.calls.values():
            each.taken = False
        past = {each.purse: (each.spent.input_tokens, each.slots) for each in self.recall.past}
        assert past == {name: (spent, self.slots[name]) for name, spent in self.spent.items()}

    def lose(self) -> None:
        for each in self.calls.values():
            if each.status == "running":
                each.status = "lost"
                each.lost += 1
                each.in_vain += each.earlier + each.hold
                self.spent[self.paid_by[id(each)]] += each.earlier + each.hold

    paid_by: dict[int, str]

    @initialize()
    def begins(self) -> None:
        self.paid_by = {}

    @precondition(lambda self: self.recall is not None)
    @rule()
    def crashes(self) -> None:
        self.do(Desk(self.journal).kill())
        self.recall = None
        if self.journal.claims:
            self.journal.claims.clear()
        self.journal = self.anew()

    @precondition(lambda self: self.recall is not None)
    @rule()
    def closes(self) -> None:
        self.do(Desk(self.journal).close(self.recall))
        self.recall = None

    @precondition(lambda self: self.recall is None)
    @rule()
    def is_opened_by_another_object(self) -> None:
        self.do(self.journal.aclose())
        self.journal = self.anew()

    # Agents

    @precondition(lambda self: self.recall is not None)
    @rule(target=asked, content=st.sampled_from(CONTENTS))
    def asks(self, content: str) -> Any:
        self.asked_for += 1
        path = f"run/{content}[{self.asked_for}]"  # two of one content may be in flight at once
        call = Call(roles=f"run/{content}", path=path, spec=spec(content), task="t")
        known: Recalled = self.do(self.recall.recall(call))
        left = [(key, each) for key, each in self.calls.items() if each.content == content and not each.taken]
        completed = next((pair for pair in left if pair[1].status == "completed"), None)
        key, expected = completed or (left[0] if left else (None, None))
        if expected is None:
            assert known.key not in self.calls
            assert (known.output, known.refusal, known.spent) == (None, None, None)
            return Asked(call, known, self.process)
        expected.taken = True
        assert known.key == key
        if completed is not None:
            assert known.output is not None
            assert known.output.answer == expected.answer
            assert tuple(known.changes) == expected.changes
            assert (known.spent or TokenAccounting()).input_tokens == expected.in_vain
            return multiple()
        assert known.output is None
        assert known.spent == tokens(expected.in_vain)
        assert (known.refusal is not None) == (expected.lost > RUNS_AGAIN_AT_MOST)
        return multiple() if known.refusal else Asked(call, known, self.process)

    @precondition(lambda self: self.recall is not None)
    @rule(target=started, asked=consumes(asked), hold=st.integers(0, 9))
    def starts(self, asked: Asked, hold: int) -> Any:
        if asked.process != self.process:
            return multiple()
        asked.attempts = 1
        self.do(self.recall.started(asked.call, asked.known, attempt(asked, hold)))
        each = self.calls.setdefault(asked.known.key, Known(asked.call.spec.name))
        each.status, each.hold, each.earlier, each.taken = "running", hold, 0, True
        self.paid_by[id(each)] = self.purse
        return asked

    @precondition(lambda self: self.recall is not None)
    @rule(target=started, asked=consumes(started), hold=st.integers(0, 9), failed=st.integers(0, 5))
    def starts_again(self, asked: Asked, hold: int, failed: int) -> Any:
        if asked.process != self.process:
            return multiple()
        asked.attempts += 1
        asked.failed += failed
        self.do(self.recall.started(asked.call, asked.known, attempt(asked, hold)))
        each = self.calls[asked.known.key]
        each.hold, each.earlier = hold, asked.failed
        return asked

    @precondition(lambda self: self.recall is not None)
    @rule(
        asked=consumes(started),
        status=st.sampled_from(["completed", "completed", "failed", "cancelled"]),
        cost=st.none() | st.integers(0, 9),
        value=st.none() | st.integers(0, 9),
    )
    def ends(self, asked: Asked, status: Any, cost: int | None, value: int | None) -> None:
        if asked.process != self.process:
            return
        each = self.calls[asked.known.key]
        self.answers += 1
        answer = f"answer {self.answers}" if status == "completed" else ""
        spent = None if cost is None else tokens(asked.failed + cost)
        error = None if status == "completed" else "broken"
        output = AgentOutput(name=each.content, answer=answer, tokens=spent, error=error)
        changes = () if value is None else (Change(key="key", value=value, version=self.answers),)
        self.do(self.recall.ended(asked.call, asked.known, Ending(status=status, output=output, changes=changes)))
        each.status, each.answer, each.changes = status, answer, changes
        paid = 0 if spent is None else spent.input_tokens
        self.spent[self.purse] += paid
        if status == "completed":
            self.slots[self.purse] += 1
        else:
            each.in_vain += paid

    @precondition(lambda self: self.recall is not None)
    @rule(request=st.sampled_from("xy"))
    def is_approved(self, request: str) -> None:
        assert self.recall.was_approved(request) == (self.left[request] > 0)
        if self.left[request] > 0:
            self.left[request] -= 1
        else:
            self.do(self.recall.approved(request))
            self.approved[request] += 1

    # Looking

    @rule()
    def is_removed_when_nobody_has_it(self) -> None:
        if self.recall is None and self.process and self.answers % 7 == 6:
            self.do(self.journal.remove("run"))
            for own in (self.calls, self.spent, self.slots, self.approved):
                own.clear()
            self.process += 1

    @invariant()
    def is_told_as_it_is(self) -> None:
        header = self.do(self.journal.header("run"))
        if header is None:
            assert not self.calls
            return
        stored = self.do(self.journal.read("run"))
        require_whole_lives(stored.events())
        held = self.do(self.journal.holdings("run"))
        counted = Counter(each.status for each in self.calls.values())
        assert held.lost == counted["running"] + counted["lost"]
        assert (held.completed, held.failed, held.cancelled) == tuple(
            counted[status] for status in ("completed", "failed", "cancelled")
        )
        at_stake = sum(each.earlier + each.hold for each in self.calls.values() if each.status == "running")
        assert held.spent.input_tokens == self.spent.total() + at_stake
        assert self.journal.is_live(header) == (self.recall is not None)


class FileMachine(Machine):
    def __init__(self) -> None:
        with ExitStack() as stack:
            self.folder = stack.enter_context(quick_folder())
            self.removing = stack.pop_all()
        super().__init__()

    def make(self) -> Journal:
        return SqliteJournal(self.folder / "runs.db")

    def anew(self) -> Journal:
        self.stack.callback(self.portal.call, self.journal.aclose)
        return self.make()

    def teardown(self) -> None:
        super().teardown()
        self.removing.close()


SLOW = [HealthCheck.too_slow]
TestInMemory = Machine.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=SLOW)
TestInAFile = FileMachine.TestCase
TestInAFile.settings = settings(max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=SLOW)
