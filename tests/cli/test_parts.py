"""The patterns in which an agent has a part of its own run from flags, too; the part is told by its name."""

import pytest

TASK = ("--task", "Is it so?")

PLAYERS = """
import json

VERDICTS = {
    "supervisor": {"approved": True, "feedback": "good"},
    "judge": {"winner": "b", "rationale": "shorter"},
    "reviewer": {"findings": [{"criterion": "true", "passed": True, "evidence": "line 1", "severity": "info"}]},
    "advisor": {"verdict": "stop", "guidance": "that is enough"},
}
CALLS = {
    "delegate": {"specialist": "a", "task": "part"},
    "spawn_subtask": {"task": "part", "tools": []},
    "consult_advisor": {"question": "well?"},
}


async def play(spec, task, runtime, mailbox):
    for tool in runtime.tools:
        return str(await runtime.call_tool(tool, **CALLS[tool]))
    verdict = VERDICTS.get(spec.role or spec.name)
    return json.dumps(verdict) if verdict else f"answer of {spec.name}"


async def prompt(spec, task, runtime, mailbox):
    return f"{spec.name}: {spec.system_prompt}: {task.splitlines()[0]}"
"""
PLAY = ("--runner", "players:play", "--quiet")


@pytest.fixture(autouse=True)
def players(folder) -> None:
    (folder / "players.py").write_text(PLAYERS)


@pytest.mark.parametrize(
    ("pattern", "flags", "answer"),
    [
        ("supervisor", ["--agent", "a", "--agent", "b", "--rounds", "2"], "answer of a\n\nanswer of b"),
        ("tournament", ["--agent", "a", "--agent", "b", "--max-concurrent", "1"], "answer of b"),
        ("adversarial-review", ["--criterion", "true"], "passed\n- passed: true: line 1"),
        ("delegator", ["--agent", "a", "--agent", "b"], "answer of a_1"),
        ("spawn-subtask", [], "answer of subtask_1"),
        ("advisor", ["--max-uses", "1"], "{'verdict': 'stop', 'guidance': 'that is enough', 'used': 1, 'max_uses': 1}"),
        ("fleet", ["--agent", "a=Go.", "--agent", "b=Stay."], "a:\nanswer of a\n\nb:\nanswer of b"),
    ],
)
def test_each_runs_from_flags(typed, pattern: str, flags: list[str], answer: str) -> None:
    assert typed("run", *TASK, *PLAY, "--pattern", pattern, *flags) == (0, f"{answer}\n", "")


def test_a_part_may_have_its_own_prompt(typed) -> None:
    flags = ("--pattern", "spawn-subtask", "--agent", "main=Be brief.")

    ended = typed("run", *TASK, "--runner", "players:prompt", "--quiet", *flags)
    assert ended.out == "main: Be brief.: Is it so?\n"


def test_in_a_fleet_the_prompt_is_the_mission(typed) -> None:
    flags = ("--pattern", "fleet", "--agent", "a=Go north.")

    ended = typed("run", *TASK, "--runner", "players:prompt", "--quiet", *flags)
    assert ended.out == "a:\na: Go north.: Go north.\n"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--pattern", "supervisor"], "--agent is needed for supervisor"),
        (["--pattern", "tournament", "--agent", "judge"], "for a competitor"),
        (["--pattern", "delegator", "--agent", "main"], "for a specialist"),
        (["--pattern", "advisor", "--agent", "x"], "--agent x: advisor has executor and advisor, and nobody else"),
        (["--pattern", "adversarial-review"], "--criterion is needed for adversarial-review"),
        (["--pattern", "fleet", "--agent", "a", "--criterion", "x"], "--criterion is for adversarial-review"),
        (["--pattern", "fleet", "--agent", "a", "--agent", "a"], "called 'a'"),
        (["--pattern", "supervisor", "--agent", "a", "--max-uses", "1"], "--max-uses is for advisor"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(typed, flags: list[str], complaint: str) -> None:
    ended = typed("run", *TASK, *flags)

    assert (ended.code, ended.out) == (2, "")
    assert complaint in ended.err


def test_a_plan_is_told_before_anything_runs(typed) -> None:
    ended = typed("plan", *TASK, "--pattern", "tournament", "--agent", "a", "--agent", "b")

    assert "starts  3 at least · 4 at most" in ended.out


def test_a_refused_supervisor_is_the_budgets_exit_code(typed) -> None:
    ended = typed("run", *TASK, *PLAY, "--pattern", "supervisor", "--agent", "a", "--budget", "1 agent")

    assert ended.code == 4
    assert "answer of a" in ended.out
