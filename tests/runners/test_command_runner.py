"""What a command is given, what is made of its output, how it fails, and what that costs."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from carpool import AgentSpec, BudgetLimits, SharedInfra, Swarm, TokenAccounting, Vote
from carpool.errors import ConfigError
from carpool.events import encode
from carpool.runners.command import ENVIRONMENT, CommandRunner
from carpool.runners.command_output import JsonLines, JsonOutput, TextOutput
from carpool.tools import process
from carpool.types import OutcomeStatus
from carpool.workspace import Workspaces

from ..tools.children import is_alive, own_children, own_pipes, pids_in, until
from .commands import ask, python, saying, shell

pytestmark = [
    pytest.mark.usefixtures("leaving_nobody"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc"),
]


@pytest.fixture
def leaving_nobody():
    children, pipes = own_children(), own_pipes()
    yield
    assert own_children() - children == set()
    assert own_pipes() <= pipes


HOLD = TokenAccounting(input_tokens=1000, output_tokens=200, cost_usd=0.5)
REPORT = JsonOutput(
    answer="answer",
    error="failed",
    turns="turns",
    usage={"input_tokens": "in", "output_tokens": "out", "cost_usd": "cost"},
)
EVENTS = JsonLines(
    answer="text",
    where={"type": "message"},
    usage={"input_tokens": "in", "output_tokens": "out", "cost_usd": 0},
)


def reporting(**fields: Any) -> CommandRunner:
    return saying(json.dumps(fields), output=REPORT)


# What it is given


async def test_the_task_comes_on_standard_input_and_the_answer_on_standard_output() -> None:
    output = await ask(CommandRunner(["cat"]), "what is it?")

    assert (output.answer, output.error, output.succeeded) == ("what is it?", None, True)


async def test_a_system_prompt_without_a_place_comes_before_the_task() -> None:
    assert (await ask(CommandRunner(["cat"]), "why?", system_prompt="Be kind.")).answer == "Be kind.\n\nwhy?"


async def test_no_shell_sees_a_task(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    task = f"; touch {canary} $(touch {canary}) `touch {canary}` \n \\ * ' \" {{task}}"

    output = await ask(CommandRunner(["printf", "%s|%s", "x{task}", "{name}"]), task)

    assert output.answer == f"x{task}|agent"
    assert not canary.exists()


async def test_each_agent_gets_its_own_values() -> None:
    runner = CommandRunner(["echo", "{name}", ["--model", "{model_name}"], "{task}"])
    team = Swarm([AgentSpec("ann", "", model="openai:gpt"), AgentSpec("bob", "")], "parallel")

    result = await team.run("go", runner=runner)

    assert [output.answer for output in result.outputs[:2]] == ["ann --model gpt go", "bob go"]


async def test_the_environment_is_empty_but_for_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OPENAI_API_KEY", "HOME", "LD_PRELOAD_X", "PYTHONPATH", "ALLOWED")
    for name in names:
        monkeypatch.setenv(name, f"canary {name}")

    plain = await ask(shell("env; tr '\\0' '\\n' < /proc/self/environ; sh -c env"))
    some = await ask(shell("exec env"), infra=None)
    named = await ask(shell("exec env", env=[*ENVIRONMENT, "ALLOWED", "MISSING", "SET=to = this", "EMPTY="]))

    assert "canary" not in plain.answer + some.answer
    set_here = {line.partition("=")[0] for line in named.answer.splitlines()} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert set_here == {"ALLOWED", "SET", "EMPTY"} | {name for name in ENVIRONMENT if name in os.environ}
    assert "SET=to = this" in named.answer


async def test_nobody_between_us_and_the_command_knows_more_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")

    output = await ask(shell("tr '\\0' '\\n' < /proc/$PPID/environ; tr '\\0' ' ' < /proc/$PPID/cmdline"), "some task")

    assert "canary" not in output.answer
    assert "some task" not in output.answer
    assert "keeper.py" in output.answer


async def test_a_command_has_nothing_open_that_is_ours(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w"):
        output = await ask(shell("ls /proc/self/fd | wc -l"))

    assert int(output.answer) == 4  # in, out, err, and the folder that ls reads


async def test_signals_are_as_a_program_expects_them() -> None:
    asked = "grep -E 'Sig(Ign|Blk)' /proc/self/status"
    usual = await anyio.run_process(["sh", "-c", asked])

    assert (await ask(shell(asked))).answer == usual.stdout.decode().strip()


async def test_it_works_in_the_given_folder(tmp_path: Path) -> None:
    assert (await ask(CommandRunner(["pwd"], stdin="{task}", cwd=tmp_path))).answer == str(tmp_path)
    assert (await ask(CommandRunner(["pwd"]))).answer == str(Path.cwd())


async def test_it_works_in_the_workspace_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    runtime = SharedInfra().make_runtime()
    runtime.workspace = tmp_path / "mine"

    async def where(**settings: Any) -> str:
        return (await CommandRunner(["pwd"], **settings).run(AgentSpec("a", ""), "", runtime, None)).answer

    assert await where() == str(tmp_path / "mine")
    assert await where(cwd="sub") == str(tmp_path / "mine" / "sub")
    assert await where(cwd=tmp_path) == str(tmp_path / "mine")  # an agent's own folder is where it works


async def test_agents_with_workspaces_write_each_into_a_folder_of_its_own(tmp_path: Path) -> None:
    runner = shell("echo $1 > note; sleep 0.05; cat note", "{name}")
    specs = [AgentSpec(name, "") for name in ("ann", "bob", "cid")]
    team = Swarm(specs, "parallel", workspaces=Workspaces.directory(tmp_path))

    result = await team.run("go", runner=runner)

    assert [output.answer for output in result.outputs[:3]] == ["ann", "bob", "cid"]


# What it says


async def test_bytes_that_are_no_text_are_replaced() -> None:
    assert (await ask(python("import os; os.write(1, b'a\\xff\\xfe\\x00b\\n')"))).answer == "a\ufffd\ufffd\0b"


async def test_a_text_beyond_the_bound_is_cut_and_says_so() -> None:
    output = await ask(python("print('x' * 5000)", max_output_bytes=1000))

    assert output.answer == "x" * 1000 + "\n[4,001 more bytes left out]"
    assert output.succeeded


async def test_no_output_is_no_answer() -> None:
    output = await ask(shell("echo nothing to say >&2"))

    assert output.error == "/bin/sh: nothing on standard output: nothing to say"


async def test_a_json_answer_comes_with_what_it_cost() -> None:
    output = await ask(reporting(answer="42", **{"in": 120, "out": 30, "cost": 0.25, "turns": 3}))

    assert (output.answer, output.turns, output.error) == ("42", 3, None)
    assert output.tokens == TokenAccounting(input_tokens=120, output_tokens=30, cost_usd=0.25)


async def test_lines_are_read_as_they_come() -> None:
    script = """
