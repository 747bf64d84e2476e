"""Whatever a file says, what comes of it is a pattern or a ConfigError, in every format, and soon."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool import Pattern
from carpool.errors import ConfigError
from carpool.teams.json_text import write_json
from carpool.teams.source import source_of
from carpool.teams.team_file import TeamFile
from carpool.teams.toml_text import write_toml
from carpool.teams.yaml_text import write_yaml

from .random_files import EVERYTHING, spoilt

WRITERS: dict[str, Any] = {"yaml": write_yaml, "toml": write_toml, "json": write_json}


@pytest.mark.parametrize("format_", WRITERS)
@given(document=spoilt())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_spoilt_file_is_a_pattern_or_a_config_error(format_: str, document: dict[str, Any]) -> None:
    try:
        text = WRITERS[format_](document)
    except ValueError:
        assert format_ == "toml"  # there is a null
        return
    said = ""
    try:
        assert isinstance(TeamFile(source_of(text, format_, "f"), Path("nowhere")).pattern, Pattern)
    except ConfigError as error:
        said = str(error)
    assert all(line.startswith("f") for line in said.splitlines())


@pytest.mark.parametrize("format_", WRITERS)
@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_with_characters_gone_or_added_is_a_pattern_or_a_config_error(format_: str, data: Any) -> None:
    document = (
        EVERYTHING if format_ != "toml" else {**EVERYTHING, "agents": {"ann": {"system_prompt": "x"}}, "policies": {}}
    )
    text: str = WRITERS[format_](document)
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(begin + 20, len(text))))
    added = data.draw(st.text(alphabet="ab:-[]{},&*!|>'\"#=. \n\t01\x00é", max_size=8))

    with suppress(ConfigError):
        TeamFile(source_of(text[:begin] + added + text[end:], format_, "f"), Path("nowhere"))
