"""Runs on record: listed, looked at, gone on with, cancelled, exported and removed, each by its id."""

import json
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from carpool.cli.terminal import width_of

_AMOUNTS = ("TOKENS", "COST", "TIME")
RUN = ("run", "--task", "What about cats?", "--items", "*.md", "--runner", "crew:paid")
SLOW = ("run", "--task", "t", "--items", "*.md", "--runner", "crew:first_only", "--max-concurrent", "1")


@pytest.fixture
def recorded(typed) -> str:
    """The id of a run on record."""
    return typed(*RUN, "--json").lines[-1]["run_id"]


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def test_every_run_is_recorded_where_only_its_user_can_read_it(typed, folder: Path) -> None:
    typed(*RUN)
    files = sorted((folder / "state" / "carpool").iterdir())

    assert "runs.db" in {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((folder / "state" / "carpool").stat().st_mode) == 0o700


def test_a_run_says_under_which_id_it_is_recorded(typed) -> None:
    told = typed(*RUN).err.splitlines()[-1]

    assert told.startswith("run     ")
    assert told.split()[1] in typed("ps").out


def test_no_journal_records_nothing(typed, folder: Path) -> None:
    ended = typed(*RUN, "--no-journal")

    assert ended.code == 0
    assert "run     " not in ended.err
    assert not (folder / "state").exists()
    assert "no runs yet" in typed("ps").err


def test_a_journal_elsewhere_by_flag_or_environment_where_the_flag_wins(typed, folder, monkeypatch) -> None:
    monkeypatch.setenv("CARPOOL_JOURNAL", str(folder / "environment.db"))
    typed(*RUN)
    typed(*RUN, "--journal", "flag.db")

    assert len(typed("ps", "--json").lines) == 1
    assert len(typed("ps", "--json", "--journal", "flag.db").lines) == 1
    assert (folder / "environment.db").exists()


def test_ps_tells_of_each_run_the_latest_first(typed, recorded: str) -> None:
    later = typed(*RUN, "--budget", "2 agents", "--json").lines[-1]["run_id"]
    lines = typed("ps").out.splitlines()

    assert lines[0].split() == ["RUN", "STATUS", "PATTERN", "STARTS", "DONE", *_AMOUNTS, "BEGAN", "TASK"]
    assert [line.split()[0] for line in lines[1:]] == [later, recorded]
    assert "budget exhausted" in lines[1]
    assert lines[2].split()[3:7] == ["4", "4", "480", "$0.05"]


def test_ps_as_json_has_what_the_table_has(typed, recorded: str) -> None:
    (run,) = typed("ps", "--json").lines

    assert (run["run_id"], run["status"], run["completed"]) == (recorded, "completed", 4)
    assert run["spent"]["input_tokens"] == 400


def test_show_draws_the_tree_of_agents_with_what_each_cost(typed, recorded: str) -> None:
    shown = typed("show", recorded).out

    assert f"run     {recorded} · map-reduce · completed" in shown
    assert "agents  4 starts · 4 completed" in shown
    assert "spent   480 tokens · $0.05" in shown
    tree = shown.partition("map_reduce\n")[2].splitlines()
    assert [line.split()[1] for line in tree] == ["mapper_0", "mapper_1", "mapper_2", "reducer"]
    assert all("120 tokens · $0.0125" in line for line in tree)


def test_show_an_agent_tells_what_it_was_asked_and_what_it_answered(typed, recorded: str) -> None:
    shown = typed("show", recorded, "mapper_1").out

    assert "Cats are number" in shown
    assert "answer of mapper_1" in shown
    assert "Answer the task from this item alone" in shown


def test_what_agents_said_can_not_move_the_cursor_of_who_looks_back(typed) -> None:
    typed("run", "--task", "t", "--items", "one.md", "--runner", "crew:forges", "--quiet")

    for shown in (typed("show", "last", "mapper_0"), typed("show", "last"), typed("events", "last")):
        assert "\x1b" not in shown.out
    assert "\\x1b" in typed("show", "last", "mapper_0").out


@pytest.mark.parametrize("command", [("show",), ("events",), ("cancel",), ("rm",), ("export",), ("resume",)])
def test_a_run_that_is_not_there_is_a_line_that_says_where_to_look(typed, recorded: str, command) -> None:
    ended = typed(*command, "nobody")

    assert ended.code == 2
    assert "no run 'nobody' in this journal; carpool ps lists them" in ended.err


def test_a_run_is_found_by_the_beginning_of_its_id_unless_two_begin_like_that(typed, recorded: str) -> None:
    assert recorded in typed("show", recorded[:6]).out
    typed(*RUN)
    ended = typed("show", "")

    assert ended.code == 2


def test_events_are_printed_as_lines_or_as_json(typed, recorded: str) -> None:
    assert "finished  reducer" in typed("events", recorded).out
    lines = typed("events", recorded, "--json").lines

    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[0]["kind"] == "run_started"
    assert lines[-1]["kind"] == "run_finished"
    assert sum(line["kind"] == "agent_finished" for line in lines) == 4


def test_an_export_is_one_json_document(typed, recorded: str, folder: Path) -> None:
    printed = json.loads(typed("export", recorded).out)
    typed("export", recorded, "-o", "run.json")

    assert json.loads((folder / "run.json").read_text()) == printed
    assert printed["run_id"] == recorded
    assert [agent["status"] for agent in printed["agents"]] == ["completed"] * 4
    assert printed["agents"][0]["output"]["answer"] == "answer of mapper_0"


def test_a_removed_run_is_gone(typed, recorded: str) -> None:
    assert typed("rm", recorded).code == 0
    assert typed("ps", "--json").lines == []


def test_a_run_that_its_budget_stopped_goes_on_with_more_and_pays_only_for_the_rest(typed) -> None:
    stopped = typed(*RUN, "--budget", "2 agents", "--json").lines[-1]
    run_id = stopped["run_id"]
    ended = typed("resume", run_id, "--add-budget", "5 agents", "--json")
    result, kinds = ended.lines[-1], [line["kind"] for line in ended.lines]

    assert stopped["stop_reason"] == "budget_exhausted"
    assert (ended.code, result["stop_reason"], result["run_id"]) == (0, "completed", run_id)
    assert kinds.count("agent_replayed") == 2
    assert kinds.count("agent_started") == 2
    assert result["budget"]["agents_started"] == 4
    assert "budget  7 agents" in typed("show", run_id).out
    assert len(typed("ps", "--json").lines) == 1


def test_a_dry_run_tells_what_is_left_and_starts_nothing(typed) -> None:
    run_id = typed(*RUN, "--budget", "2 agents", "--estimate", "100 input tokens, 20 output tokens", "--json").lines[
        -1
    ]["run_id"]
    told = typed("resume", run_id, "--dry-run", "--add-budget", "5 agents").out

    assert "holds   2 completed" in told
    assert "reused  1 agent\n" in told  # the reducer has seen one answer, and is to see three
    assert "to run  3 starts at most" in told
    assert "costs   360 tokens · $0 at most" in told
    assert "budget  7 agents" in told
    assert typed("ps", "--json").lines[0]["epoch"] == 1


def test_a_finished_run_resumed_starts_nobody_and_answers_the_same(typed, recorded: str) -> None:
    ended = typed("resume", recorded, "--json")

    assert ended.lines[-1]["answer"] == "answer of reducer"
    assert not [line for line in ended.lines if line["kind"] == "agent_started"]


def test_a_changed_item_runs_again_and_no_other(typed, recorded: str, folder: Path) -> None:
    (folder / "two.md").write_text("Cats are number two hundred.")
    lines = typed("resume", recorded, "--json").lines

    assert [line["agent"] for line in lines if line["kind"] == "agent_started"] == ["mapper_2"]


def test_items_that_came_by_stdin_are_on_record_too(typed, monkeypatch) -> None:
    from io import BytesIO
    from types import SimpleNamespace

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=BytesIO(b"one\ntwo\n")))
    run = ("run", "--task", "t", "--items", "-", "--runner", "crew:paid", "--budget", "1 agent", "--json")
    run_id = typed(*run).lines[-1]["run_id"]
    result = typed("resume", run_id, "--add-budget", "9 agents", "--json").lines[-1]

    assert [output["name"] for output in result["map_outputs"]] == ["mapper_0", "mapper_1"]
    assert result["all_succeeded"]


