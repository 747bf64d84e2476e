"""A journal in PostgreSQL while its server restarts, its connections are cut, and poolers hand its sessions around."""

from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import anyio
import pytest
from anyio import to_thread

from carpool import AgentOutput, SharedInfra, open_run
from carpool.durable.postgres import PostgresJournal
from carpool.errors import JournalError, RunInUse, RunNotFound
from carpool.events import RunFinished

from ..scenes import spec, tokens
from .postgres_proxy import CUT, LINGER, LINGERS_S, PASS, Chunk, Meddle, pooler, wire
from .postgres_server import PostgresServer
from .test_postgres_journal import appending, elsewhere, opening

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'carpool[postgres]'")


class Team:
    """Agents that count how often each was called; ``at`` says what happens with the so-manieth call."""

    def __init__(self, at: dict[int, Callable[[], Awaitable[None]]] | None = None) -> None:
        self.called: Counter[str] = Counter()
        self._at = at or {}

    async def _run(self, spec: Any, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        self.called[task] += 1
        if happens := self._at.get(self.called.total()):
            await happens()
        await anyio.sleep(0.001)
        return AgentOutput(name=spec.name, answer=f"of {task}", tokens=tokens(10))

    async def run(self, dsn: str, agents: int, in_flight: int = 8) -> SharedInfra:
        """The run ``run`` in a process; all agents have answered, each in its place."""
        async with PostgresJournal(dsn) as journal:
            infra = SharedInfra(journal=journal)
            async with open_run(runner=self._run, infra=infra, run_id="run") as run:
                outputs = await run.fan_out([(spec("a"), str(number)) for number in range(agents)], in_flight)
        assert [output.answer for output in outputs] == [f"of {number}" for number in range(agents)]
        assert infra.budget.snapshot().total_tokens >= 10 * agents
        return infra


async def on_record(dsn: str) -> tuple[int, int, int]:
    """Of the run ``run``, checked against its chain: how many calls were started, started in all, completed."""
    async with PostgresJournal(dsn) as journal:
        history = (await journal.read("run")).history()
    return len(history.fates), sum(fate.starts for fate in history.fates.values()), history.count("completed")


# The server goes away


async def test_a_run_outlasts_a_restart_of_its_server(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    async def restart() -> None:
        await to_thread.run_sync(postgres_server.stop)
        await anyio.sleep(0.2)
        postgres_server.start()  # by this thread, because the server ends with the one that started it

    async def crash() -> None:
        postgres_server.crash()
        postgres_server.start()

    team = Team({50: restart, 150: crash})
    await team.run(postgres_dsn, 300, in_flight=16)
    assert set(team.called.values()) == {1}
    assert await on_record(postgres_dsn) == (300, 300, 300)


async def test_a_run_that_its_server_left_is_resumed_when_it_is_back(
    postgres_dsn: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpool.durable.postgres_database.PATIENCE_S", 0.3)

    async def stop() -> None:
        await to_thread.run_sync(postgres_server.stop)

    team = Team({150: stop})
    try:
        with pytest.raises(JournalError, match=f":{postgres_server.port}/test_.* run again under the same run_id"):
            await team.run(postgres_dsn, 300, in_flight=16)
    finally:
        postgres_server.start()
    async with PostgresJournal(postgres_dsn) as journal:
        stored = await journal.read("run")
    completed = {fate.task for fate in stored.history().fates.values() if fate.status == "completed"}
    assert 100 < len(completed) < 150
    assert max(team.called.values()) == 1

    again = Team()
    await again.run(postgres_dsn, 300, in_flight=16)
    assert {*again.called} == {str(number) for number in range(300)} - completed
    assert set(again.called.values()) == {1}
    fates, _, done = await on_record(postgres_dsn)
    assert (fates, done) == (300, 300)


async def test_who_waits_for_a_server_that_is_away_can_be_closed(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    journal = PostgresJournal(postgres_dsn)
    await journal.describe("run", {})
    postgres_server.stop()
    try:
        async with anyio.create_task_group() as group:

            async def describe() -> None:
                with pytest.raises(JournalError):
                    await journal.describe("run", {"a": 1})

            group.start_soon(describe)
            with anyio.move_on_after(0.2):
                await journal.runs()  # reading ends when it is cancelled
            began = monotonic()
            await journal.aclose()
            assert monotonic() - began < 10.0  # and not half a minute
    finally:
        postgres_server.start()


async def test_sessions_that_may_not_idle_are_no_loss(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET idle_session_timeout = 50')
    async with elsewhere(PostgresJournal(postgres_dsn)) as owner, PostgresJournal(postgres_dsn) as other:
        recall = await owner.open_run(opening())
        for _ in range(3):
            await anyio.sleep(0.15)
            await recall.approved("yes")
            with pytest.raises(RunInUse):
                await other.open_run(opening())
        assert len((await other.read("run")).history().approvals) == 3


async def test_a_statement_that_takes_too_long_is_told(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carpool.durable.postgres_database.PATIENCE_S", 0.5)
    async with PostgresJournal(postgres_dsn) as journal:
        await journal.describe("run", {})
        with psycopg.connect(postgres_dsn, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET statement_timeout = 100')
        async with PostgresJournal(postgres_dsn) as hurried:
            with psycopg.connect(postgres_dsn) as connection:
                connection.execute("LOCK TABLE carpool.runs")
                with pytest.raises(JournalError, match="raise statement_timeout for its role"):
                    await hurried.describe("run", {"a": 1})
            await hurried.describe("run", {"a": 2})
        assert [header.about for header in await journal.runs()] == [{"a": 2}]


async def test_settings_of_the_role_change_nothing(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        for setting in (
            "default_transaction_isolation = 'serializable'",
            "default_transaction_read_only = on",
            "default_transaction_deferrable = on",
            "idle_in_transaction_session_timeout = 100",
            "bytea_output = 'escape'",
            "datestyle = 'German'",
            "timezone = 'Pacific/Chatham'",
            "standard_conforming_strings = off",
            "search_path = ''",
            "client_encoding = 'SQL_ASCII'",
            "lock_timeout = 100",
        ):
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET {setting}')
    teams = [Team(), Team()]
    for team in teams:
        await team.run(postgres_dsn, 20)
    assert [len(team.called) for team in teams] == [20, 0]


# The wire is cut


async def test_a_run_over_a_wire_that_is_cut_again_and_again(postgres_dsn: str) -> None:
    cuts = 0

    async def meddle(chunk: Chunk) -> str:
        nonlocal cuts
        if chunk.number % 7 == 0:
            await anyio.sleep(0.003)
        if chunk.number % 61 == 0:
            cuts += 1
            return CUT
        return PASS

    team = Team()
    async with wire(postgres_dsn, meddle) as dsn:
        await team.run(dsn, 120, in_flight=4)
    assert cuts > 5
    assert set(team.called.values()) == {1}
    assert await on_record(postgres_dsn) == (120, 120, 120)


async def cut_everywhere(dsn: str, live: Callable[[str, int], Awaitable[None]]) -> int:
    """``live(dsn, at)`` with a wire that is cut at its ``at``-th chunk, for each; how many there are. Only where
    the server was never reached it may fail, because then nothing is tried twice."""
    chunks = 0

    async def once(at: int) -> None:
        async def meddle(chunk: Chunk) -> str:
            nonlocal chunks
            chunks = chunk.number
            return CUT if chunk.number == at else PASS

        async with wire(dsn, meddle) as cut:
            await live(cut, at)

    await once(0)
    refused = []
    total = chunks
    for at in range(1, total + 1):
        try:
            await once(at)
        except* JournalError:
            refused.append(at)
    assert refused == [*range(1, len(refused) + 1)]
    assert 0 < len(refused) < 6
    return total


async def test_wherever_the_wire_is_cut_the_tables_are_made(postgres_dsn: str) -> None:
    async def live(dsn: str, at: int) -> None:
        async with PostgresJournal(dsn, schema=f"cut_{at}") as journal:
            await journal.describe("run", {"a": at})
        async with PostgresJournal(postgres_dsn, schema=f"cut_{at}") as journal:
            assert [header.about for header in await journal.runs()] == [{"a": at}]

    assert await cut_everywhere(postgres_dsn, live) > 20


async def test_wherever_the_wire_is_cut_nothing_is_lost_or_done_twice(postgres_dsn: str) -> None:
    async def live(dsn: str, at: int) -> None:
        name = f"run {at}"
        async with PostgresJournal(dsn) as journal:
            recall = await journal.open_run(opening(name))
            await recall.approved("first")
            await recall.approved("second")
            await recall.aclose(RunFinished(run=name, stop_reason="completed"))
            stored = await journal.read(name)
            assert stored.history().approvals == ["first", "second"]
            assert (stored.header.epoch, stored.header.open) == (1, False)
            await journal.remove(name)

    async with PostgresJournal(postgres_dsn) as direct:
        await direct.describe("first", {})
        assert await cut_everywhere(postgres_dsn, live) > 40
        assert [header.run_id for header in await direct.runs()] == ["first"]


def losing(what: str, *, every: int = 2) -> tuple[Meddle, list[int]]:
    """Every so-manieth commit is lost: ``word`` of it, when it was made; itself, ``before``; the one and then the other
    of them, in ``turn``; or it is lost and the server does ``not notice``. And a list with a number for each."""
    commits, lost = 0, []
    deaf: set[int] = set()

    async def meddle(chunk: Chunk) -> str:
        nonlocal commits
        if chunk.connection in deaf and not chunk.to_server:
            return CUT
        if chunk.to_server and b"COMMIT\0" in chunk.data:
            commits += 1
            if commits % every == 0:
                lost.append(commits)
                happens = ("word", "before")[len(lost) % 2] if what == "turn" else what
                if happens == "word":
                    deaf.add(chunk.connection)
                return {"word": PASS, "before": CUT, "not notice": LINGER}[happens]
        return PASS

    return meddle, lost


@pytest.mark.parametrize("what", ["word", "before", "turn"])
async def test_what_became_of_a_commit_is_found_out(postgres_dsn: str, what: str) -> None:
    meddle, lost = losing(what, every=1 if what == "turn" else 2)
    team = Team()
    async with wire(postgres_dsn, meddle) as dsn:
        await team.run(dsn, 24, in_flight=3)
    assert len(lost) > 5
    assert set(team.called.values()) == {1}
    assert await on_record(postgres_dsn) == (24, 24, 24)


@pytest.mark.parametrize("what", ["word", "before", "not notice"])
async def test_nothing_is_done_twice_when_a_commit_is_lost(postgres_dsn: str, what: str) -> None:
    async with PostgresJournal(postgres_dsn) as direct:  # makes the tables
        await direct.change("run", appending(b"0"))
        meddle, lost = losing(what)
        async with wire(postgres_dsn, meddle) as dsn, PostgresJournal(dsn) as journal:
            for number in range(1, 5):
                header = await journal.change("run", appending(b"%d" % number))
                assert header.rows == number + 1
            await journal.request_cancel("run")
            await journal.remove("run")
            with pytest.raises(RunNotFound):
                await journal.remove("run")
            recall = await journal.open_run(opening())
            await recall.approved("yes")
            await recall.approved("no")
        assert len(lost) >= 3
        stored = await direct.read("run")
        assert stored.history().approvals == ["yes", "no"]
        assert stored.header.epoch == 1


async def test_a_server_that_has_yet_to_miss_us_is_waited_for(postgres_dsn: str) -> None:
    """It still has the transaction open, and may yet get the commit that we have given up."""
    meddle, lost = losing("not notice", every=3)
    async with wire(postgres_dsn, meddle) as dsn, PostgresJournal(dsn) as journal:
        changes = 0
        while not lost:
            changes, began = changes + 1, monotonic()
            await journal.change("run", appending(b"1"))
        assert monotonic() - began >= LINGERS_S / 2
        assert len((await journal.read("run")).rows) == changes


# A pooler


async def test_behind_a_pooler_of_transactions_all_is_as_ever(postgres_dsn: str) -> None:
    async with pooler(postgres_dsn) as dsn:
        teams = [Team(), Team()]
        for team in teams:
            await team.run(dsn, 60)
        assert [len(team.called) for team in teams] == [60, 0]
        async with PostgresJournal(dsn) as journal:
            await journal.open_run(opening("open"))
            with psycopg.connect(postgres_dsn) as connection:
                locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
                assert locks == (0,)
                assert connection.execute("SELECT count(*) FROM carpool.runs WHERE session <> 0").fetchone() == (0,)
            async with PostgresJournal(dsn) as other:
                with pytest.raises(RunInUse):
                    await other.open_run(opening("open"))
    assert await on_record(postgres_dsn) == (60, 60, 60)


async def test_no_setting_is_left_in_a_session_of_a_poolers(postgres_dsn: str) -> None:
    async with pooler(postgres_dsn) as dsn:
        async with PostgresJournal(dsn) as journal:
            for _ in range(9):
                await journal.change("run", appending(b"1"))

        def settings() -> list[Any]:
            with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
                return [
                    connection.execute(f"SHOW {name}").fetchone()
                    for name in ("lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation") * 3
                ]

        assert {*await to_thread.run_sync(settings)} == {("0",), ("read committed",)}
