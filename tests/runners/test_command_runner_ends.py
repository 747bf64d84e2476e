"""That nothing of a command outlives it, or us; and that no output is too much."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from random import Random
from time import monotonic

import anyio
import pytest

import carpool
from carpool import AgentSpec, TokenAccounting, open_run
from carpool.runners.command import CommandRunner

from ..tools.children import is_alive, own_children, own_pipes, pids_in, until, written
from .commands import ask, python, shell

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(carpool.__file__).parents[1])}

DAEMON = """
import os, sys, time
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
note()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.closerange(0, 3)
    note()
    if os.fork() == 0:
        os.setpgid(0, 0)
        note()
    time.sleep(60)
while len(open(sys.argv[1]).readlines()) < 3:
    time.sleep(0.01)
"""
"""Notes the id of itself, of a daemon as the books have it, and of its child in yet another group."""


def carrying(token: str) -> set[int]:
    """The processes in whose environment ``token`` stands."""
    found: set[int] = set()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                if token.encode() in (each / "environ").read_bytes() and is_alive(int(each.name)):
                    found.add(int(each.name))
            except OSError:
                continue
    return found


def keepers(parents: set[int]) -> set[int]:
    """The keepers of commands of these processes."""
    found: set[int] = set()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                arguments = (each / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(arguments) > 6 and arguments[3].endswith(b"keeper.py") and int(arguments[6]) in parents:
                found.add(int(each.name))
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# With the agent


async def test_a_daemon_ends_with_the_command_that_started_it(tmp_path: Path) -> None:
    output = await ask(python(DAEMON + "print('done')", str(tmp_path / "pids")))

    assert output.answer == "done"
    pids = await pids_in(tmp_path / "pids", 3)
    assert not any(map(is_alive, pids))


async def test_a_daemon_ends_with_a_timeout(tmp_path: Path) -> None:
    output = await ask(python(DAEMON + "time.sleep(60)", str(tmp_path / "pids"), timeout_s=2))

    assert "no end within 2 s" in str(output.error)
    pids = await pids_in(tmp_path / "pids", 3)
    assert not any(map(is_alive, pids))


async def test_a_daemon_ends_with_a_cancellation(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ask, python(DAEMON + "time.sleep(60)", str(tmp_path / "pids")))
        pids = await pids_in(tmp_path / "pids", 3)
        assert all(map(is_alive, pids))
        group.cancel_scope.cancel()

    assert not any(map(is_alive, pids))


async def test_who_forks_all_the_time_is_ended(tmp_path: Path) -> None:
    restless = """
import os, sys, time
os.environ.clear()
until = time.monotonic() + 20
while time.monotonic() < until:
    if os.fork():
        time.sleep(0.002)
        os._exit(0)  # only its child goes on, which loses its parent at once
    os.setsid()
"""
    token = f"CARPOOL_RESTLESS={tmp_path}"
    runner = CommandRunner(
        ["/bin/sh", "-c", '"$1" -I -S -c "$2" & sleep 0.4; echo done', "sh", sys.executable, "{metadata.script}"],
        env=["PATH", token],
    )
    output = await ask(runner, metadata={"script": restless})

    assert output.answer == "done"
    assert carrying(token) == set()


async def test_who_ignores_the_request_to_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    began = monotonic()
    output = await ask(shell(f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 60", timeout_s=1, grace_s=0.3))

    assert "no end within" in str(output.error)
    assert 1.3 <= monotonic() - began < 6
    assert not any(map(is_alive, written(tmp_path / "pid")))


async def test_who_wants_to_clean_up_has_time_to(tmp_path: Path) -> None:
    trap = f"trap 'echo cleaned > {tmp_path}/done; exit 0' TERM; echo ready > {tmp_path}/ready"
    async with anyio.create_task_group() as group:
        group.start_soon(ask, shell(f"{trap}; while :; do sleep 0.01; done"))
        assert await until((tmp_path / "ready").exists)
        group.cancel_scope.cancel()

    assert (tmp_path / "done").read_text() == "cleaned\n"


async def test_a_grandchild_that_holds_standard_output_is_not_waited_for(tmp_path: Path) -> None:
    began = monotonic()
    output = await ask(shell(f"(sleep 60 & echo $! > {tmp_path}/pid); setsid sleep 60 & echo done"))

    assert output.answer == "done"
    assert monotonic() - began < 3
    assert not any(map(is_alive, written(tmp_path / "pid")))


async def test_orphans_do_not_pile_up_while_the_command_runs() -> None:
    script = """
