"""What tests of runs have in common: specs, fakes of the ports, and what must hold of every log and result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from anyio.lowlevel import checkpoint

from carpool import AgentOutput, AgentSpec, CoordinationResult, EventLog, SharedInfra, TokenAccounting
from carpool.errors import JournalError, RunNotFound
from carpool.events import AgentEvent, RunFinished
from carpool.recall import Attempt, Call, Ending, Holdings, Opening, Past, Recalled

NOTHING = TokenAccounting()


def spec(name: str, **fields: Any) -> AgentSpec:
    return AgentSpec(name, "do it", **fields)


def specs(names: str, **fields: Any) -> list[AgentSpec]:
    """One for each word, or each letter of one word."""
    return [spec(name, **fields) for name in (names.split() if " " in names else names)]


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


# The log


def story(log: EventLog, agent: str) -> list[str]:
    """The kinds of an agent's own events, without the ``agent_`` before them."""
    return [event.kind.removeprefix("agent_") for event in log.events(agent=agent) if event.kind.startswith("agent_")]


def kinds(log: EventLog) -> Counter[str]:
    return Counter(event.kind for event in log.events())


_LIFE = re.compile(r"(skipped |replayed |started (retrying started )*(finished |failed |cancelled ))*")


def assert_each_ended_once(log: EventLog) -> None:
    """Skipped, replayed, or started-then-(finished | failed | cancelled), for each time that it is asked for."""
    lives: dict[tuple[str, str], str] = {}
    for event in log.events():
        if isinstance(event, AgentEvent) and event.kind.startswith("agent_"):
            whose = (event.run, event.path)
            lives[whose] = lives.get(whose, "") + event.kind.removeprefix("agent_") + " "
    for (_, path), life in lives.items():
        assert _LIFE.fullmatch(life), f"{path}: {life}"


def assert_runs_ended(log: EventLog) -> None:
    counted = kinds(log)
    assert counted["run_started"] == counted["run_finished"]


def assert_nothing_left(infra: SharedInfra) -> None:
    """No lease, no hold, no subscription; every life and every run in the log has its end."""
    assert infra.budget.in_flight == 0
    held = infra.budget.snapshot().held
    assert (held.input_tokens, held.output_tokens, held.cost_usd) == (0, 0, 0.0)
    assert infra.log._wakers == set()
    assert_each_ended_once(infra.log)
    assert_runs_ended(infra.log)


# Results


def everyone(result: CoordinationResult) -> Iterator[AgentOutput]:
    """The outputs of all agents, those in nested results too; a nested result's own output is not an agent's."""
    for output in result.outputs:
        if output.name not in result.nested:
            yield output
    for results in result.nested.values():
        for each in results:
            yield from everyone(each)


def assert_keeps_what_ended(log: EventLog, result: CoordinationResult, run_id: str | None = None) -> None:
    """Every agent that finished or failed has its output in ``result``, with what it cost; once."""
    ended = Counter(
        (event.agent, event.tokens or NOTHING)
        for event in log.events()
        if event.kind in ("agent_finished", "agent_failed", "agent_replayed") and run_id in (None, event.run)
    )
    kept = Counter((output.name, output.tokens or NOTHING) for output in everyone(result))
    assert ended <= kept, f"lost: {ended - kept}"
    spent = sum((cost for (_, cost), count in ended.items() for _ in range(count)), NOTHING)
    assert result.usage == spent


def answers(outputs: Iterable[AgentOutput]) -> list[str]:
    return [output.answer for output in outputs]


def names(outputs: Iterable[AgentOutput]) -> list[str]:
    return [output.name for output in outputs]


# Ports


class FakeJournal:
    """Remembers in memory what it is told, and writes down when; ``fails`` names a method that raises.

    Every method waits once before it is done, as one that writes to a disk does; what was told it counts as durable
    then, also when it was cancelled while it waited. All runs, whatever their ids, are to it one run.
    """

    def __init__(self, *, fails: str = "", at: int = 1) -> None:
        self.told: list[str] = []
        self.endings: dict[tuple[str, str], list[Ending]] = {}
        self.past: list[Past] = []
        self.approvals: list[str] = []
        self.open = 0
        self._fails = fails
        self._at = at
        self._asked: Counter[str] = Counter()

    @property
    def outputs(self) -> list[AgentOutput]:
        """What was told that it ended, and is there to be given out again."""
        return [ending.output for endings in self.endings.values() for ending in endings]

    async def open_run(self, opening: Opening) -> FakeRecall:
        await checkpoint()
        self.open += 1
        return FakeRecall(self, opening)

    async def holdings(self, run_id: str) -> Holdings:
        raise RunNotFound(run_id)

    async def say(self, what: str, name: str) -> None:
        self.told.append(f"{what} {name}")
        await checkpoint()
        self._asked[what] += 1
        if what == self._fails and self._asked[what] == self._at:
            self.told.pop()
            raise JournalError(f"no room on the disk for {what}")


class FakeRecall:
    def __init__(self, journal: FakeJournal, opening: Opening) -> None:
        self.past: Sequence[Past] = list(journal.past)
        self.ended_with: RunFinished | None = None  # as it was first told
        self._journal = journal
        self._opening = opening
        self._left = {key: list(endings) for key, endings in journal.endings.items()}
        self._approvals = list(journal.approvals)

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        await self._journal.say("recall", call.spec.name)
        remembered = self._left.get((call.roles, call.task))
        if not remembered:
            return Recalled(key=f"{call.roles} {call.task}")
        ending = remembered.pop(0)
        return Recalled(output=ending.output, changes=ending.changes, asks=ending.asks, origin=ending.origin)

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        await self._journal.say("started", call.spec.name)

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        slots = call.slots if ending.status == "completed" else 0
        try:
            await self._journal.say(ending.status, call.spec.name)
        except JournalError:
            raise
        except BaseException:
            self._keep(call, ending, slots)
            raise
        self._keep(call, ending, slots)

    def _keep(self, call: Call, ending: Ending, slots: int) -> None:
        spent = ending.output.tokens or NOTHING
        self._journal.past.append(Past(purse=self._opening.purse, spent=spent, slots=slots))
        if ending.status == "completed":
            self._journal.endings.setdefault((call.roles, call.task), []).append(ending)

    def was_approved(self, request: str) -> bool:
        if request not in self._approvals:
            return False
        self._approvals.remove(request)
        return True

    async def approved(self, request: str) -> None:
        await self._journal.say("approved", request)
        self._journal.approvals.append(request)

    async def aclose(self, finished: RunFinished) -> None:
        if self.ended_with is None:
            self.ended_with = finished
            self._journal.open -= 1
        await checkpoint()
