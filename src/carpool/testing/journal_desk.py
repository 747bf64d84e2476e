"""Where a journal is tried out: runs on it, processes that die, and what must hold afterwards."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, cast

import anyio
import msgspec
from msgspec.structs import replace

from ..content import content_digest
from ..durable import Journal
from ..durable.claim import Step
from ..durable.records import RunHeader
from ..errors import CarpoolError
from ..eventlog import EventLog
from ..events import AgentEvent, RunFinished
from ..infra import SharedInfra
from ..mailbox import Mailbox
from ..patterns import Pattern
from ..recall import Attempt, Call, Ending, Opening, Recall
from ..results import CoordinationResult
from ..runtime import Runtime
from ..secrets import Redactor
from ..types import AgentOutput, AgentSpec, TokenAccounting
from .reply import Reply, Script
from .scripted_runner import ScriptedRunner

__all__ = [
    "COST",
    "Check",
    "Desk",
    "Went",
    "agent",
    "agents",
    "at_once",
    "attempt",
    "calling",
    "gist",
    "refused",
    "require",
    "require_whole_lives",
    "tokens",
]


def tokens(count: int) -> TokenAccounting:
    return TokenAccounting(input_tokens=count)


COST = tokens(10)
"""What each call of a runner costs at this desk."""


def agent(name: str, **fields: Any) -> AgentSpec:
    return AgentSpec(name, "do it", **fields)


def attempt(number: int = 1, hold: TokenAccounting = TokenAccounting()) -> Attempt:  # noqa: B008 - frozen
    """The ``number``-th start of a call, that has spent nothing yet."""
    return Attempt(number=number, hold=hold, earlier=TokenAccounting(), at_stake=lambda: hold)


def agents(names: str, **fields: Any) -> list[AgentSpec]:
    """One for each letter."""
    return [agent(name, **fields) for name in names]


class Went(NamedTuple):
    """How one process went: what came of its run, or the error that ended it, and whom it called."""

    result: CoordinationResult | None
    error: BaseException | None
    calls: Sequence[str]
    infra: SharedInfra

    @property
    def outcome(self) -> CoordinationResult:
        if self.result is None:
            raise AssertionError(f"the run ended with {self.error!r}") from self.error
        return self.result

    @property
    def answers(self) -> list[str]:
        return [output.answer for output in self.outcome.outputs]

    @property
    def spent(self) -> int:
        """Tokens that are booked in the budget."""
        return self.infra.budget.snapshot().total_tokens


class Desk:
    """One empty journal. Every run on it is by a process of its own: an infra, a state and a budget of its own."""

    def __init__(self, journal: Journal, again: Callable[[Journal], Journal] | None = None) -> None:
        self.journal = journal
        self._again = again
        self._others: list[Journal] = []

    def another(self) -> Desk:
        """A desk with another journal object on the same store, or, where there can be none, this one."""
        if self._again is None:
            return self
        self._others.append(self._again(self.journal))
        return Desk(self._others[-1])

    async def aclose(self) -> None:
        for journal in self._others:
            await journal.aclose()

    async def run(
        self,
        pattern: Pattern[Any],
        script: Script | None = None,
        *,
        run_id: str = "run",
        task: str = "the task",
        infra: SharedInfra | None = None,
        dies_at: int | str = 0,
        **fields: Any,
    ) -> Went:
        """``pattern`` in a process; ``fields`` are its infra's. ``dies_at``: it is killed when the runner is called
        for so-manieth time, or for the agent of this name."""
        infra = infra or SharedInfra(journal=self.journal, **fields)
        runner = _Mortal(ScriptedRunner(script, default=_reply), self, run_id, dies_at)
        result = error = None
        try:
            result = await pattern.run(task, runner=runner.run, infra=infra, run_id=run_id)
        except CarpoolError as raised:
            error = raised
        return Went(result, error, runner.bill, infra)

    async def cancelled_at(self, name: str, pattern: Pattern[Any], script: Script | None = None, **fields: Any) -> Went:
        """``pattern`` in a process that is asked to stop when the agent ``name`` is called."""
        infra: SharedInfra = fields.pop("infra", None) or SharedInfra(journal=self.journal, **fields)
        with anyio.CancelScope() as scope:

            async def stop(*_: Any) -> str:
                scope.cancel()
                await anyio.sleep_forever()
                return ""

            stopping = {**(script or {}), name: Reply(model_calls=[COST], does=stop)}
            return await self.run(pattern, stopping, infra=infra)
        return Went(None, None, [], infra)

    async def kill(self, run_id: str = "run") -> None:
        """As if the process that has the run had died: it writes nothing more, and nobody waits for it."""

        def step(header: RunHeader | None) -> Step:
            if header is None or header.owner is None:
                raise AssertionError(f"nobody has run {run_id!r}")
            return Step(replace(header, owner=replace(header.owner, began="0", journal="gone")))

        await self.journal.change(run_id, step)

    # A run by hand

    async def open(self, run_id: str = "run", *, log: EventLog | None = None, secrets: Sequence[str] = ()) -> Recall:
        """A run that is opened and not run."""
        return await self.journal.open_run(Opening(run_id=run_id, log=log or EventLog(), redactor=Redactor(secrets)))

    async def complete(self, recall: Recall, name: str = "a", answer: str = "done", **fields: Any) -> AgentOutput:
        """An agent that starts and ends in the run of ``recall``."""
        call = self.call(name)
        known = await recall.recall(call)
        output = AgentOutput(name=name, answer=answer, tokens=COST)
        await recall.started(call, known, attempt())
        await recall.ended(call, known, Ending(status="completed", output=output, **fields))
        return output

    def call(self, name: str = "a", task: str = "t") -> Call:
        return Call(roles=f"run/{name}", path=f"run/{name}", spec=agent(name), task=task)

    async def close(self, recall: Recall, run_id: str = "run") -> None:
        await recall.aclose(RunFinished(run=run_id, pattern="run", stop_reason="completed"))

    async def stored_bytes(self, run_id: str = "run") -> bytes:
        """All that is written down of a run."""
        stored = await self.journal.read(run_id)
        return b"\n".join([msgspec.json.encode(stored.header), *(body for _, body in stored.rows)])


class _Mortal:
    """A runner whose process may die."""

    def __init__(self, runner: ScriptedRunner, desk: Desk, run_id: str, dies_at: int | str) -> None:
        self.bill: list[str] = []
        self._runner = runner
        self._desk = desk
        self._run_id = run_id
        self._dies_at = dies_at

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> Any:
        self.bill.append(spec.name)
        if self._dies_at in (len(self.bill), spec.name):
            await self._desk.kill(self._run_id)
        return await self._runner.run(spec, task, runtime, mailbox)


def _reply(spec: AgentSpec, task: str) -> Reply:
    """An answer that tells another spec or another task, and nothing else."""
    return Reply(f"{spec.role or spec.name} says {content_digest(spec, task)[:8]}", spends=COST)


def calling(tool: str, *calls: dict[str, Any], at_once: bool = False) -> Reply:
    """An agent that makes these calls, one after the other or ``at_once``, and tells what it got."""

    async def act(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        got: list[str] = [""] * len(calls)

        async def call(place: int) -> None:
            try:
                got[place] = str(await runtime.call_tool(tool, **calls[place]))
            except CarpoolError as error:
                got[place] = str(error)

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                if at_once:
                    group.start_soon(call, place)
                else:
                    await call(place)
        return "; ".join(got)

    return Reply(model_calls=[COST], does=act)


async def at_once(count: int, job: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """``job(0)``, ``job(1)`` and so on, together."""
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(job, number)


# What must hold


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


async def refused(error: type[Exception], asked: Awaitable[object]) -> None:
    """:raises AssertionError: unless it is."""
    try:
        await asked
    except error:
        return
    raise AssertionError(f"it was not refused with {error.__name__}")


_LIFE = re.compile(r"(skipped |replayed |started (retrying started )*(finished |failed |cancelled )?)*")


def require_whole_lives(events: Sequence[Any]) -> None:
    """Whoever is asked for ends once, but for those that were lost."""
    lives: dict[str, str] = {}
    for event in events:
        if isinstance(event, AgentEvent) and event.kind.startswith("agent_"):
            lives[event.path] = lives.get(event.path, "") + event.kind.removeprefix("agent_") + " "
    for path, life in lives.items():
        require(_LIFE.fullmatch(life) is not None, f"its events say of {path}: {life.strip()}")


_OF_THE_MOMENT = {"budget", "duration_ms", "run_id", "timestamp"}


def gist(result: CoordinationResult) -> Any:
    """A result without what depends on the time, and on what was lost on the way."""
    return _without_moment(msgspec.to_builtins(result))


def _without_moment(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: _without_moment(each) for name, each in fields.items() if name not in _OF_THE_MOMENT}
    if isinstance(value, list):
        return [_without_moment(each) for each in cast("list[Any]", value)]
    return value


Check = Callable[[Desk], Awaitable[None]]
"""One promise of a journal, kept or not; its name says which."""
