"""Each example of a team file runs offline, and fits the schema."""

from pathlib import Path

import jsonschema_rs
import pytest

from carpool.teams import dump_team, read_team, team_schema
from carpool.teams.source import read_source

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "teams").iterdir())


def test_there_is_one_of_each_format() -> None:
    assert {example.suffix for example in EXAMPLES} == {".yaml", ".toml", ".json"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs(example: Path) -> None:
    team = read_team(example)
    plan = team.pattern.plan()

    result = team.run_sync()

    assert result.stop_reason == "completed"
    assert result.answer
    assert plan.agents_max is not None
    assert plan.agents_min <= result.budget.agents_started <= plan.agents_max
    assert jsonschema_rs.is_valid(team_schema(), read_source(example).data)
    assert dump_team(team.pattern)
    assert len(example.read_text().splitlines()) < 60
