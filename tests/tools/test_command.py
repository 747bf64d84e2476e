"""A command's life: what it is given, what is kept of what it says, and that all of it ends with the call."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from time import monotonic

import anyio
import pytest

from carpool import SharedInfra
from carpool.actions import Action, ActionProposal
from carpool.errors import ToolError
from carpool.events import encode
from carpool.tools import CommandTool

from .children import is_alive, pids_in, python, run, runtime_with, shell, until, written

pytestmark = [
    pytest.mark.usefixtures("leaving_no_process"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc"),
]


# What it is given


async def test_a_command_gets_its_arguments_and_gives_its_output() -> None:
    tool = python("import sys; print(sys.argv[1:])", "--n={n}", "{word}")

    assert await run(tool, n="1", word="a b; exit 1 $(id)") == "['--n=1', 'a b; exit 1 $(id)']\n"


async def test_no_shell_sees_an_argument(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    output = await run(CommandTool("it", ["echo", "x{a}"]), a=f"; touch {canary} $(touch {canary}) `touch {canary}`\n")

    assert output.startswith("x; touch")
    assert not canary.exists()


async def test_the_environment_is_empty_but_for_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "DATABASE_URL", "HOME", "LD_PRELOAD_X", "ALLOWED"):
        monkeypatch.setenv(name, f"canary {name}")
    show = "import os; print(sorted(os.environ.items()))"

    plain = await run(python(show))
    some = await run(python(show, env=["ALLOWED", "MISSING", "SET=to = this", "EMPTY="]))

    assert "canary" not in plain
    assert "PATH" in plain
    assert {name for name, _ in eval(some)} == {"ALLOWED", "EMPTY", "SET", "LC_CTYPE"}
    assert ("SET", "to = this") in eval(some)


async def test_the_children_of_a_command_see_no_more_than_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")

    assert "canary" not in await run(shell("env; sh -c env; tr '\\0' '\\n' < /proc/self/environ"))


async def test_standard_input_is_closed_or_what_it_was_given() -> None:
    count = "import sys; data = sys.stdin.buffer.read(); print(len(data), data[:3])"

    assert await run(python(count)) == "0 b''\n"
    assert await run(python(count, stdin="text"), text="héy") == "4 b'h\\xc3\\xa9'\n"
    assert await run(python(count, stdin="text"), text="x" * 3_000_000) == "3000000 b'xxx'\n"


async def test_a_command_that_does_not_read_its_input_is_not_waited_for() -> None:
    assert await run(shell("exec 0<&-; echo done", stdin="text"), text="x" * 3_000_000) == "done\n"


async def test_a_command_that_reads_as_slowly_as_it_writes_does_not_block_itself() -> None:
    assert len(await run(CommandTool("it", ["cat"], stdin="text"), text="y" * 900_000)) == 900_000


async def test_it_works_in_the_workspace_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    where = python("import os; print(os.getcwd())")
    runtime = runtime_with(where)
    runtime.register_tool(CommandTool("in_sub", ["pwd"], cwd="sub"))
    runtime.register_tool(CommandTool("elsewhere", ["pwd"], cwd=tmp_path))

    assert await runtime.call_tool("it") == f"{Path.cwd()}\n"
    runtime.workspace = tmp_path / "mine"

    assert await runtime.call_tool("it") == f"{tmp_path / 'mine'}\n"
    assert await runtime.call_tool("in_sub") == f"{tmp_path / 'mine' / 'sub'}\n"
    assert await runtime.call_tool("elsewhere") == f"{tmp_path}\n"


async def test_a_command_has_nothing_open_that_is_ours(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w"):
        output = await run(shell("ls /proc/self/fd | wc -l"))

    assert int(output) == 4  # in, out, err, and the folder that ls reads


# What it says


async def test_bytes_that_are_no_text_are_replaced() -> None:
    assert await run(python("import os; os.write(1, b'a\\xff\\xfe\\x00b')")) == "a\ufffd\ufffd\0b"


async def test_what_is_beyond_the_bound_is_counted_and_left_out() -> None:
    tool = python("print('x' * 5000)", max_output_bytes=1000)

    assert await run(tool) == "x" * 1000 + "\n[4,001 more bytes left out]"


WRITES = {
    "lines": "yes 0123456789 | head -c {n}",
    "one line": "head -c {n} /dev/zero | tr '\\0' x",
    "binary": "head -c {n} /dev/urandom",
    "on standard error": "head -c {n} /dev/zero >&2",
    "on both": "head -c {n} /dev/zero >&2 & head -c {n} /dev/zero; wait",
}


@pytest.mark.parametrize("what", WRITES)
async def test_a_flood_takes_no_memory(what: str) -> None:
    await run(shell("echo warm"))
    tool = shell(WRITES[what].replace("{n}", "104857600"), max_output_bytes=100_000)
    tracemalloc.start()
    try:
        output = await run(tool)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(output) <= 100_000 + 100
    assert peak < 2_000_000


async def test_a_gigabyte_comes_to_an_end() -> None:
    output = await run(shell("head -c 1073741824 /dev/zero", max_output_bytes=10))

    assert output.endswith("[1,073,741,814 more bytes left out]")


async def test_output_without_end_ends_with_the_time() -> None:
    with pytest.raises(ToolError, match=r"no end within 0.2 s"):
        await run(CommandTool("it", ["yes"], timeout_s=0.2))


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 1_000_000])
async def test_a_line_of_any_length_is_whole(size: int) -> None:
    assert await run(python(f"print('x' * {size}, end='')")) == "x" * size


# How it ends


async def test_an_exit_code_is_a_failed_action_with_the_end_of_standard_error() -> None:
    script = "import sys; sys.stderr.write('first ' + 'x' * 9000 + ' last'); sys.exit(3)"

    with pytest.raises(ToolError, match=r"exit code 3: x+ last$") as error:
        await run(python(script))

    assert len(str(error.value)) < 5_000


async def test_other_exit_codes_can_be_a_success() -> None:
    finds = CommandTool("it", ["grep", "-c", "--", "{word}"], stdin="text", success_codes=(0, 1))

    assert await run(finds, word="-x", text="a\nb -x\n") == "1\n"
    assert await run(finds, word="nothing", text="a\n") == "0\n"
    with pytest.raises(ToolError, match="exit code 2"):
        await run(finds, word="[", text="a")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM"])
async def test_a_signal_is_named(name: str) -> None:
    with pytest.raises(ToolError, match=f"ended by {name}"):
        await run(python(f"import os, signal; os.kill(os.getpid(), signal.{name})"))


async def test_a_program_that_there_is_none_of_is_named() -> None:
    with pytest.raises(ToolError, match=r"no_such_program could not be started: No such file"):
        await run(CommandTool("it", ["no_such_program"]))
    with pytest.raises(ToolError, match=r"could not be started: No such file.*/no/such/folder"):
        await run(CommandTool("it", ["echo"], cwd="/no/such/folder"))
    with pytest.raises(ToolError, match="could not be started: Permission denied"):
        await run(CommandTool("it", ["/etc/passwd"]))


async def test_an_argument_that_is_too_long_for_the_system_is_a_failure() -> None:
    with pytest.raises(ToolError, match="could not be started: Argument list too long"):
        await run(CommandTool("it", ["echo", "{a}"]), a="x" * 300_000)


async def test_a_secret_in_standard_error_is_not_told() -> None:
    secret = "correct horse battery"
    tool = shell(f"echo 'the password is {secret}' >&2; exit 1")
    runtime = SharedInfra(tools=[tool], secrets=[secret]).make_runtime()

    result = await runtime.execute(ActionProposal(actions=[Action(tool="it")]))

    assert "the password is [secret]" in (result.results[0].error or "")
    assert secret.encode() not in b"".join(map(encode, runtime.log.events()))


async def test_a_failed_command_can_be_tried_again(tmp_path: Path) -> None:
    count = tmp_path / "count"
    tool = shell(f'echo x >> "{count}"; test $(wc -l < "{count}") -ge 3 && echo worked')
    action = Action(tool="it", failure_behavior="retry")  # type: ignore[arg-type]

    result = await runtime_with(tool).execute(ActionProposal(actions=[action]))

    assert (result.results[0].output, result.cost.retries) == ("worked\n", 2)


# That all of it ends


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(60)
"""
FAMILY = """
import os, sys, time
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
note()
for _ in range(2):
    if os.fork() == 0:
        note()
        if os.fork() == 0:
            note()
        time.sleep(60)
time.sleep(60)
"""


