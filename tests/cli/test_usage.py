"""What a user can type wrong is one line on stderr that says what, where and what to do; exit code 2."""

import io
import sys
from types import SimpleNamespace

import pytest

ITEMS = ("--items", "*.md")
TASK = ("--task", "What is it?")
ONE = ("--agent", "a")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], 'Unknown command "rnu". Did you mean "run"?'),
        (["run"], "--task is needed"),
        (["run", *ITEMS, "--task", "  "], "--task is needed"),
        (["run", *ITEMS, *TASK, "--tsk", "x"], "Unknown option: --tsk. Did you mean --task?"),
        (["run", *ITEMS, "--task", "What", "is", "it?"], "don't know what to do with 'it?'; put quotes around"),
        (["run", *ITEMS, *TASK, *TASK], "--task specified multiple times"),
        (["run", *ITEMS, "--task"], "--task requires an argument"),
        # The pattern, and what goes with it
        (["run", *TASK, "--pattern", "mapreduce"], '"map-reduce", "swarm", "pipeline", "vote"'),
        (["run", *TASK], "--items is needed for map-reduce"),
        (["run", *TASK, "--items"], "--items is needed for map-reduce"),
        (["run", *TASK, "--items", "no/**/*.md", "gone"], "no file to read: 'no/**/*.md', 'gone' in /"),
        (["run", *TASK, "--items", "-", "--items", "one.md"], "standard input stands alone"),
        (["run", *TASK, *ITEMS, "--agent", "reader"], "--agent reader: map-reduce has two agents, mapper and reducer"),
        (["run", *TASK, *ITEMS, "--agent", "mapper", "--agent", "mapper=x"], "is given twice"),
        (["run", *TASK, "--pattern", "swarm"], "--agent is needed for swarm"),
        (["run", *TASK, "--pattern", "pipeline"], "--agent is needed for pipeline"),
        (["run", *TASK, "--pattern", "vote"], "--agent is needed for vote"),
        (["run", *TASK, "--pattern", "vote", *ONE, *ONE], "2 members are called 'a'"),
        (["run", *TASK, "--pattern", "swarm", *ONE, "--synthesizer", "a"], "2 members are called 'a'"),
        (["run", *TASK, "--pattern", "swarm", "--agent", "=prompt"], "an agent needs a name"),
        (["run", *TASK, "--pattern", "swarm", "--agent", ""], "an agent needs a name"),
        (["run", *TASK, "--pattern", "swarm", *ONE, *ITEMS], "--items is for map-reduce, not for swarm"),
        (["run", *TASK, "--pattern", "vote", *ONE, "--mode", "debate"], "--mode is for swarm, not for vote"),
        (["run", *TASK, "--pattern", "swarm", *ONE, "--mode", "chat"], '"parallel", "sequential", "debate"'),
        (["run", *TASK, "--pattern", "swarm", *ONE, "--rounds", "3"], "--rounds is for a debate; add --mode debate"),
        (["run", *TASK, "--pattern", "vote", *ONE, "--quorum", "2"], "quorum must be between 1 and"),
        (["run", *TASK, "--pattern", "pipeline", *ONE, "--max-concurrent", "2"], "--max-concurrent is for map-reduce"),
        (["run", *TASK, "--pattern", "pipeline", *ONE, "--synthesizer", "s"], "--synthesizer is for swarm and vote"),
        # Amounts
        (["run", *TASK, *ITEMS, "--budget", "$2, 20 agnts"], "--budget: budget '$2, 20 agnts': can't read '20 agnts'"),
        (["run", *TASK, *ITEMS, "--budget", "-5 tokens"], "can't read '-5 tokens'"),
        (["run", *TASK, *ITEMS, "--estimate", "2k input tokens, 5 foo"], "--estimate: can't read '5 foo'; write for"),
        (["run", *TASK, *ITEMS, "--estimate", "2k tokens"], "say whether these are input or output tokens"),
        (["run", *TASK, *ITEMS, "--estimate", "3 agents"], "--estimate: '3 agents' says no tokens or dollars"),
        (["run", *TASK, *ITEMS, "--estimate", ""], "--estimate: '' says no tokens or dollars"),
        (["run", *TASK, *ITEMS, "--budget", ""], "--budget: budget '': '' says no tokens or dollars, and no other"),
        (["plan", *TASK, *ITEMS, "--budget", " , "], "--budget: budget ' , ': ' , ' says no tokens or dollars"),
        (["resume", "last", "--add-budget", ""], "--add-budget: budget '': '' says no tokens or dollars"),
        (["run", *TASK, *ITEMS, "--timeout", "soon"], "--timeout: can't read 'soon'; write for example 30s"),
        (["run", *TASK, *ITEMS, "--timeout", "5 agents"], "--timeout: can't read '5 agents'"),
        (["run", *TASK, *ITEMS, "--timeout", "0"], "--timeout: must be more than nothing"),
        (["run", *TASK, *ITEMS, "--timeout", "nan"], "--timeout: can't read 'nan'"),
        (["run", *TASK, *ITEMS, "--max-concurrent", "0"], "--max-concurrent: must be a whole number, 1 or more"),
        (["run", *TASK, *ITEMS, "--max-concurrent", "few"], "--max-concurrent: must be a whole number, 1 or more"),
        (["run", *TASK, *ITEMS, "--retries", "-1"], "--retries: must be a whole number, 0 or more"),
        (["run", *TASK, *ITEMS, "--fan-in", "1"], "--fan-in: must be a whole number, 2 or more"),
        (["run", *TASK, *ITEMS, "--reduce-chars", "1"], "--reduce-chars: must be a whole number, 2 or more"),
        # The runner
        (["run", *TASK, *ITEMS, "--runner", "gpt"], "no runner 'gpt'; there are: extractive; or name your own"),
        (["run", *TASK, *ITEMS, "--runner", "nowhere:x"], "--runner: nowhere:x: no module 'nowhere', in "),
        (["run", *TASK, *ITEMS, "--runner", "agents.sub:x"], "no module 'agents.sub', in "),
        (["run", *TASK, *ITEMS, "--runner", "crew:nobody"], "crew has no 'nobody'"),
        (["run", *TASK, *ITEMS, "--runner", "agents:"], "write module:attribute"),
        (["run", *TASK, *ITEMS, "--runner", ":x"], "write module:attribute"),
        (["run", *TASK, *ITEMS, "--runner", "crew:number"], "is of type int; a runner is an async function"),
        (["run", *TASK, *ITEMS, "--runner", "crew:not_async"], "is not async; a runner is"),
        (["run", *TASK, *ITEMS, "--runner", "crew:too_few"], "can't be called with four arguments"),
        (["run", *TASK, *ITEMS, "--runner", "crew:Demanding"], "can't be made without arguments: TypeError"),
        (["run", *TASK, *ITEMS, "--runner", "broken:x"], "broken can't be loaded: SyntaxError"),
        (
            ["run", *TASK, *ITEMS, "--runner", "lacking:x"],
            "lacking can't be loaded: ModuleNotFoundError: No module nam",
        ),
        (["run", *TASK, *ITEMS, "--model", "gpt"], "--model gpt: write PROVIDER:NAME, as in openai:gpt"),
        (["run", *TASK, *ITEMS, "--command", " "], "--command: is empty; write a program"),
        (["run", *TASK, *ITEMS, "--command", "'"], "--command ': No closing quotation"),
        (
            ["run", *TASK, *ITEMS, "--command", "a b | c"],
            "no shell reads it, and '|' is for one; write: sh -c 'a b | c'",
        ),
        # Both commands read the same flags
        (["plan"], "--task is needed"),
        (["plan", *TASK, "--pattern", "vote"], "--agent is needed for vote"),
    ],
)
def test_a_mistake_is_one_line(typed, folder, arguments: list[str], said: str) -> None:
    (folder / "broken.py").write_text("def")
    (folder / "lacking.py").write_text("import cyclopts_of_another_world")

    ended = typed(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("carpool")
    assert ended.err.count("\n") == 1
    assert "--help)" in ended.err


def test_what_was_typed_can_command_no_terminal(typed) -> None:
    assert "\\x1b[2J" in typed("run", "--runner", "\x1b[2J", *TASK, *ITEMS).err


def test_standard_input_without_a_line_is_no_item(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n \n")))

    ended = typed("run", *TASK, "--items", "-")

    assert ended.code == 2
    assert "standard input has no line that is not blank" in ended.err


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_standard_input_that_is_closed_has_no_items(typed, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    ended = typed(command, *TASK, "--items", "-")

    assert ended.code == 2
    assert "--items -: standard input is closed" in ended.err


def test_two_runners_in_the_environment_are_one_too_many(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARPOOL_RUNNER", "extractive")
    monkeypatch.setenv("CARPOOL_MODEL", "openai:x")

    assert "CARPOOL_RUNNER and CARPOOL_MODEL are set: an agent has one runner" in typed("run", *TASK, *ITEMS).err
    assert typed("run", *TASK, *ITEMS, "--runner", "extractive").code == 0
