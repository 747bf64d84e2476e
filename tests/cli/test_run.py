"""``carpool run``: the answer on stdout, all else on stderr, and how it ended as the exit code."""

import io
import sys
from types import SimpleNamespace

import pytest

TASK = ("--task", "What about cats?")
FILES = ("run", *TASK, "--items", "*.md")
PAID = ("--runner", "crew:paid")


def test_a_map_reduce_over_files_answers_offline(typed) -> None:
    ended = typed(*FILES)

    assert ended.code == 0
    assert "Cats are number" in ended.out
    assert "map-reduce over 3 items · no budget" in ended.err
    for name in ("one.md", "two.md", "three.md", "reducer"):
        assert f"started   {name}\n" in ended.err
        assert f"finished  {name} " in ended.err
    assert "agents  4 starts · 4 finished" in ended.err
    assert "ended   done" in ended.err


def test_the_bill_says_what_was_spent_and_what_is_left(typed) -> None:
    ended = typed(*FILES, *PAID, "--budget", "2k tokens, $1, 40 agents")

    assert "tokens  400 in · 80 out\n" in ended.err
    assert "cost    $0.05\n" in ended.err
    assert "budget  480 of 2,000 tokens · 1,520 left\n" in ended.err
    assert "        4 of 40 starts · 36 left\n" in ended.err
    assert "        $0.05 of $1.00 · $0.95 left\n" in ended.err


def test_quiet_is_the_answer_and_nothing_else(typed) -> None:
    assert typed(*FILES, *PAID, "--quiet") == (0, "answer of reducer\n", "")


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--pattern", "swarm"], "a:\nanswer of a\n\nb:\nanswer of b\n"),
        (["--pattern", "swarm", "--mode", "sequential", "--synthesizer", "s=Join."], "answer of s\n"),
        (["--pattern", "swarm", "--mode", "debate", "--rounds", "3"], "a:\nanswer of a\n\nb:\nanswer of b\n"),
        (["--pattern", "pipeline"], "answer of b\n"),
        (["--pattern", "vote", "--max-concurrent", "1", "--quorum", "2"], "answer of a\n"),
        (["--pattern", "vote", "--synthesizer", "s"], "answer of s\n"),
    ],
)
def test_each_pattern_runs_from_flags(typed, flags: list[str], answer: str) -> None:
    ended = typed("run", *TASK, *PAID, "--agent", "a", "--agent", "b=You are careful.", *flags, "--quiet")

    assert ended == (0, answer, "")


def test_prompts_are_those_that_were_typed(typed, folder) -> None:
    (folder / "echo.py").write_text("async def prompt(spec, task, runtime, mailbox): return spec.system_prompt")
    run = ("run", "--runner", "echo:prompt", *TASK, "--quiet")

    assert typed(*run, "--pattern", "pipeline", "--agent", "a=Weigh: x = y.").out == "Weigh: x = y.\n"
    assert typed(*run, "--pattern", "pipeline", "--agent", "a").out == "You are a.\n"
    assert typed(*run, "--items", "*.md", "--agent", "reducer=Join.").out == "Join.\n"


def test_limits_for_one_agent_reach_it(typed, folder) -> None:
    (folder / "echo.py").write_text(
        "async def limits(spec, task, runtime, mailbox):\n"
        "    return f'{spec.timeout_s} {spec.retries} {spec.estimate.input_tokens} {spec.estimate.cost_usd}'\n"
    )
    flags = ("--timeout", "1m30s", "--retries", "2", "--estimate", "2k input tokens, $0.01")

    ended = typed("run", "--runner", "echo:limits", *TASK, "--pattern", "vote", "--agent", "a", *flags, "--quiet")

    assert ended.out == "90.0 2 2000 0.01\n"


def test_each_line_of_standard_input_can_be_an_item(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"Cats purr.\n\nDogs bark.\n")))

    ended = typed("run", *TASK, "--items", "-")

    assert ended.code == 0
    assert "over 2 items" in ended.err
    assert "finished  line 3" in ended.err


def test_files_that_the_shell_has_named_need_no_quotes(typed) -> None:
    assert "over 2 items" in typed("run", *TASK, "--items", "one.md", "two.md", "--max-concurrent", "1").err


# Not all goes well


def test_an_item_that_can_not_be_read_is_named_and_counted_and_not_fatal(typed, folder) -> None:
    (folder / "picture.md").write_bytes(b"\0")

    ended = typed(*FILES, "gone.txt")

    assert ended.code == 0
    assert "unread    picture.md  binary: a NUL byte at 0\n" in ended.err
    assert "unread    gone.txt    matches no file\n" in ended.err
    assert "items   5 · 2 unread: gone.txt (matches no file), picture.md (binary: a NUL byte at 0)\n" in ended.err