async def test_on_a_timeout_the_whole_family_ends(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no end within"):
        await run(python(FAMILY, "{where}", timeout_s=0.5), where=str(tmp_path / "pids"))

    pids = await pids_in(tmp_path / "pids", 5)
    assert await until(lambda: not any(map(is_alive, pids)))


async def test_on_a_cancellation_the_whole_family_ends(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run(python(FAMILY, "{where}"), where=str(tmp_path / "pids")))
        pids = await pids_in(tmp_path / "pids", 5)
        assert all(map(is_alive, pids))
        group.cancel_scope.cancel()

    assert await until(lambda: not any(map(is_alive, pids)))


async def test_who_ignores_the_request_to_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    began = monotonic()
    with pytest.raises(ToolError, match="no end within"):
        await run(python(STUBBORN, "{where}", timeout_s=0.5, grace_s=0.3), where=str(tmp_path / "pids"))

    assert 0.8 <= monotonic() - began < 5
    (pid,) = await pids_in(tmp_path / "pids", 1)
    assert not is_alive(pid)


async def test_who_wants_to_clean_up_has_time_to(tmp_path: Path) -> None:
    trap = f"trap 'echo cleaned > {tmp_path}/done; exit 0' TERM; echo ready > {tmp_path}/ready"
    script = f"{trap}; while :; do sleep 0.01; done"
    async with anyio.create_task_group() as group:
        group.start_soon(run, shell(script))
        assert await until((tmp_path / "ready").exists)
        group.cancel_scope.cancel()

    assert (tmp_path / "done").read_text() == "cleaned\n"


async def test_a_grandchild_that_holds_standard_output_is_not_waited_for(tmp_path: Path) -> None:
    began = monotonic()

    output = await run(shell(f"sleep 60 & echo $! > {tmp_path}/pid; echo done"))

    assert output == "done\n"
    assert monotonic() - began < 5
    pid = int((tmp_path / "pid").read_text())
    assert await until(lambda: not is_alive(pid))


async def test_one_with_a_session_of_its_own_is_not_waited_for_and_ends_too(tmp_path: Path) -> None:
    began = monotonic()

    output = await run(shell(f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & echo done; sleep 0.3"))

    assert output == "done\n"
    assert monotonic() - began < 5
    (pid,) = await pids_in(tmp_path / "pid", 1)
    assert not is_alive(pid)


async def test_a_hundred_cancellations_at_any_moment_leave_nobody(tmp_path: Path) -> None:
    tool = shell(f"echo $$ >> {tmp_path}/pids; sleep 60 & wait")

    async def one(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await run(tool)

    for _ in range(5):
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, number * 0.0005)

    assert not any(map(is_alive, written(tmp_path / "pids")))


async def test_many_commands_run_at_the_same_time() -> None:
    runtime = runtime_with(CommandTool("it", ["sh", "-c", "sleep 0.3; echo $0", "{n}"]))
    outputs: list[str] = []

    async def one(number: int) -> None:
        outputs.append(await runtime.call_tool("it", n=str(number)))

    began = monotonic()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)

    assert sorted(map(int, outputs)) == list(range(20))
    assert monotonic() - began < 4


async def test_when_this_process_is_killed_the_command_ends_too(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import anyio
        from carpool import SharedInfra
        from carpool.tools import CommandTool
        script = "echo $$ >> {tmp_path}/pids; sleep 60 & echo $! >> {tmp_path}/pids; wait"
        runtime = SharedInfra(tools=[CommandTool("it", ["sh", "-c", script])]).make_runtime()
        anyio.run(runtime.call_tool, "it")
    """)
    import carpool

    source = str(Path(carpool.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)  # noqa: ASYNC220 - is killed below
    try:
        pids = await pids_in(tmp_path / "pids", 2)
        assert all(map(is_alive, pids))
    finally:
        process.kill()
        process.wait()

    assert await until(lambda: not any(map(is_alive, pids)))
