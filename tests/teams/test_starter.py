"""The file that beginners start from runs as it is, in an empty folder, and what it says in comments is so."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from carpool.teams import read_team, starter
from carpool.teams.source import source_of
from carpool.teams.team_file import TeamFile


@pytest.mark.parametrize("format_", ["yaml", "toml", "json"])
def test_a_starter_runs_offline(file, monkeypatch: pytest.MonkeyPatch, format_: Any) -> None:
    def no_network(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    team = read_team(file(starter(format_), f"team.{format_}"))
    plan = team.pattern.plan()

    result = team.run_sync()

    assert result.stop_reason == "completed"
    assert "smell" in result.answer
    assert result.budget.agents_started == 3
    assert plan.unestimated == []
    assert result.budget.overrun.total_tokens == 0


def test_the_starters_say_the_same() -> None:
    documents = [TeamFile(source_of(starter(each), each, "f"), Path()).document for each in ("yaml", "toml", "json")]

    assert documents[0] == documents[1] == documents[2]


@pytest.mark.parametrize("format_", ["yaml", "toml"])
def test_it_is_commented(format_: Any) -> None:
    assert len(re.findall(r"^ *# ", starter(format_), re.MULTILINE)) > 8


def test_what_the_comments_of_the_yaml_one_offer_is_understood() -> None:
    text = starter("yaml").replace("runner: extractive", "")
    for offered in ("runner:", "  model: {model"):
        text = text.replace(f"# {offered}", offered)
    text = text.replace("# Files are named like this: ", "")
    team = TeamFile(source_of(text, "yaml", "f"), Path())

    assert team.document.runner.model.model == "openai:MODEL"
    assert team.items.given[0] == "docs/**/*.md"


def test_what_the_comments_of_the_toml_one_offer_is_understood() -> None:
    text = starter("toml").replace('runner = "extractive"', "").partition("# Files are named like this, in [team]: ")
    items = text[2].partition("\n")[0]
    text = f'{text[0]}{items}\n[runner.model]\nmodel = "openai:MODEL"\n'
    team = TeamFile(source_of(text, "toml", "f"), Path())

    assert '# [runner.model]\n# model = "openai:MODEL"\n' in starter("toml")
    assert team.document.runner.model.model == "openai:MODEL"
    assert team.items.given == ["docs/**/*.md"]


def test_there_is_no_other_format() -> None:
    with pytest.raises(ValueError, match="format must be 'yaml', 'toml' or 'json', not 'xml'"):
        starter("xml")  # pyright: ignore[reportArgumentType]
