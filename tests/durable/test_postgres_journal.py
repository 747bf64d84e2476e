"""A journal in PostgreSQL: what is stored, who has a run over machines, and what is told when it can't be."""

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import anyio
import pytest
from anyio import to_thread
from msgspec import json
from msgspec.structs import replace

from carpool import AgentOutput, EventLog, SharedInfra, open_run
from carpool.durable.claim import Step
from carpool.durable.postgres import PostgresJournal
from carpool.durable.records import ENTRY, EVENT, Row, RunHeader, chained
from carpool.errors import JournalCorrupt, JournalError, RunInUse, RunNotFound
from carpool.recall import Opening
from carpool.secrets import Redactor
from carpool.testing import check_journal
from carpool.testing.journals import JOURNAL_CHECKS

from ..scenes import spec, tokens
from .postgres_server import PostgresServer

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'carpool[postgres]'")

OWNER = Path(__file__).with_name("postgres_owner.py")


def opening(run_id: str = "run") -> Opening:
    return Opening(run_id=run_id, log=EventLog(), redactor=Redactor())


def elsewhere(journal: PostgresJournal) -> PostgresJournal:
    """As if its process were on another machine, where nobody can look whether it is still there."""
    journal.owner = replace(journal.owner, host="elsewhere", boot="elsewhere", space="elsewhere")
    return journal


def appending(*bodies: bytes, run_id: str = "run"):
    """A step that appends rows."""

    def step(header: RunHeader | None) -> Step:
        if header is None:
            at = SharedInfra().clock.now()
            header = RunHeader(run_id=run_id, created=at, updated=at, open=False)
        rows = [Row(ENTRY, body) for body in bodies]
        return Step(replace(header, rows=header.rows + len(rows), chain=chained(header.chain, rows)), rows)

    return step


# What every journal promises


