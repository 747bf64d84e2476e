"""``carpool policy check``: what it prints, where, and with which exit code."""

import json
from pathlib import Path

import pytest

from carpool.cli import main

FILE = """
deny_tool = ["deploy"]

[[deny_tool_param]]
name = "no_rm"
description = "nothing is deleted"
tool = "shell"
param = "command"
contains = "rm -rf"

[[rate_limit_tool]]
tool = "send"
max_calls = 1
interval_secs = 60

[[require_state]]
key = "passed"
value = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policies.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]):
    """The exit code, and what was written to stdout and to stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["policy", "check", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_file_that_is_understood_is_listed(check, file: Path) -> None:
    code, out, err = check(file)

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{file}: 4 policies",
        "  deny_tool[1]",
        "  no_rm: nothing is deleted",
        "  rate_limit_tool[1]",
        "  require_state[1]",
    ]


def test_an_action_that_would_be_denied_is_told_by_whom_and_why(check, file: Path) -> None:
    action = json.dumps({"tool": "shell", "parameters": {"command": "rm  -RF /hunter2-canary"}})
    code, out, _ = check(file, "--action", action)

    assert code == 1
    assert out.splitlines()[-3:] == [
        "denied: shell",
        "  no_rm: parameter 'command' of tool 'shell' has a value that is denied",
        "  require_state[1]: the state has no 'passed', which is required",
    ]
    assert "hunter2-canary" not in out


def test_an_action_that_would_be_allowed_under_a_state(check, file: Path) -> None:
    action = '{"tool": "send", "parameters": {}, "unknown": 1}'

    for _ in range(2):  # asking counts for no rate limit
        code, out, _ = check(file, "--action", action, "--state", '{"passed": true}')
        assert (code, out.splitlines()[-1]) == (0, "allowed: send")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--action", "rm"),
        ("--action", "[]"),
        ("--action", '{"tool": 5}'),
        ("--action", '{"type": "dance"}'),
        ("--action", ""),
        ("--state", "[]"),
        ("--state", "{"),
        ("--state", ""),
    ],
)
def test_json_that_is_not_understood_is_one_line_and_exit_code_2(check, file: Path, option: str, text: str) -> None:
    arguments = [option, text] if option == "--action" else ["--action", "{}", option, text]
    code, out, err = check(file, *arguments)

    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert option in err


def test_a_file_that_is_not_understood_is_one_line_and_exit_code_2(check, tmp_path: Path) -> None:
    path = tmp_path / "slip.toml"
    path.write_text("deny_tols = ['x']")
    code, out, err = check(path)

    assert (code, out) == (2, "")
    assert f"{path}: unknown key 'deny_tols'; did you mean 'deny_tool'?" in err


def test_a_file_that_is_not_there_is_exit_code_2(check, tmp_path: Path) -> None:
    code, _, err = check(tmp_path / "missing.toml")

    assert code == 2
    assert "missing.toml: can't be read: No such file" in err


def test_an_entry_that_denies_everything_because_it_is_broken_is_told(check, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text('[[deny_tool_param_matching]]\ntool = "http"\nparam = "url"\nmatches = "("')
    code, out, _ = check(path)

    assert code == 1
    assert "deny_tool_param_matching[1]: denies every call of its tool: the expression for parameter 'url'" in out


def test_what_is_printed_is_harmless_to_a_terminal(check, tmp_path: Path) -> None:
    path = tmp_path / "escape.toml"
    path.write_text('[[deny_tool]]\ntool = "x"\nname = "a\\u001b]0;b\\u0007"\ndescription = "c\\u202e\\nd"')
    _, out, _ = check(path, "--action", '{"tool": "x"}')

    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\u202e" not in out