def test_a_run_is_resumed_in_the_folder_where_it_was_made(typed, recorded: str, folder: Path, monkeypatch) -> None:
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")

    assert typed("resume", recorded, "--quiet").out == "answer of reducer\n"


def test_killed_runs_are_interrupted_and_go_on(started, typed, folder: Path) -> None:
    process = started(*SLOW, "--json")
    line = next(line for line in process.stdout if '"agent_finished"' in line)
    run_id = json.loads(line)["run"]
    until(lambda: len([e for e in typed("events", run_id, "--json").lines if e["kind"] == "agent_started"]) == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert "interrupted" in typed("ps").out
    assert " 0 ms " not in typed("ps").out
    assert "! mapper_1" in typed("show", run_id).out
    (folder / "crew.py").write_text((folder / "crew.py").read_text().replace("sleep(600)", "sleep(0)"))
    assert "1 lost" in typed("resume", run_id, "--dry-run").out
    lines = typed("resume", run_id, "--json").lines
    assert [line["agent"] for line in lines if line["kind"] == "agent_replayed"] == ["mapper_0"]


def test_a_running_run_can_be_watched_and_cancelled_from_another_process(started, typed) -> None:
    process = started(*SLOW, "--json")
    run_id = json.loads(process.stdout.readline())["run"]
    follower = started("events", run_id, "--follow")
    until(lambda: "running" in typed("ps").out)
    in_use = typed("resume", run_id)
    gone = typed("rm", run_id)
    assert typed("cancel", run_id).code == 0
    out, _ = process.communicate(timeout=15)

    assert (in_use.code, gone.code) == (1, 1)
    for ended in (in_use, gone):
        assert f"run {run_id!r} is in use by process {process.pid} on " in ended.err
        assert f"; wait for it, or stop it: carpool cancel {run_id}\n" in ended.err
        assert "run_id" not in ended.err.replace(repr(run_id), "")
    assert typed("ps").out.splitlines()[1].split()[1] == "cancelled"
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["interrupted"]
    assert "finished  one.md" in follower.communicate(timeout=15)[0]
    assert typed("cancel", run_id).code == 1


def test_a_journal_that_is_none_is_told_by_its_path(typed, folder: Path) -> None:
    (folder / "text.db").write_text("this is no database, but it is long enough to look like a page of one" * 100)
    ended = typed(*RUN, "--journal", "text.db")

    assert ended.code == 1
    assert "text.db" in ended.err
    assert "JournalCorrupt" in ended.err
    assert "to go on" not in ended.err  # for it is not on record


def test_a_key_in_a_task_is_not_stored(typed, folder: Path) -> None:
    key = "sk-" + "a1b2c3d4" * 5
    typed("run", "--task", f"use {key}", "--items", "one.md", "--runner", "crew:paid")
    stored = b"".join(file.read_bytes() for file in (folder / "state" / "carpool").iterdir())

    assert key.encode() not in stored
    assert sqlite3.connect(folder / "state" / "carpool" / "runs.db").execute("SELECT count(*) FROM rows").fetchone()[0]


def test_ps_as_json_has_every_field_of_every_run(typed, recorded: str) -> None:
    typed("run", "--task", "t", "--items", "one.md", "--runner", "crew:fails", "--budget", "1 agent")
    failed, completed = typed("ps", "--json").lines

    assert failed.keys() == completed.keys()
    assert (completed["failed"], failed["failed"]) == (0, 1)


def test_agents_of_one_role_are_shown_together(typed, recorded: str) -> None:
    shown = typed("show", recorded, "mapper").out

    assert [f"answer of mapper_{number}" in shown for number in range(4)] == [True, True, True, False]
    assert "answer of reducer" not in shown


def test_a_run_that_is_named_twice_is_removed_once(typed, recorded: str) -> None:
    ended = typed("rm", recorded, "last", recorded[:8])

    assert (ended.code, ended.err) == (0, f"removed run {recorded}\n")


def test_names_of_any_script_stand_in_columns(typed) -> None:
    names = ("ann", "日本語エージェント", "naïve")
    typed("run", "--pattern", "vote", *(f"--agent={name}" for name in names), "--task", "t", "--runner", "crew:paid")
    shown = typed("show", "last").out.partition("vote\n")[2].splitlines()

    assert len(shown) == 3
    assert len({width_of(line.partition("120 tokens")[0]) for line in shown}) == 1


def test_an_empty_variable_names_no_journal(typed, recorded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARPOOL_JOURNAL", "")

    assert recorded in typed("ps").out


@pytest.mark.parametrize("command", [RUN, ("ps",), ("resume", "last"), ("mcp",)])
def test_a_folder_is_no_journal(typed, folder: Path, command) -> None:
    ended = typed(*command, "--journal", str(folder))

    assert ended.code == 2
    assert f"the journal {folder} is a folder; name a file with --journal or CARPOOL_JOURNAL" in ended.err


def test_who_has_no_home_is_asked_for_a_journal(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)

    assert "there is no home folder for a journal; name a file" in typed("ps").err
    assert "there is no home folder" in typed("doctor").out
    assert typed(*RUN).code == 2
    assert typed(*RUN, "--no-journal").code == 0


def test_a_stdout_that_can_not_be_written_is_told_and_one_that_nobody_reads_is_not(started, recorded: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for command in (("ps",), ("export", recorded), ("--help",)):
        with Path("/dev/full").open("w") as full:
            process = started(*command, stdout=full)
            told = process.communicate()[1]
        assert process.returncode == 1
        assert told.count("\n") == 1
        assert "No space left on device" in told
    gone = started("events", recorded, stdout=writer)
    os.close(writer)
    assert (gone.communicate()[1], gone.returncode) == ("", 1)


def test_runs_at_once_share_a_journal(started, typed) -> None:
    processes = [started(*RUN, "--quiet") for _ in range(5)]

    assert [process.communicate()[0] for process in processes] == ["answer of reducer\n"] * 5
    assert [run["status"] for run in typed("ps", "--json").lines] == ["completed"] * 5


EACH = ("--estimate", "100 input tokens, 20 output tokens, $0.0125")


def rows_of(err: str) -> dict[str, list[str]]:
    """The bill: texts by label; a row without one belongs to the label above it."""
    rows: dict[str, list[str]] = {}
    label = ""
    for line in err.rpartition("\n\n")[2].splitlines():
        label = line[:8].strip() or label
        rows.setdefault(label, []).append(line[8:])
    return rows


def test_the_bill_of_a_resumed_run_says_of_the_budget_what_everybody_else_says(typed) -> None:
    stopped = typed(*RUN, *EACH, "--budget", "240 tokens")
    resumed = typed("resume", "last", "--add-budget", "240 tokens")
    bill = rows_of(resumed.err)

    assert rows_of(stopped.err)["budget"] == ["240 of 240 tokens · 0 left"]
    assert bill["budget"] == ["480 of 480 tokens · 0 left"]
    assert bill["before"] == ["120 tokens · $0.0125, on answers no longer used"]  # the editor of one answer
    assert bill["tokens"] == ["300 in · 60 out"]
    assert "spent   480 tokens" in typed("show", "last").out
    assert "spent   480 tokens" in typed("resume", "last", "--dry-run").out
    assert typed("resume", "last", "--json").lines[-1]["budget"]["total_tokens"] == 480


def test_an_item_more_makes_the_last_answer_one_that_was_paid_for_in_vain(typed, folder: Path) -> None:
    typed(*RUN, "--budget", "1k tokens, 9 agents, $1")
    (folder / "four.md").write_text("Cats are number four.")
    bill = rows_of(typed("resume", "last").err)

    assert bill["budget"][0] == "720 of 1,000 tokens · 280 left"
    assert bill["budget"][1] == "6 of 9 starts · 3 left"
    assert bill["budget"][2] == "$0.075 of $1.00 · $0.925 left"
    assert bill["before"] == ["120 tokens · $0.0125, on answers no longer used"]
    assert "spent   720 tokens" in typed("show", "last").out


def test_starts_that_came_to_nothing_are_told_apart_from_answers_that_are_not_used(typed, folder: Path) -> None:
    crew = (folder / "crew.py").read_text()
    (folder / "crew.py").write_text(crew + "\n\nasync def falls(spec, task, runtime, mailbox):\n"
        "    runtime.lease.charge(COST)\n"
        "    if 'three' in task and spec.name != 'reducer':\n"
        "        raise RuntimeError('fell')\n"
        "    return 'an answer'\n")  # fmt: skip
    run = ("run", "--task", "t", "--items", "*.md", "--runner", "crew:falls", "--budget", "2k tokens")
    typed(*run)
    bill = rows_of(typed("resume", "last").err)

    assert bill["budget"] == ["600 of 2,000 tokens · 1,400 left"]
    assert bill["before"] == ["120 tokens · $0.0125, on starts that were lost, failed or cancelled"]


# Items by their names


def test_an_agent_on_record_is_called_by_its_item(typed, recorded: str) -> None:
    shown = typed("show", recorded).out
    page = typed("show", recorded, "two.md").out

    for name in ("one.md", "two.md", "three.md"):
        assert f"  {name} " in shown
        assert f"finished  {name} " in typed("events", recorded).out
    assert "number two" in page
    assert page.startswith("map_reduce/mapper_2 · two.md · completed")
    assert "number one" not in page


def test_who_asks_for_an_agent_that_is_not_there_is_told_agents_and_items(typed, recorded: str) -> None:
    ended = typed("show", recorded, "gone.md")

    assert ended.code == 2
    assert "there are: mapper_0 of one.md, mapper_1 of three.md, mapper_2 of two.md, reducer" in ended.err


def test_an_item_that_nobody_was_started_on_is_not_an_unknown_one(typed) -> None:
    typed(*RUN, "--budget", "1 agent")
    ended = typed("show", "last", "two.md")

    assert ended.code == 2
    assert "'two.md' was never started in run" in ended.err
    assert "agent limit reached: 1 of at most 1" in ended.err
    assert "refused   two.md" in typed("events", "last").out


def test_an_item_keeps_its_name_when_another_comes_before_it(typed, recorded: str, folder: Path) -> None:
    (folder / "a.md").write_text("Cats are number zero.")
    typed("resume", recorded)

    for name, number in (("a.md", "zero"), ("one.md", "one"), ("two.md", "two"), ("three.md", "three")):
        (page,) = typed("show", recorded, name).out.split("system prompt:")[1:]
        assert f"Cats are number {number}." in page
    tree = typed("show", recorded).out.partition("map_reduce\n")[2].splitlines()
    assert len(tree) == 6  # four items, and an editor of three answers and one of four
    told = typed("events", recorded).out
    assert "recalled  mapper_1" in told  # which was three.md, and is one.md now
    assert "one.md" not in told


def test_the_lines_of_a_long_list_are_on_record_by_their_task(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    import carpool.cli.labels as labels

    monkeypatch.setattr(labels, "_MOST_BYTES", 20)
    typed(*RUN)

    assert "number two" in typed("show", "last", "two.md").out
    assert "finished  two.md" in typed("events", "last").out
    assert typed("ps", "--json").lines[0]["about"]["labels"] == {}


def test_a_key_in_the_name_of_an_item_is_not_stored(typed, folder: Path) -> None:
    key = "sk-" + "a1b2c3d4" * 5
    (folder / f"{key}.md").write_text("text")
    typed(*RUN)

    assert key.encode() not in b"".join(file.read_bytes() for file in (folder / "state" / "carpool").iterdir())
    assert "[secret].md" in typed("show", "last").out


# Columns


def test_events_stand_in_columns_whoever_they_are_about(typed) -> None:
    names = ("a", "an_agent_with_a_long_name", "bad")
    typed(
        "run", "--pattern", "vote", *(f"--agent={name}" for name in names), "--task", "t", "--runner", "crew:bad_fails"
    )
    told = [line for line in typed("events", "last").out.splitlines() if " ms" in line]

    assert len(told) == 3
    assert len({line.index(" ms") for line in told}) == 1
    assert all(name in line for name, line in zip(sorted(names), sorted(told, key=lambda line: line[22:]), strict=True))


# What would not help


def test_a_limit_that_is_not_there_is_not_raised_in_silence(typed) -> None:
    typed(*RUN, "--budget", "2 agents")
    dry = typed("resume", "last", "--add-budget", "$1", "--dry-run")
    ended = typed("resume", "last", "--add-budget", "$1, 3 agents", "--quiet")

    said = "carpool resume: --add-budget: the run has no limit that $1.00 could be added to, and goes on without one\n"
    assert (dry.err, ended.err) == (said, said)
    assert "budget  5 agents" in typed("show", "last").out


def test_what_the_ceiling_takes_from_what_is_added_is_told(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(*RUN, "--budget", "2 agents")
    monkeypatch.setenv("CARPOOL_MAX_BUDGET", "3 agents")
    told = typed("resume", "last", "--add-budget", "5 agents", "--dry-run")

    assert "with 5 agents more it would be 7 agents, and CARPOOL_MAX_BUDGET allows 3 agents\n" in told.err
    assert "budget  3 agents" in told.out


def test_who_is_stopped_by_the_ceiling_is_told_to_have_that_raised(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARPOOL_MAX_BUDGET", "2 agents, $5")
    ended = typed(*RUN, "--budget", "9 agents")
    quiet = typed(*RUN, "--budget", "0 agents", "--quiet")
    bill = rows_of(ended.err)

    assert bill["ended"] == [
        "stopped by the budget: agent limit reached: 2 of at most 2 agents started; CARPOOL_MAX_BUDGET allows no more"
    ]
    assert " · to go on: raise CARPOOL_MAX_BUDGET, which is $5.00, 2 agents, then carpool resume " in bill["run"][0]
    assert "raise max_agents to go on" in quiet.err  # this limit was the user's own


def test_every_limit_that_stopped_the_run_is_named(typed, folder: Path) -> None:
    (folder / "asking.py").write_text(
        "from carpool import TokenAccounting\n\n"
        "async def run(spec, task, runtime, mailbox):\n"
        "    runtime.lease.reserve(TokenAccounting(input_tokens=900))\n"
    )
    ended = typed("run", "--task", "t", "--items", "*.md", "--runner", "asking:run", "--budget", "500 tokens, 2 agents")
    told = rows_of(ended.err)["ended"][0]

    assert ended.code == 4
    assert "max_total_tokens reached: 0 spent" in told
    assert "agent limit reached: 2 of at most 2 agents started" in told
    assert told.count("; and ") == 1


def test_a_dry_run_needs_no_runner_and_going_on_does(typed, folder: Path) -> None:
    script = folder / "script.sh"
    script.write_text("#!/bin/sh\necho yes\n")
    script.chmod(0o700)
    typed("run", "--task", "t", "--items", "*.md", "--command", "./script.sh", "--budget", "1 agent")
    script.unlink()

    assert typed("resume", "last", "--add-budget", "5 agents", "--dry-run").code == 0
    assert typed("resume", "last", "--add-budget", "5 agents").code == 2
    assert typed("ps", "--json").lines[0]["epoch"] == 1


def test_who_kills_its_process_again_and_again_is_shown_as_poison_with_what_to_do(started, typed, folder) -> None:
    (folder / "killer.py").write_text(
        "import os\n\nasync def run(spec, task, runtime, mailbox):\n"
        "    os._exit(9) if 'number two' in task else None\n"
        "    return 'yes'\n"
    )
    alone = ("--pattern", "map-reduce", "--items", "two.md", "--runner", "killer:run", *EACH)
    deaths = [started("run", "--task", "t", *alone).wait()]
    deaths += [started("resume", "last").wait() for _ in range(3)]
    ended = typed("resume", "last")
    page = typed("show", "last", "two.md").out

    assert deaths == [9] * 4
    assert "withdrawn two.md  " in ended.err
    assert page.startswith("map_reduce/mapper_0 · two.md · lost · 480 tokens")
    assert "not started again:\npoison: the process died 4 times while this agent ran" in page
    assert "change its task or its spec" in page
    assert "lost · 4 starts · poison: the process died 4 times" in typed("show", "last").out
    assert "withdrawn two.md            poison: the process died" in typed("events", "last").out
    assert rows_of(ended.err)["before"] == ["480 tokens · $0.05, on starts that were lost, failed or cancelled"]


def test_a_run_that_is_taken_in_between_says_so_and_nothing_of_its_budget(typed, monkeypatch) -> None:
    from carpool.durable import SqliteJournal

    recorded = typed(*RUN, "--budget", "2 agents", "--json").lines[-1]["run_id"]
    looks = iter([False])  # of the first look; it is running from then on
    monkeypatch.setattr(SqliteJournal, "is_live", lambda *_: next(looks, True))
    ended = typed("resume", recorded)

    assert ended.code == 1
    assert "budget" not in rows_of(ended.err)
    assert f"carpool resume: RunInUse: run {recorded!r} is in use by " in ended.err
    assert ended.err.endswith(f"; wait for it, or stop it: carpool cancel {recorded}\n")
