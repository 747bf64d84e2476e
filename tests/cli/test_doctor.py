"""``carpool doctor``: what is usable, which keys are set, what to install; never a value, never the network."""

import importlib.util
import json

import pytest

import carpool.cli.doctor as doctor


def test_it_says_what_is_usable_and_what_to_install_for_the_rest(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "mcp" else real(name))
    told = typed("doctor")

    assert told.code == 0
    assert "extractive          usable" in told.out
    assert "mcp                 missing" in told.out
    assert "pip install 'carpool[mcp]'" in told.out


def test_a_key_is_told_to_be_set_and_nothing_of_it_is_shown(typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    for told in (typed("doctor"), typed("doctor", "--json")):
        assert "secret" not in told.out + told.err
    keys = {key["name"]: key["state"] for key in json.loads(told.out)["keys"]}

    assert (keys["OPENAI_API_KEY"], keys["ANTHROPIC_API_KEY"]) == ("set", "not set")


def test_looking_makes_nothing(typed, folder) -> None:
    typed("doctor")

    assert not (folder / "state").exists()


@pytest.mark.parametrize("part", [*doctor._RUNNERS, *doctor._PARTS], ids=lambda part: part.name)
def test_every_extra_that_it_names_is_one(part) -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    assert not part.extra or part.extra in extras
