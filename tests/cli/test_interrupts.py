"""Ctrl-C, SIGTERM, SIGHUP and closed pipes: what has finished is kept, its cost is told, and nothing is left behind."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

RUN = ("run", "--task", "What about cats?", "--items", "one.md", "two.md")


def wait_for(process: subprocess.Popen[str], *told: str) -> str:
    """Read stderr until each of ``told`` is there; the deadline of the process ends it if they never come."""
    seen = ""
    while not all(text in seen for text in told):
        line = process.stderr.readline()
        assert line, f"ended without {told}: {seen}"
        seen += line
    return seen


@pytest.fixture
def nobody() -> Iterator[int]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_prints_what_had_finished_and_what_it_cost(started, number: signal.Signals) -> None:
    process = started(*RUN, "--runner", "crew:first_only")
    wait_for(process, "finished  one.md", "started   two.md")

    process.send_signal(number)
    out, err = process.communicate()

    assert process.returncode == 130, err
    assert out == "one.md:\nthe first answer\n"
    assert "stopping; what has finished is kept" in err
    assert "cancelled two.md" in err
    assert "agents  2 starts · 1 finished · 1 cancelled" in err
    assert "tokens  100 in · 20 out" in err
    assert "cost    $0.0125" in err
    assert "ended   interrupted" in err
    assert "Traceback" not in err


def test_an_interruption_as_json_ends_with_what_there_was(started) -> None:
    process = started(*RUN, "--runner", "crew:first_only", "--json")
    seen = []
    while sum(line["kind"] == "agent_started" for line in seen) < 2:
        seen.append(json.loads(process.stdout.readline()))

    process.send_signal(signal.SIGINT)
    out, err = process.communicate()

    *events, result = map(json.loads, out.splitlines())
    assert (process.returncode, err) == (130, "")
    assert "agent_cancelled" in [event["kind"] for event in events]
    assert (result["kind"], result["exit_code"], result["interrupted"]) == ("result", 130, True)
    assert [output["answer"] for output in result["outputs"]] == ["the first answer"]


@pytest.mark.parametrize("runner", ["crew:swallows", "crew:InAThread"])
def test_an_agent_that_won_t_stop_does_not_keep_the_run_from_it(started, runner: str) -> None:
    process = started(*RUN, "--runner", runner)
    wait_for(process, "started   one.md", "started   two.md")

    process.send_signal(signal.SIGINT)
    _, err = process.communicate()

    assert process.returncode == 130, err
    assert "ended   interrupted" in err


def test_the_second_interruption_ends_even_an_agent_that_blocks_everything(started) -> None:
    process = started("run", "--task", "x", "--pattern", "vote", "--agent", "a", "--runner", "crew:blocks")
    wait_for(process, "blocking")

    # Signals that arrive together count once, so that two sent at once may be one.
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)

    assert process.returncode == 130


def test_a_terminal_that_hangs_up_again_and_again_only_asks(started) -> None:
    process = started(*RUN, "--runner", "crew:first_only")
    wait_for(process, "finished  one.md", "started   two.md")

    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    out, err = process.communicate()

    assert (process.returncode, out) == (130, "one.md:\nthe first answer\n"), err
    assert err.count("stopping") == 1
    assert "ended   interrupted" in err


def test_what_hangs_up_under_nohup_goes_on(started) -> None:
    ours = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = started(*RUN, "--runner", "crew:first_only")
    finally:
        signal.signal(signal.SIGHUP, ours)
    wait_for(process, "started   two.md")

    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()

    assert process.returncode == 130, err
    assert err.count("stopping") == 1


def test_an_ignored_signal_stays_ignored(started) -> None:
    process = started(*RUN, "--runner", "crew:first_only", on_interrupt=signal.SIG_IGN)
    wait_for(process, "started   two.md")

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()

    assert process.returncode == 130, err
    assert err.count("stopping") == 1


def test_when_nobody_reads_the_events_the_run_is_stopped(started, nobody: int) -> None:
    process = started(*RUN, "--runner", "crew:first_only", "--json", stdout=nobody)

    assert process.stderr.read() == "carpool run: standard output could not be written: Broken pipe\n"
    assert process.wait() == 1


def test_when_nobody_reads_the_answer_the_bill_is_told_all_the_same(started, nobody: int) -> None:
    process = started(*RUN, "--runner", "crew:paid", stdout=nobody)

    err = process.stderr.read()

    assert process.wait() == 1
    assert "agents  3 starts · 3 finished" in err
    assert err.endswith("carpool run: standard output could not be written: Broken pipe\n")


def test_when_nobody_reads_the_progress_the_answer_is_given(started, nobody: int) -> None:
    process = started(*RUN, "--runner", "crew:paid", stderr=nobody)

    assert process.communicate()[0] == "answer of reducer\n"
    assert process.returncode == 0
