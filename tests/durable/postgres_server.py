"""A private PostgreSQL server for the tests that need one: on loopback, in a folder of its own, gone afterwards.

It is started by the first test that asks for ``postgres_server`` or ``postgres_dsn``, once for the whole session,
and only if the server's programs are installed (Debian: ``apt-get install postgresql``) and psycopg is; else these
tests are skipped, with the reason in pytest's summary.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from pathlib import Path

import pytest

_STARTS_WITHIN_S = 30.0
_ACCOUNT = "postgres"  # initdb refuses root

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # a process that is killed loses nothing by it, and no test pulls the plug
    "max_connections": "200",
    "log_min_messages": "warning",
    "dynamic_shared_memory_type": "mmap",  # containers give /dev/shm too little
}


# What setpriv calls the death of the parent is that of the thread which started it: one that stays as long as we do.
_SPAWNER = ThreadPoolExecutor(1)


class PostgresServer:
    """One server, whatever becomes of it: ``crash``, ``stop``, ``start``. Its data outlive all of these."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="carpool-pg-"))  # short: a socket's path has 107 bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self.port = _free_port()
        try:
            if _is_root():
                account = pwd.getpwnam(_ACCOUNT)
                os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
            self.start()
        except BaseException:
            self.remove()
            raise

    # Connecting

    def dsn(self, database: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database} connect_timeout=10"

    def new_database(self) -> str:
        """The dsn of an empty database."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self.dsn(name)

    def execute(self, statement: str) -> list[tuple]:
        """Run one statement as superuser, outside any transaction; its rows, if it has any."""
        import psycopg

        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    # Its life

    def start(self) -> None:
        """Returns when it takes connections. A port that somebody took meanwhile is replaced by another."""
        for _ in range(3):
            if self._started():
                return
            self.port = _free_port()
        raise RuntimeError(f"PostgreSQL does not start:\n{self.log()}")

    def _started(self) -> bool:
        settings = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = _SPAWNER.submit(
                subprocess.Popen,
                [*_as_its_user(), self._programs / "postgres", "-D", self._data, *options],
                cwd=self._folder,
                env=_environment(),
                stdout=log,
                stderr=log,
            ).result()
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._takes_connections():
                return True
            time.sleep(0.02)
        self.crash()
        return False

    def _takes_connections(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn()).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """As an administrator does: sessions are ended, what they did not commit is rolled back."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """At once, without a word to anybody; it recovers with the next ``start``."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STARTS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def log(self) -> str:
        """What it has said, the last of it."""
        path = self._folder / "log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_its_user(), self._programs / program, "-D", self._data, *arguments]
        done = subprocess.run(command, cwd=self._folder, env=_environment(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stderr.decode(errors='replace')}")


@cache
def the_server() -> PostgresServer:
    """One for the process, whoever asks first."""
    programs = _programs()
    if programs is None:
        raise LookupError("PostgreSQL's server is not installed here (Debian: apt-get install postgresql)")
    if _is_root() and not _has_account():
        raise LookupError(f"PostgreSQL does not run as root, and there is no user {_ACCOUNT!r} to run it as")
    server = PostgresServer(programs)
    atexit.register(server.remove)
    return server


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """The server. A test that stops it starts it again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'carpool[postgres]'")
    try:
        return the_server()
    except LookupError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database for one test; whoever is still connected afterwards is thrown out."""
    dsn = postgres_server.new_database()
    yield dsn
    name = dsn.partition("dbname=")[2].split()[0]
    postgres_server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _programs() -> Path | None:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if found := shutil.which("initdb"):
        candidates.append(Path(found).resolve().parent)
    return next((each for each in candidates if (each / "initdb").exists() and (each / "postgres").exists()), None)


def _version(programs: Path) -> float:
    number = programs.parent.name
    return float(number) if number.replace(".", "", 1).isdigit() else 0.0


def _is_root() -> bool:
    return os.geteuid() == 0


def _has_account() -> bool:
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        return False
    return shutil.which("setpriv") is not None


def _as_its_user() -> list[str]:
    """Not as root; and, where setpriv is to be had, not longer than the tests live, however they end."""
    if shutil.which("setpriv") is None:
        return []
    drop = [f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--init-groups"] if _is_root() else []
    return ["setpriv", *drop, "--pdeathsig", "QUIT", "--"]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