import json
for event in [{"type": "start"}, {"type": "thought", "text": "hm"}, {"type": "message", "text": "first"}, "odd",
              {"type": "message", "text": "42"}, {"type": "end", "in": 7, "out": 2}]:
    print(json.dumps(event), flush=True)
print("goodbye")
"""
    output = await ask(python(script, output=EVENTS))

    assert (output.answer, output.error) == ("42", None)
    assert output.tokens == TokenAccounting(input_tokens=7, output_tokens=2)


async def test_what_is_written_in_the_last_moment_is_read(tmp_path: Path) -> None:
    script = f"sleep 0.2; head -c 60000 /dev/zero | tr '\\0' x; touch {tmp_path}/done"

    assert len((await ask(shell(script))).answer) == 60_000


async def test_an_agent_that_does_not_read_its_task_can_answer() -> None:
    output = await ask(shell("exec 0<&-; echo done"), "x" * 3_000_000)

    assert (output.answer, output.error) == ("done", None)


async def test_a_long_task_is_read_to_its_end() -> None:
    count = "import sys; print(len(sys.stdin.buffer.read()))"

    assert (await ask(python(count), "x" * 3_000_000)).answer == "3000000"


async def test_a_flood_on_standard_error_blocks_nothing() -> None:
    output = await ask(shell("head -c 50000000 /dev/zero >&2 & cat; wait; echo end"), "y" * 500_000)

    assert output.answer == "y" * 500_000 + "end"


# How it fails


async def test_an_exit_code_is_a_failure_with_the_end_of_standard_error() -> None:
    script = "import sys; print('so far'); sys.stderr.write('first ' + 'x' * 9000 + ' last'); sys.exit(3)"
    output = await ask(python(script))

    assert output.error is not None
    assert output.error.startswith(f"{sys.executable}: exit code 3: xxx")
    assert output.error.endswith("x last")
    assert len(output.error) < 5_000
    assert output.answer == "so far"


async def test_other_exit_codes_can_be_a_success() -> None:
    assert (await ask(shell("echo yes; exit 4", success_codes=(0, 4)))).succeeded
    assert not (await ask(shell("echo yes; exit 5", success_codes=(0, 4)))).succeeded


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM"])
async def test_a_signal_is_named(name: str) -> None:
    script = f"import os; os.write(1, b'half'); os.kill(os.getpid(), {int(signal.Signals[name])})"
    output = await ask(python(script))

    assert output.error == f"{sys.executable}: ended by {name}"
    assert output.answer == "half"


async def test_a_signal_without_a_name_has_its_number() -> None:
    assert (await ask(shell("kill -40 $$"))).error == "/bin/sh: ended by signal 40"


async def test_who_writes_to_a_closed_pipe_ends_by_sigpipe_as_everywhere() -> None:
    assert (await ask(shell("yes | head -c 4; echo ' ' end"))).answer == "y\ny\n  end"


async def test_a_program_that_can_not_be_started_is_named_and_has_cost_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    infra = SharedInfra(budget=BudgetLimits(max_total_tokens=5_000))

    async def error(argv: list[str], **settings: Any) -> str | None:
        return (await ask(CommandRunner(argv, **settings), infra=infra, estimate=HOLD)).error

    assert await error(["no_such_program"]) == "no_such_program could not be started: No such file or directory"
    assert await error(["no_such_program"], env=["HOME"]) == (
        "no_such_program could not be started: No such file or directory; env passes no PATH on"
    )
    assert await error(["/etc/passwd"]) == "/etc/passwd could not be started: Permission denied"
    assert await error(["/etc"]) == "/etc could not be started: Permission denied"
    script.chmod(0o755)
    assert await error([str(script)]) == f"{script} could not be started: No such file or directory"
    script.write_text("no program\n")
    assert await error([str(script)]) == f"{script} could not be started: Exec format error"
    assert await error(["cat"], cwd="/no/such") == "cat could not be started: No such file or directory: /no/such"
    assert infra.budget.snapshot().total_tokens == 0


async def test_a_task_that_is_too_long_for_an_argument_says_what_to_do() -> None:
    output = await ask(CommandRunner(["echo", "{task}"]), "x" * 300_000)

    assert output.error is not None
    assert output.error.startswith("echo could not be started: Argument list too long; the task need not be")


async def test_a_task_that_would_be_an_option_is_refused_before_anything_runs() -> None:
    output = await ask(CommandRunner(["echo", "{task}"]), "--hunter2", estimate=HOLD)

    assert output.error == "echo was not started: 'task' begins with '-', which would make it an option"
    assert output.tokens == TokenAccounting()


async def test_its_own_word_that_it_failed_is_a_failure() -> None:
    output = await ask(reporting(answer="no credit", failed=True, **{"in": 5, "out": 0, "cost": 0}))

    assert (output.error, output.answer) == ("printf: no credit", "no credit")
    assert output.tokens == TokenAccounting(input_tokens=5)


async def test_its_own_word_stands_beside_the_exit_code() -> None:
    script = """echo '{"failed": "quota", "in": 1, "out": 2, "cost": 0}'; echo oh >&2; exit 1"""
    output = await ask(shell(script, output=REPORT), estimate=HOLD)

    assert output.error == "/bin/sh: exit code 1: quota: oh"
    assert output.tokens == TokenAccounting(input_tokens=1, output_tokens=2)


async def test_no_end_in_time_is_a_timeout_that_keeps_what_there_was() -> None:
    began = monotonic()
    output = await ask(shell("echo so far; echo busy >&2; sleep 60", timeout_s=1))

    assert monotonic() - began < 5
    assert (output.error, output.answer) == ("/bin/sh: no end within 1 s: busy", "so far")
    assert output.outcome is not None
    assert output.outcome.status == OutcomeStatus.TIMEOUT


async def test_the_timeout_of_the_spec_ends_it_too(tmp_path: Path) -> None:
    output = await ask(shell(f"echo $$ > {tmp_path}/pid; exec sleep 60"), timeout_s=1)

    assert output.error == "timed out after 1 s (timeout_s)"
    (pid,) = await pids_in(tmp_path / "pid", 1)
    assert not is_alive(pid)


async def test_a_failed_command_is_tried_again_where_the_spec_says_so(tmp_path: Path) -> None:
    count = tmp_path / "count"
    runner = shell(f'echo x >> "{count}"; test $(wc -l < "{count}") -ge 3 && echo worked')

    assert (await ask(runner, retries=2)).answer == "worked"


async def test_a_secret_in_standard_error_is_not_told() -> None:
    infra = SharedInfra(secrets=["correct horse battery"])
    output = await ask(shell("echo the password is correct horse battery >&2; exit 1"), infra=infra)

    assert output.error == "/bin/sh: exit code 1: the password is [secret]"
    assert b"correct horse" not in b"".join(map(encode, infra.log.events()))


async def test_a_command_that_kills_its_keeper_fails_and_is_ended(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! $$ > {tmp_path}/pids; kill -9 $PPID; sleep 60"

    output = await ask(shell(script))

    assert output.error == "/bin/sh: ended by SIGKILL"
    pids = await pids_in(tmp_path / "pids", 2)
    assert await until(lambda: not any(map(is_alive, pids)))


async def test_a_command_that_stops_its_keeper_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_LAST_S", 0.5)
    script = f"echo $$ > {tmp_path}/pids; kill -STOP $PPID; sleep 60"

    async with anyio.create_task_group() as group:
        group.start_soon(ask, shell(script, grace_s=0))
        pids = await pids_in(tmp_path / "pids", 1)
        began = monotonic()
        group.cancel_scope.cancel()

    assert monotonic() - began < 5
    assert await until(lambda: not any(map(is_alive, pids)))


async def test_without_a_python_there_is_no_keeper_and_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    assert "sys.executable is none" in str((await ask(CommandRunner(["cat"]))).error)
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    assert "/bin/echo did not run its keeper" in str((await ask(CommandRunner(["cat"]))).error)


# What it costs


async def booked(runner: CommandRunner, *, estimate: TokenAccounting | None = HOLD, **fields: Any) -> TokenAccounting:
    """What stands on the budget after one agent, beside what its output says."""
    infra = SharedInfra()
    output = await ask(runner, infra=infra, estimate=estimate, **fields)
    spent = output.tokens or TokenAccounting()
    snapshot = infra.budget.snapshot()
    assert (snapshot.input_tokens, snapshot.output_tokens) == (spent.input_tokens, spent.output_tokens)
    assert snapshot.cost_usd == spent.cost_usd
    return spent


async def test_what_is_reported_is_booked() -> None:
    spent = TokenAccounting(input_tokens=5000, output_tokens=1, cost_usd=0.01)

    assert await booked(reporting(answer="a", **{"in": 5000, "out": 1, "cost": 0.01})) == spent
    assert await booked(reporting(answer="a", **{"in": 5000, "out": 1, "cost": 0.01}), estimate=None) == spent


async def test_when_nothing_is_reported_the_hold_is_booked() -> None:
    assert await booked(saying("an answer")) == HOLD
    assert await booked(shell("exit 1")) == HOLD
    assert await booked(shell("sleep 60", timeout_s=0.2)) == HOLD
    assert await booked(shell("sleep 60"), timeout_s=0.2) == HOLD


@pytest.mark.parametrize("broken", ["many", -5, 1.5, None, True, [], {}, float("nan"), 1e300, 10**30])
async def test_usage_that_is_none_keeps_the_answer_and_books_the_hold(broken: Any) -> None:
    runner = reporting(answer="paid for", **{"in": broken, "out": 3, "cost": 0.25})
    infra = SharedInfra()
    output = await ask(runner, infra=infra, estimate=HOLD)

    assert (output.answer, output.error) == ("paid for", None)
    assert output.tokens == TokenAccounting(input_tokens=1000, output_tokens=3, cost_usd=0.25)
    assert output.outcome is not None
    assert output.outcome.status == OutcomeStatus.SUCCESS
    assert "no input_tokens" in output.outcome.evidence[0].description
    assert infra.budget.snapshot().input_tokens == 1000


async def test_an_unknown_cost_is_unpriced_and_not_zero() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_cost_usd=10))
    runner = reporting(answer="a", **{"in": 1, "out": 1})

    first = await ask(runner, infra=infra, estimate=HOLD)
    second = await ask(runner, infra=infra, estimate=HOLD)

    assert first.tokens == TokenAccounting(input_tokens=1, output_tokens=1, cost_usd=0.5, priced=False)
    assert second.error is not None
    assert "price" in second.error


async def test_a_command_that_tells_nothing_is_no_command_that_costs_nothing() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_cost_usd=10))

    first = await ask(CommandRunner(["cat"]), infra=infra)
    second = await ask(CommandRunner(["cat"]), infra=infra)

    assert (first.answer, first.tokens) == ("do it", TokenAccounting(priced=False))
    assert second.error is not None
    assert "price" in second.error


@pytest.mark.parametrize("script", ["exit 1", "sleep 60"])
async def test_no_more_is_one_that_fails_or_is_stopped(script: str) -> None:
    infra = SharedInfra(budget=BudgetLimits(max_cost_usd=10))

    await ask(shell(script), infra=infra, timeout_s=0.3)
    second = await ask(shell("echo more"), infra=infra)

    assert second.error is not None
    assert "price" in second.error


async def test_a_hold_without_a_cost_is_booked_unpriced_and_counts_as_tokens() -> None:
    tokens = TokenAccounting(input_tokens=300, output_tokens=100)
    voters = [AgentSpec(f"v{number}", "", estimate=tokens) for number in range(5)]
    infra = SharedInfra(budget=BudgetLimits.parse("1k tokens"))

    result = await Vote(voters).run("?", runner=saying("yes"), infra=infra)

    assert len([vote for vote in result.votes if vote.succeeded]) == 2
    assert (result.usage.total_tokens, result.usage.priced, result.stop_reason) == (800, False, "budget_exhausted")


async def test_a_command_that_never_started_does_not_stop_the_next() -> None:
    infra = SharedInfra(budget=BudgetLimits(max_cost_usd=10))

    await ask(CommandRunner(["no-such-program-anywhere"]), infra=infra)

    assert (await ask(reporting(answer="a", **{"in": 1, "out": 1, "cost": 0.01}), infra=infra)).succeeded


async def test_of_a_command_that_was_stopped_at_least_what_it_had_reported_is_booked() -> None:
    def telling(tokens: int, then: str, **settings: Any) -> CommandRunner:
        return shell(f"""echo '{{"in": {tokens}, "out": 7}}'; {then}""", output=EVENTS, **settings)

    less = TokenAccounting(input_tokens=1000, output_tokens=200, cost_usd=0.5)
    more = TokenAccounting(input_tokens=9000, output_tokens=200, cost_usd=0.5)

    for then, settings, fields in (
        ("sleep 60", {"timeout_s": 0.8}, {}),
        ("sleep 60", {}, {"timeout_s": 0.8}),
        ("exit 1", {}, {}),
        ("kill -9 $$", {}, {}),
    ):
        assert await booked(telling(10, then, **settings), **fields) == less
        assert await booked(telling(9000, then, **settings), **fields) == more


async def test_a_cancellation_books_what_was_reported_by_then(tmp_path: Path) -> None:
    infra = SharedInfra()
    runner = shell(f"""echo '{{"in": 9000}}'; sleep 0.1; echo $$ > {tmp_path}/pid; sleep 60""", output=EVENTS)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: ask(runner, infra=infra, estimate=HOLD))
        await pids_in(tmp_path / "pid", 1)
        group.cancel_scope.cancel()

    snapshot = infra.budget.snapshot()
    assert (snapshot.input_tokens, snapshot.output_tokens, snapshot.cost_usd) == (9000, 200, 0.5)


async def test_a_team_of_commands_stays_within_its_budget() -> None:
    runner = reporting(answer="yes", **{"in": 150, "out": 50, "cost": 0})
    most = TokenAccounting(input_tokens=150, output_tokens=50)
    voters = [AgentSpec(f"v{number}", "", estimate=most) for number in range(10)]

    result = await Vote(voters).run("?", runner=runner, infra=SharedInfra(budget=BudgetLimits.parse("1k tokens")))

    assert result.budget.total_tokens == 1000
    assert (len([vote for vote in result.votes if vote.succeeded]), result.stop_reason) == (5, "budget_exhausted")


# What can't be one


BAD: dict[str, dict[str, Any]] = {
    "no time": {"timeout_s": 0},
    "no number as time": {"timeout_s": float("nan")},
    "no output": {"max_output_bytes": 0},
    "less than no grace": {"grace_s": -1},
    "an environment that is one name": {"env": "HOME"},
}


@pytest.mark.parametrize("what", BAD)
def test_settings_that_can_not_be_kept_to_are_refused(what: str) -> None:
    with pytest.raises(ConfigError, match="CommandRunner: "):
        CommandRunner(["cat"], **BAD[what])


def test_text_is_the_format_where_none_is_named() -> None:
    assert isinstance(CommandRunner(["cat"])._output, TextOutput)
