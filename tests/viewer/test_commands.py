"""The commands that show runs: ``view``, ``trace`` and ``show --value``, on a journal in a file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from carpool import AgentSpec, Vote
from carpool.cli import main
from carpool.durable import SqliteJournal

from .runs import every_outcome, run_on, saying


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "runs.db"

    async def fill() -> None:
        async with SqliteJournal(path) as journal:
            await every_outcome(journal, max_concurrent=1)
            await every_outcome(journal, "../odd/name")
            answers = dict(zip("abcde", ["Rome", "Paris", "Paris", "Paris", "Rome"], strict=True))
            team = Vote([AgentSpec(name, "") for name in answers])
            await run_on(journal, team, saying(lambda spec, task: answers[spec.name]), run_id="vote")

    anyio.run(fill)
    return path


# carpool view


def started(journal: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "carpool.cli", "view", *arguments, "--journal", str(journal)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.fixture
def viewing(journal: Path) -> Iterator[subprocess.Popen[str]]:
    process = started(journal, "r")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_view_prints_an_address_that_opens_the_run_and_ends_well_when_interrupted(
    viewing: subprocess.Popen[str], sign: signal.Signals
) -> None:
    assert viewing.stdout is not None
    url = viewing.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("#/run/r")
    with urllib.request.urlopen(url.partition("#")[0], timeout=10) as page:
        assert b"<!doctype html>" in page.read()

    viewing.send_signal(sign)
    out, err = viewing.communicate(timeout=10)

    assert (viewing.returncode, out) == (0, "")
    assert err == "on this machine alone, for whoever has this address; Ctrl-C ends it\n"


def test_view_opens_a_browser_by_a_file_that_only_its_user_can_read(journal: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$1\" > {tmp_path}/told.part\nmv {tmp_path}/told.part {tmp_path}/told\n"
    )
    browser.chmod(0o755)
    process = started(journal, "r", "--open", BROWSER=f"{browser} %s")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        told = tmp_path / "told"
        while not told.exists():
            assert process.poll() is None
        opened = told.read_text().strip()
        page = Path(opened.removeprefix("file://"))
        assert "token" not in opened
        assert url.replace("&", "&amp;") in page.read_text()
        assert page.parent.stat().st_mode & 0o077 == 0
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert not page.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none"], "no run 'none' in this journal"),
        (["--port", "-1"], "--port must be between 0 and 65535, not -1"),
        (["--port", "65536"], "--port must be between 0 and 65535, not 65536"),
    ],
)
def test_view_of_what_is_not_there_says_so(
    journal: Path, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", *arguments, "--journal", str(journal)]) == 2

    assert reason in capsys.readouterr().err


def test_view_says_which_port_is_taken(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", "--port", str(port), "--journal", str(journal)]) == 1

    assert capsys.readouterr().err == f"carpool view: port {port}: Address already in use\n"


def test_view_without_its_extra_says_what_to_install(
    journal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "carpool.viewer.serving", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["view", "--journal", str(journal)]) == 2

    assert "this needs uvicorn; run: pip install 'carpool[viewer]'" in capsys.readouterr().err


# carpool trace


def test_trace_writes_one_file(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.html"

    assert main(["trace", "r", "-o", str(path), "--journal", str(journal)]) == 0

    assert path.read_text().startswith("<!doctype html>")
    assert f"wrote {path}, 0.1 MB; it holds every task and answer of the run" in capsys.readouterr().err


def test_trace_by_default_writes_beside_whoever_asks_and_nowhere_else(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["trace", "../odd/name", "--journal", str(journal)]) == 0

    assert [path.name for path in tmp_path.iterdir()] == ["_odd_name.html"]


def test_trace_says_why_it_can_not_write(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "r", "-o", str(tmp_path / "none" / "run.html"), "--journal", str(journal)]) == 1

    assert "No such file or directory" in capsys.readouterr().err


# carpool show --value


def shown(journal: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["show", *arguments, "--journal", str(journal)]) == 0
    return capsys.readouterr().out


def test_show_value_tells_what_a_run_was_worth(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(journal, "r", "--value", capsys=capsys).splitlines()

    told = {line[:8].strip(): line[8:] for line in lines if line[:8].strip()}
    assert told["useful"].startswith("4 of 4 answers by 5 agents")
    assert told["each"].endswith("for each useful answer")
    assert "% of all tokens" in told["unread"]
    assert told["starts"].endswith("retried after ValueError")
    assert told["refused"].endswith("max_total_tokens reached")
    assert "together" in told["time"]


def test_show_value_tells_what_votes_changed(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(journal, "vote", "--value", capsys=capsys)

    assert "vote    vote: Paris, by 3 of 5" in text
    assert "the last vote that changed the winner was number 3; decided after number 4; 1 vote after that cost" in text
    assert "   1  a → Rome" in text
    assert "   3  c → Paris" in text


def test_show_value_as_json_is_the_report(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report: dict[str, Any] = json.loads(shown(journal, "vote", "--value", "--json", capsys=capsys))

    assert report["useful"] == 5
    assert report["ballots"][0]["winner"] == "Paris"


def test_show_value_of_an_agent_is_refused(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "r", "reader_0", "--value", "--journal", str(journal)]) == 2

    assert "--value is of a whole run, not of an agent" in capsys.readouterr().err