@pytest.fixture(scope="module")
def one_database(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.mark.parametrize("number", range(len(JOURNAL_CHECKS)), ids=lambda number: JOURNAL_CHECKS[number].__name__)
def test_it_keeps_the_promise(one_database: str, number: int) -> None:
    def journal(_: object = None) -> PostgresJournal:
        return PostgresJournal(one_database, schema=f"of_{number}")

    check_journal(journal, again=journal, checks=JOURNAL_CHECKS[number : number + 1])


# What is stored


async def test_a_run_goes_on_in_another_process_and_pays_once(postgres_dsn: str) -> None:
    called = []

    async def runner(spec, task, runtime, mailbox):
        called.append(task)
        if task == "3" and called.count("3") == 1:
            raise RuntimeError("not now")
        return AgentOutput(name=spec.name, answer=f"of {task}", tokens=tokens(10))

    for _ in range(2):
        async with PostgresJournal(postgres_dsn) as journal:
            infra = SharedInfra(journal=journal)
            async with open_run(runner=runner, infra=infra, run_id="run") as run:
                outputs = await run.fan_out([(spec("a"), str(number)) for number in range(6)], 2)

    assert [output.answer for output in outputs] == [f"of {number}" for number in range(6)]
    assert sorted(called) == ["0", "1", "2", "3", "3", "4", "5"]
    assert infra.budget.snapshot().total_tokens == 60


async def test_nothing_is_made_before_something_is_written(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    async with PostgresJournal(postgres_dsn) as journal:
        assert await journal.runs() == []
        assert await journal.header("run") is None
        with pytest.raises(RunNotFound):
            await journal.read("run")
        with psycopg.connect(postgres_dsn) as connection:
            assert connection.execute("SELECT to_regnamespace('carpool')").fetchone() == (None,)


async def test_of_many_who_come_first_one_makes_the_tables(postgres_dsn: str) -> None:
    journals = [PostgresJournal(postgres_dsn) for _ in range(8)]

    async def describe(number: int) -> None:
        await journals[number].describe(f"run {number}", {"number": number})

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(describe, number)
    assert {header.about["number"] for header in await journals[0].runs()} == {*range(8)}
    for journal in journals:
        await journal.aclose()


async def test_changes_by_several_processes_come_one_after_the_other(postgres_dsn: str) -> None:
    def count(header: RunHeader | None) -> Step:
        step = Step(header) if header else appending()(None)
        return Step(replace(step.header, started=step.header.started + 1))

    async def change(journal: PostgresJournal) -> None:
        for _ in range(20):
            await journal.change("run", count)

    journals = [PostgresJournal(postgres_dsn) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for journal in journals:
            group.start_soon(change, journal)
    header = await journals[0].header("run")
    assert header is not None
    assert header.started == 60
    for journal in journals:
        await journal.aclose()


async def test_who_describes_a_run_gives_no_sign_of_life_for_its_owner(postgres_dsn: str) -> None:
    async with elsewhere(PostgresJournal(postgres_dsn)) as owner, PostgresJournal(postgres_dsn) as other:
        await owner.open_run(opening())
        header = await other.header("run")
        assert header is not None
        owner._writer._tick = lambda: True  # it comes to nothing more
        await to_thread.run_sync(owner._session.close)
        for _ in range(200):  # the server hears of it in its own time
            if not (seen := await other.header("run")).beat:
                break
            await anyio.sleep(0.01)
        assert not other.is_live(seen)
        await other.describe("run", {"a": 1})
        with psycopg.connect(postgres_dsn) as connection:
            ((body,),) = connection.execute("SELECT header FROM carpool.runs").fetchall()
        assert json.decode(body)["beat"] == header.beat  # as it was, and not as it looks from here


async def test_every_byte_comes_back(postgres_dsn: str) -> None:
    bodies = [bytes(range(256)), b"", b'{"a":"\\u0000\\ud800"}', "\0\ud800".encode(errors="surrogatepass"), b"\\x41"]
    names = ["run", "\0", "\ud800", "a'b\"c{}%s%%", ""]
    async with PostgresJournal(postgres_dsn) as journal:
        for name in names:
            await journal.change(name, appending(*bodies, run_id=name))
        for name in names:
            stored = await journal.read(name)
            assert [row.body for row in stored.rows] == bodies
            assert stored.header.run_id == name
        assert {header.run_id for header in await journal.runs()} == {*names}


@pytest.mark.parametrize("schema", ["carpool_2", 'we"ird {schema}; --', "Ünï", "public"])
async def test_any_schema_will_do(postgres_dsn: str, schema: str) -> None:
    async with PostgresJournal(postgres_dsn, schema=schema) as journal, PostgresJournal(postgres_dsn) as other:
        await journal.change("run", appending(b"1"))
        await journal.change("run", appending(b"2"))
        assert [row.body for row in (await journal.read("run")).rows] == [b"1", b"2"]
        assert await other.runs() == []


@pytest.mark.parametrize("schema", ["", "a\0b", "a%s", "ü" * 32])
def test_what_is_no_name_of_a_schema_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="schema must be a name of 1 to 63 bytes"):
        PostgresJournal("host=nowhere", schema=schema)


async def test_a_newer_format_is_refused_and_left_as_it_is(postgres_dsn: str) -> None:
    async with PostgresJournal(postgres_dsn) as journal:
        await journal.change("run", appending(b"1"))
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("UPDATE carpool.journal SET value = 2")
    async with PostgresJournal(postgres_dsn) as journal:
        for asked in (journal.change("run", appending(b"2")), journal.read("run"), journal.runs()):
            with pytest.raises(JournalError, match=r"a newer carpool wrote it \(format 2\)"):
                await asked
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("UPDATE carpool.journal SET value = 1")
    async with PostgresJournal(postgres_dsn) as journal:
        assert [row.body for row in (await journal.read("run")).rows] == [b"1"]


DAMAGE = {
    "a header is changed": "UPDATE carpool.runs SET header = set_byte(header, 20, get_byte(header, 20) # 1)",
    "a header is another's": "UPDATE carpool.runs SET header = (SELECT header FROM carpool.runs WHERE run_id = 'b')",
    "a header has another name": "UPDATE carpool.runs SET run_id = 'c' WHERE run_id = 'b'; "
    "UPDATE carpool.runs SET run_id = 'b' WHERE run_id = 'a'; UPDATE carpool.runs SET run_id = 'a' WHERE run_id = 'c'",
    "a row is changed": "UPDATE carpool.rows SET body = set_byte(body, 0, 7) WHERE number = 2",
    "a row is of another stream": f"UPDATE carpool.rows SET stream = {EVENT} WHERE number = 2",
    "a row is of no stream": "UPDATE carpool.rows SET stream = 7 WHERE number = 2",
    "a row is gone": "DELETE FROM carpool.rows WHERE number = 2",
    "rows have changed places": "UPDATE carpool.rows SET number = 12 - number WHERE number IN (2, 3)",
    "there is another row": "INSERT INTO carpool.rows VALUES ('a', 4, 0, '1')",
    "a table is gone": "DROP TABLE carpool.rows",
    "a column is gone": "ALTER TABLE carpool.runs DROP COLUMN digest",
    "the format is gone": "DELETE FROM carpool.journal",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_is_not_as_it_was_written_is_never_read(postgres_dsn: str, damage: str) -> None:
    async with PostgresJournal(postgres_dsn) as journal:
        for name in ("a", "b"):
            await journal.change(name, appending(b"1", b"2", b"3", run_id=name))
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute(DAMAGE[damage])
    async with PostgresJournal(postgres_dsn) as journal:
        with pytest.raises(JournalCorrupt):
            await journal.read("a")
        with pytest.raises(JournalCorrupt):
            await journal.open_run(opening("a"))


async def test_one_damaged_run_keeps_no_other_from_being_written(postgres_dsn: str) -> None:
    errors = []

    async def change(name: str) -> None:
        try:
            await journal.change(name, appending(b"2", run_id=name))
        except JournalError as error:
            errors.append((name, type(error)))

    async with PostgresJournal(postgres_dsn) as journal:
        for name in "abcd":
            await journal.change(name, appending(b"1", run_id=name))
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("UPDATE carpool.runs SET digest = '' WHERE run_id = 'b'")
        async with anyio.create_task_group() as group:
            for name in "abcd":
                group.start_soon(change, name)
        assert errors == [("b", JournalCorrupt)]
        assert len((await journal.read("d")).rows) == 2


async def test_a_commit_waits_for_the_disk_whatever_the_role_is_set_to(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    from carpool.durable.postgres_tables import Tables

    for setting, used in (("off", "on"), ("remote_apply", "remote_apply"), ("local", "local")):
        postgres_server.execute(f"ALTER ROLE postgres SET synchronous_commit = '{setting}'")
        try:
            with psycopg.connect(postgres_dsn, autocommit=True) as connection:
                tables = Tables(connection, "carpool", "place", 1, lambda _: None)
                tables.prepare(make=True)
                tables.begin(["run"])
                assert connection.execute("SHOW synchronous_commit").fetchone() == (used,)
                tables.rollback()
                assert connection.execute("SHOW synchronous_commit").fetchone() == (setting,)
        finally:
            postgres_server.execute("ALTER ROLE postgres RESET synchronous_commit")


async def test_a_role_that_may_make_nothing_uses_what_was_made_for_it(
    postgres_dsn: str, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection, ExitStack() as stack:
        connection.execute("CREATE ROLE guest LOGIN")
        stack.callback(connection.execute, "DROP OWNED BY guest; DROP ROLE guest")
        async with PostgresJournal(f"{postgres_dsn} user=guest") as journal:
            with pytest.raises(JournalError, match=r"permission denied for database .*grant its role what it lacks"):
                await journal.describe("run", {})
        connection.execute("CREATE SCHEMA carpool; GRANT ALL ON SCHEMA carpool TO guest")
        async with PostgresJournal(f"{postgres_dsn} user=guest") as journal:
            await journal.describe("run", {"a": 1})
            assert [header.about for header in await journal.runs()] == [{"a": 1}]


# Who has a run


class Process:
    """``postgres_owner.py`` in a process of its own."""

    def __init__(self, dsn: str, bill: Path, *arguments: str) -> None:
        command = [sys.executable, str(OWNER), dsn, str(bill), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def processes(dsn: str, bill: Path, *arguments: tuple[str, ...]) -> Iterator[list[Process]]:
    started = [Process(dsn, bill, *each) for each in arguments]
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def test_of_two_processes_that_race_for_a_run_one_gets_it(postgres_dsn: str, tmp_path: Path) -> None:
    races = 40
    with processes(postgres_dsn, tmp_path / "bill", (), ("elsewhere",)) as racers:
        for number in range(races):
            for racer in racers:
                racer.say(f"run {number}")
            heard = [racer.hear() for racer in racers]
            assert sorted(heard) == ["has it", "in use"]
            winner = racers[heard.index("has it")]
            winner.say("")
            assert winner.hear() == "done"
    assert sorted((tmp_path / "bill").read_text().split("\n")) == sorted(["", *(f"run {n}" for n in range(races))])


async def test_a_process_that_was_killed_is_replaced_at_once(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpool.durable.postgres.RECONNECTS_WITHIN_S", 60.0)  # there is nothing to wait for
    with processes(postgres_dsn, tmp_path / "bill", ()) as (process,):
        process.say("run")
        assert await to_thread.run_sync(process.hear) == "has it"
        async with PostgresJournal(postgres_dsn) as journal:
            with anyio.fail_after(10), pytest.raises(RunInUse, match=f"process {process.process.pid} on"):
                await journal.open_run(opening())
            process.kill()
            with anyio.fail_after(10):
                await journal.open_run(opening())


async def test_one_that_was_killed_on_another_machine_is_known_by_the_end_of_its_session(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with processes(postgres_dsn, tmp_path / "bill", ("elsewhere",)) as (process,):
        process.say("run")
        assert await to_thread.run_sync(process.hear) == "has it"
        async with PostgresJournal(postgres_dsn) as journal:
            with monkeypatch.context() as patch:
                patch.setattr("carpool.durable.postgres.RECONNECTS_WITHIN_S", 60.0)
                with anyio.fail_after(10), pytest.raises(RunInUse, match="on elsewhere"):
                    await journal.open_run(opening())
            assert [journal.is_live(header) for header in await journal.runs()] == [True]
            process.kill()
            with anyio.fail_after(10):  # it is silent after 15
                await journal.open_run(opening())


async def test_who_has_only_lost_its_session_keeps_its_run(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    ours = f"locktype = 'advisory' AND classid::bigint >> 16 = {0x6370}"
    here = f"database = (SELECT oid FROM pg_database WHERE datname = '{database(postgres_dsn)}')"
    async with elsewhere(PostgresJournal(postgres_dsn)) as owner, PostgresJournal(postgres_dsn) as other:
        await owner.open_run(opening())
        await anyio.sleep(0.5)  # until it has given its first sign of life, and has nothing else to do
        end = f"SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE {ours} AND {here}"
        assert postgres_server.execute(end) == [(1,)]
        with pytest.raises(RunInUse):
            await other.open_run(opening())


async def test_who_seems_silent_since_the_servers_clock_was_set_keeps_its_run(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpool.durable.postgres.BEAT_S", 0.2)
    async with elsewhere(PostgresJournal(postgres_dsn)) as owner, PostgresJournal(postgres_dsn) as other:
        now = owner.now
        owner.now = lambda: now() - 86_400
        await owner.open_run(opening())
        owner.now = now
        with pytest.raises(RunInUse):
            await other.open_run(opening())


async def test_signs_of_life_go_on_when_the_servers_clock_is_set_back(postgres_dsn: str) -> None:
    async with PostgresJournal(postgres_dsn) as owner, PostgresJournal(postgres_dsn) as other:
        await owner.open_run(opening())
        await anyio.sleep(0.4)  # until it has given its first, and has nothing to say for a while
        hear = owner._hear
        for tables in (owner._session, *owner._idle):
            tables._hear = lambda clock: hear(clock - 86_400)
        await owner.header("run")  # so it hears of the new time
        for _ in range(200):
            seen = await other.header("run")
            if seen is not None and seen.beat < other.now() - 80_000:
                return
            await anyio.sleep(0.01)
        raise AssertionError("no sign of life in the new time")


async def test_who_is_silent_is_replaced_and_writes_nothing_more(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpool.durable.ownership.SILENCE_S", 0.3)
    monkeypatch.setattr("carpool.durable.postgres.RECONNECTS_WITHIN_S", 0.1)
    monkeypatch.setattr("carpool.durable.postgres.BEAT_S", 0.1)
    async with elsewhere(PostgresJournal(postgres_dsn)) as frozen, PostgresJournal(postgres_dsn) as other:
        frozen._writer._tick = lambda: True  # its thread writes nothing unasked, as if it were stopped
        recall = await frozen.open_run(opening())
        await anyio.sleep(0.4)
        await other.open_run(opening())
        before = await other.read("run")
        with pytest.raises(RunInUse):
            await recall.approved("yes")
        assert (await other.read("run")).rows == before.rows
        assert before.header.epoch == 2


async def test_a_process_that_is_stopped_in_a_transaction_locks_nobody_out(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpool.durable.postgres_tables._IDLE_S", 0.2)
    began, wakes, tried = Event(), Event(), []

    def step(header: RunHeader | None) -> Step:
        tried.append(header and header.about)
        if len(tried) == 1:
            began.set()
            assert wakes.wait(10)
        return appending(b"1")(header)

    async with PostgresJournal(postgres_dsn) as stopped, PostgresJournal(postgres_dsn) as other:
        await other.describe("run", {"a": 0})
        async with anyio.create_task_group() as group:
            group.start_soon(stopped.change, "run", step)
            await to_thread.run_sync(began.wait)
            with anyio.fail_after(10):
                await other.describe("run", {"a": 1})
            wakes.set()
        assert tried == [{"a": 0}, {"a": 1}]
        assert len((await other.read("run")).rows) == 1


async def test_the_clock_is_the_servers(postgres_dsn: str, postgres_server: PostgresServer) -> None:
    async with PostgresJournal(postgres_dsn) as journal:
        journal._ahead = 0.0
        await journal.describe("run", {})
        ((now,),) = postgres_server.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert abs(journal.now() - now) < 1.0


async def test_a_server_that_has_lost_what_it_promised_is_found_out(postgres_dsn: str) -> None:
    """As after a failover to a standby that lagged behind: what follows would have no beginning."""
    async with PostgresJournal(postgres_dsn) as journal:
        recall = await journal.open_run(opening())
        with psycopg.connect(postgres_dsn) as connection:
            before = connection.execute("SELECT header, digest FROM carpool.runs").fetchone()
        await recall.approved("yes")
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("UPDATE carpool.runs SET header = %s, digest = %s", before)
            connection.execute("DELETE FROM carpool.rows WHERE number = 2")
        with pytest.raises(JournalCorrupt, match="its last 1 rows are gone, as if a standby had taken over"):
            await recall.approved("no")


async def test_a_forked_child_is_told_to_make_its_own(postgres_dsn: str) -> None:
    async with PostgresJournal(postgres_dsn) as journal:
        await journal.describe("run", {"a": 1})
        await journal.runs()
        journal.owner = replace(journal.owner, pid=os.getpid() + 1)  # as it is in a child
        for asked in (journal.runs(), journal.describe("run", {})):
            with pytest.raises(JournalError, match="opened before a fork; make a new one in each process"):
                await asked
        journal.owner = replace(journal.owner, pid=os.getpid())
        assert len(await journal.runs()) == 1


# What is told when it can't be


SECRET = "s3cr3t-Pass"


@pytest.fixture
def nobody_there() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    "form",
    ["postgresql://me:{secret}@127.0.0.1:{port}/mine", "host=127.0.0.1 port={port} dbname=mine password={secret}"],
)
async def test_a_server_that_is_not_there_is_told_at_once_and_without_the_password(
    nobody_there: int, form: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    began = monotonic()
    async with PostgresJournal(form.format(secret=SECRET, port=nobody_there)) as journal:
        told = [repr(journal), str(journal), journal.place, repr(journal._database)]
        for asked in (journal.runs(), journal.describe("run", {}), journal.open_run(opening())):
            with pytest.raises(JournalError, match=f"postgresql://127.0.0.1:{nobody_there}/mine.*efused") as raised:
                await asked
            told.append("".join(traceback.format_exception(raised.value)))
    assert monotonic() - began < 10.0
    with pytest.raises(JournalError, match="is closed") as raised:
        await journal.describe("run", {})
    told += [str(raised.value), caplog.text, *capfd.readouterr()]
    assert [text for text in told if SECRET in text] == []


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cr3t@Pass@host/mine",
        "postgresql://me:s3cr3t/Pass@host/mine",
        "postgresql://me:12/Pass@host/mine",
        "postgresql://me:s3cr3t%zz@host/mine",
        "me:s3cr3t@host",
        "host=a password='s3cr3t",
        "host=a password=s3cr3t Pass",
        "host=a\0 password=s3cr3t",
        "host=a passwort=s3cr3t",
    ],
)
def test_a_dsn_that_cannot_be_read_is_not_shown(dsn: str) -> None:
    with pytest.raises(ValueError, match="the dsn can't be read") as raised:
        PostgresJournal(dsn)
    told = "".join(traceback.format_exception(raised.value, chain=True))
    assert "s3cr3t" not in told.replace(dsn, "")
    assert "Pass" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_dsn_is_text() -> None:
    with pytest.raises(TypeError, match="dsn must be a str, not a PosixPath"):
        PostgresJournal(Path("runs.db"))


def test_without_the_extra_it_says_what_to_install() -> None:
    probe = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from carpool.durable.postgres import PostgresJournal\n"
        "from carpool.errors import ConfigError\n"
        "try: PostgresJournal('')\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "PostgresJournal needs the extra postgres: pip install 'carpool[postgres]'\n"


def test_nothing_is_loaded_before_one_is_made() -> None:
    probe = "import sys, carpool.durable.postgres; print('psycopg' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_what_the_server_refuses_is_told_with_what_to_do(postgres_dsn: str) -> None:
    wrong = {
        f"{postgres_dsn} dbname=nowhere": 'database "nowhere" does not exist',
        f"{postgres_dsn} user=nobody": 'role "nobody" does not exist',
        f"{postgres_dsn} sslmode=require": "SSL",
    }
    for dsn, said in wrong.items():
        async with PostgresJournal(dsn) as journal:
            with pytest.raises(JournalError, match=said):
                await journal.describe("run", {})


async def test_tables_of_somebody_else_are_left_alone(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("CREATE SCHEMA carpool; CREATE TABLE carpool.journal (entry text)")
    async with PostgresJournal(postgres_dsn) as journal:
        for asked in (journal.runs(), journal.describe("run", {})):
            with pytest.raises(JournalCorrupt, match="its tables are not as they were made"):
                await asked
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'carpool'").fetchone() == (1,)


def database(dsn: str) -> str:
    return dsn.partition("dbname=")[2].split()[0]