for n in 1 2 3 4 5 6 7 8 9 10; do (true &); done
sleep 1.5
cat /proc/[0-9]*/stat | grep -c ") Z $PPID "
"""
    output = await ask(shell(script))

    assert int(output.answer) <= 1  # the one that grep's pipe may just have ended


async def test_five_hundred_cancellations_at_any_moment_leave_nobody(tmp_path: Path) -> None:
    token, chance = f"CARPOOL_CANCELLED={tmp_path}", Random(6)
    family = "sleep 60 & (setsid sleep 60 &); trap '' TERM; echo $$ > \"$1\"; wait"
    runner = shell(family, "{task}", env=["PATH", token], grace_s=0.01)
    children, pipes = own_children(), own_pipes()

    async def one(number: int) -> None:
        """Cancelled at any moment, or any moment after it has begun."""
        note = tmp_path / str(number)
        async with open_run(runner=runner) as run, anyio.create_task_group() as group:
            group.start_soon(run.agent, AgentSpec("agent", ""), str(note))
            if number % 2:
                assert await until(note.exists)
            await anyio.sleep(chance.uniform(0, 0.1))
            group.cancel_scope.cancel()

    for start in range(0, 500, 20):
        async with anyio.create_task_group() as group:
            for number in range(start, start + 20):
                group.start_soon(one, number)

    assert carrying(token) == set()
    assert own_children() - children == set()
    assert own_pipes() <= pipes


# With us


def test_a_hundred_times_that_we_are_killed_nobody_is_left(tmp_path: Path) -> None:
    program = [sys.executable, HERE / "killed_teams.py", "100", tmp_path]
    killed = subprocess.run(program, env=ENVIRONMENT, check=True, timeout=50, stdout=subprocess.PIPE)
    last_kill, teams = monotonic(), set(map(int, killed.stdout.split()))
    left = {0}
    while left and monotonic() - last_kill < 5:
        left = carrying(f"CARPOOL_TEAM={tmp_path}") | keepers(teams)

    assert left == set()
    assert len(teams) == 100
    assert len(list(tmp_path.iterdir())) >= 50


KILLED = """
import os, sys
import anyio
from carpool import AgentSpec, TokenAccounting, open_run
from carpool.runners.command import CommandRunner

async def main():
    async with open_run(runner=CommandRunner(["/bin/sh", "-c", sys.argv[1]])) as run:
        await run.agent(AgentSpec("agent", ""), "go")

{prelude}
anyio.run(main)
"""


def killed(script: str, pids: Path, count: int, prelude: str = "") -> list[int]:
    """The processes that ``script`` noted, after that which runs it was killed."""
    program = KILLED.replace("{prelude}", prelude)
    process = subprocess.Popen([sys.executable, "-c", program, script], env=ENVIRONMENT)
    try:
        began = monotonic()
        while len(written(pids)) < count and monotonic() - began < 10:
            pass
        noted = written(pids)
        assert len(noted) >= count
        assert all(map(is_alive, noted))
    finally:
        process.kill()
        process.wait()
    return noted


async def test_when_we_are_killed_a_daemon_ends_too(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON + "time.sleep(60)")

    pids = killed(f"exec {sys.executable} -I -S {tmp_path}/daemon.py {tmp_path}/pids", tmp_path / "pids", 3)

    assert await until(lambda: not any(map(is_alive, pids)))


async def test_when_we_are_killed_a_command_that_has_stopped_its_keeper_ends_too(tmp_path: Path) -> None:
    pids = killed(f"kill -STOP $PPID; echo $$ >> {tmp_path}/pids; exec sleep 60", tmp_path / "pids", 1)

    assert await until(lambda: not any(map(is_alive, pids)))


async def test_when_we_are_killed_a_fork_of_us_does_not_keep_the_command_alive(tmp_path: Path) -> None:
    """The fork has the other end of each pipe too, so that none comes to its end."""
    fork = f"""
import threading, time
def fork():
    time.sleep(0.5)
    if os.fork() == 0:
        open({str(tmp_path / "fork")!r}, "w").write(str(os.getpid()))
        time.sleep(60)
threading.Thread(target=fork).start()
"""
    script = f"until test -e {tmp_path}/fork; do sleep 0.01; done; echo $$ >> {tmp_path}/pids; exec sleep 60"
    pids = killed(script, tmp_path / "pids", 1, fork)
    try:
        assert await until(lambda: not any(map(is_alive, pids)))
    finally:
        os.kill(*written(tmp_path / "fork"), 9)


# However much it says


def test_no_output_is_too_much() -> None:
    program = subprocess.run(
        [sys.executable, HERE / "floods.py"], env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=55
    )

    floods = [json.loads(line) for line in program.stdout.splitlines()]
    assert len(floods) == 7
    for flood in floods:
        assert flood["mb"] < 64, flood
        assert "the end" in flood["answer"] or "more bytes left out" in flood["answer"], flood


async def test_a_long_command_line_arrives_whole() -> None:
    metadata = {f"part{number}": "x" * 100_000 for number in range(12)}
    runner = CommandRunner(
        ["/bin/sh", "-c", 'echo "$#:$*" | wc -c', "sh", *(f"{{metadata.{name}}}" for name in metadata)]
    )

    assert (await ask(runner, metadata=metadata)).answer == str(12 * 100_000 + 11 + len("12:\n"))


async def test_many_commands_run_at_the_same_time() -> None:
    runner = shell("sleep 0.5; echo $1", "{name}")
    began = monotonic()
    async with open_run(runner=runner) as run:
        outputs = await run.fan_out([(AgentSpec(f"a{number}", ""), "") for number in range(40)], None)

    assert [output.answer for output in outputs] == [f"a{number}" for number in range(40)]
    assert monotonic() - began < 10


async def test_too_many_open_files_fail_some_agents_and_leave_nobody() -> None:
    runner = shell("sleep 0.3; echo $1", "{name}")
    await ask(runner)  # what is loaded when first needed is loaded now
    children, pipes = own_children(), own_pipes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 40, hard))
    try:
        async with open_run(runner=runner) as run:
            outputs = await run.fan_out([(AgentSpec(f"a{number}", ""), "") for number in range(20)], None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    failed = [output for output in outputs if output.error is not None]
    assert 0 < len(failed) < 20
    for output in failed:
        assert output.error == "/bin/sh could not be started: Too many open files"
        assert output.tokens == TokenAccounting()
    assert own_children() - children == set()
    assert own_pipes() <= pipes