@pytest.mark.parametrize("how", [[], ["--quiet"]])
def test_without_a_readable_item_the_run_has_failed_and_names_them(typed, folder, how: list[str]) -> None:
    (folder / "picture.png").write_bytes(b"\0")
    (folder / "nothing.png").write_bytes(b"")

    ended = typed("run", *TASK, "--items", "*.png", *how)

    assert (ended.code, ended.out) == (1, "")
    said = "none of 2 items could be read: nothing.png (empty), picture.png (binary: a NUL byte at 0)"
    assert f"carpool run: no answer: {said}\n" in ended.err


def test_an_agent_that_fails_is_told_and_the_others_answer(typed) -> None:
    ended = typed("run", *TASK, "--runner", "crew:bad_fails", "--pattern", "swarm", "--agent", "bad", "--agent", "a")

    assert (ended.code, ended.out) == (0, "a:\nanswer of a\n")
    assert "RuntimeError: no key" in ended.err
    assert "agents  2 starts · 1 finished · 1 failed\n" in ended.err


def test_a_retry_is_told(typed) -> None:
    ended = typed("run", *TASK, "--runner", "crew:fails", "--pattern", "vote", "--agent", "a", "--retries", "1")

    assert "retrying  a  start 2, after RuntimeError: no key\n" in ended.err
    assert "agents  2 starts · 1 failed · 1 retried\n" in ended.err


def test_when_all_fail_the_exit_code_says_so_and_one_line_why(typed) -> None:
    ended = typed(*FILES, "--runner", "crew:fails", "--quiet")

    why = "RuntimeError: no key (one.md, three.md, two.md)"
    assert ended == (1, "", f"carpool run: no answer: {why}\n")


@pytest.mark.parametrize("how", [(), ("--no-journal",)])
def test_the_last_line_stays_short_however_many_reasons_there_are(typed, folder, how) -> None:
    (folder / "each.py").write_text(
        "async def run(spec, task, runtime, mailbox): raise RuntimeError(f'{spec.name} fell ' + 'and fell ' * 99)"
    )
    for number in range(27):
        (folder / f"{number}.md").write_text("text")
    ended = typed(*FILES, "--runner", "each:run", "--quiet", *how)

    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 1_000
    assert ended.err.count("RuntimeError: ") == 3
    where = "" if how else f": carpool show {typed('ps', '--json').lines[0]['run_id']}"
    assert ended.err.endswith(f"); and 27 other reasons{where}\n")


def test_what_was_paid_for_is_printed_even_where_there_is_no_one_answer(typed) -> None:
    team = ("--agent", "a", "--agent", "bad", "--agent", "c")
    ended = typed("run", *TASK, "--runner", "crew:bad_fails", "--pattern", "pipeline", *team, "--quiet")

    assert ended == (1, "a:\nanswer of a\n", "carpool run: no answer: RuntimeError: no key (bad)\n")


def test_stopped_by_the_budget_prints_the_answer_there_is(typed) -> None:
    ended = typed(*FILES, *PAID, "--budget", "2 agents", "--max-concurrent", "1")

    assert ended.code == 4
    assert ended.out == "answer of mapper_0\n\nanswer of mapper_1\n"
    assert "budget    agent limit reached: 2 of at most 2 agents started" in ended.err
    assert "refused   two.md" in ended.err
    assert "ended   stopped by the budget: agent limit reached" in ended.err


def test_a_budget_of_nothing_starts_nobody(typed) -> None:
    ended = typed(*FILES, "--budget", "0 agents", "--quiet")

    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("carpool run: no answer: agent limit reached: 0 of at most 0")


def test_a_limit_that_comes_near_is_told(typed) -> None:
    ended = typed(*FILES, *PAID, "--budget", "550 tokens")

    assert "budget    nearly spent: 480 of 550 tokens" in ended.err


def test_agents_can_command_no_terminal(typed) -> None:
    ended = typed("run", *TASK, "--runner", "crew:forges", "--pattern", "vote", "--agent", "a\x1b[2J")

    assert ended.out == "\\x1b]0;title\\x07red \\x1b[31m\\u202egreen\\x9b\n"
    assert "a\\x1b[2J" in ended.err
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*ended.out, *ended.err}


def test_a_mistake_in_carpool_itself_is_not_hidden(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    from carpool import Vote

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Vote, "_count", broken)

    with pytest.raises(KeyError, match="a bug"):
        typed("run", *TASK, *PAID, "--pattern", "vote", "--agent", "a")
