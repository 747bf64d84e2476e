"""Who does the agents' work: one by name, a model, a command, or a cassette of earlier calls; and never two of them."""

import sys

import pytest

VOTE = ("run", "--pattern", "vote", "--agent", "a", "--agent", "b", "--task", "Hello")


def test_an_agent_may_be_a_command(typed) -> None:
    ended = typed(*VOTE, "--command", f"{sys.executable} -c 'print(input().upper())'", "--quiet")

    assert (ended.code, ended.out) == (0, "YOU ARE A.\n")


def test_what_was_recorded_is_replayed_without_its_runner(typed, folder) -> None:
    recorded = typed(*VOTE, "--runner", "crew:paid", "--record", "team.jsonl", "--json").lines[-1]
    (folder / "crew.py").unlink()
    replayed = typed(*VOTE, "--replay", "team.jsonl", "--json").lines[-1]

    assert replayed["answer"] == recorded["answer"]
    assert replayed["usage"] == recorded["usage"]
    assert replayed["exit_code"] == 0


def test_a_call_that_was_not_recorded_fails_and_says_what_is_nearest(typed) -> None:
    typed(*VOTE, "--runner", "crew:paid", "--record", "team.jsonl")
    ended = typed(*VOTE[:-1], "Hullo", "--replay", "team.jsonl")

    assert ended.code == 1
    assert "Nearest is agent 'a'" in ended.err
    assert "-Hello +Hullo" in ended.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "openai:x", "--command", "ls"), "--model and --command: an agent has one runner"),
        (("--runner", "extractive", "--command", "ls"), "--runner and --command: an agent has one runner"),
        (("--base-url", "http://localhost"), "--base-url is for --model"),
        (("--record", "a.jsonl", "--replay", "a.jsonl"), "--record and --replay"),
        (("--command", "echo {nothing}"), "nothing"),
        (("--command", "'"), "No closing quotation"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(typed, flags, said: str) -> None:
    ended = typed(*VOTE, *flags)

    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--command", "nosuchcmd -p"), "--command nosuchcmd -p: nosuchcmd: there is no such program on PATH"),
        (("--command", "./nosuch.sh"), "./nosuch.sh: there is no such file, or it is none to be started"),
        (("--command", "/etc/passwd"), "/etc/passwd: there is no such file, or it is none to be started"),
        (("--model", "openai:x"), "--model openai:x: openai needs an API key: set OPENAI_API_KEY (see"),
        (("--model", "anthropic:x"), "--model anthropic:x: anthropic needs an API key: set ANTHROPIC_API_KEY (see"),
        (("--model", "nosuch:x"), "; for a server that speaks OpenAI's protocol give --base-url (see"),
        (("--model", "openai:x", "--record", "new.jsonl"), "set OPENAI_API_KEY"),
    ],
)
def test_what_no_agent_could_be_made_with_is_refused_before_anything_starts(
    typed, folder, monkeypatch: pytest.MonkeyPatch, flags, said: str
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    ended = typed(*VOTE, *flags)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "ModelRunner" not in ended.err
    assert ended.err.count("\n") == 1
    assert "no runs yet" in typed("ps").err
    assert not (folder / "new.jsonl").exists()


def test_a_server_of_ones_own_needs_no_key(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ended = typed(*VOTE, "--model", "openai:x", "--base-url", "http://127.0.0.1:9/v1", "--timeout", "100ms")

    assert ended.code == 1  # nobody is there, and the agents have found out
    assert "agents  2 starts · 2 failed" in ended.err


def test_calls_that_are_on_a_cassette_need_no_key_and_no_program(typed, folder) -> None:
    script = folder / "script.sh"
    script.write_text("#!/bin/sh\necho yes\n")
    script.chmod(0o700)
    command = ("--command", "./script.sh")
    typed(*VOTE, *command, "--record", "team.jsonl")
    script.unlink()

    assert typed(*VOTE, *command, "--record", "team.jsonl").out == "yes\n"
    assert typed(*VOTE, *command, "--replay", "team.jsonl").out == "yes\n"
    assert typed(*VOTE, *command).code == 2


def test_a_model_without_the_extra_says_what_to_install(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    import carpool.cli.runner_choice as runner_choice

    monkeypatch.setattr(runner_choice, "find_spec", lambda name: None)
    ended = typed(*VOTE, "--model", "openai:x")

    assert ended.code == 2
    assert "pip install 'carpool[models]'" in ended.err


def test_a_runner_may_stand_in_the_environment_where_the_flag_wins(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARPOOL_RUNNER", "crew:fails")

    assert typed(*VOTE).code == 1
    assert typed(*VOTE, "--runner", "crew:paid").code == 0


@pytest.mark.parametrize("arguments", ["'print(1 | 2)'", "'print(3)' '|' 'a;b'"])
def test_a_sign_of_the_shell_in_quotes_is_an_argument(typed, arguments: str) -> None:
    ended = typed(*VOTE, "--command", f"{sys.executable} -c {arguments}", "--quiet")

    assert (ended.code, ended.out) == (0, "3\n")


def test_a_cassette_whose_recording_was_cut_off_is_a_warning_in_a_line(typed, folder) -> None:
    typed(*VOTE, "--runner", "crew:paid", "--record", "team.jsonl")
    with (folder / "team.jsonl").open("a") as cassette:
        cassette.write('{"cut off')
    ended = typed(*VOTE, "--replay", "team.jsonl", "--quiet")

    assert (ended.code, ended.out) == (0, "answer of a\n")
    assert ended.err.startswith("warning: team.jsonl: the last line is not whole and was dropped")
    assert ended.err.count("\n") == 1
