"""The published schema says of a file what its decoder says: both are made from the same structs."""

import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool.errors import ConfigError
from carpool.teams import starter, team_document, team_schema
from carpool.teams.decoding import decode
from carpool.teams.document import TeamTable
from carpool.teams.meanings import MEANINGS
from carpool.teams.source import Source, source_of

from .random_files import COMMAND, EVERYTHING, VALUES, spoilt
from .random_teams import TEAMS

SCHEMA = team_schema()
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)

# What only the values of several keys show, or the constructor of a value of carpool's: no schema says it.
BEYOND = re.compile(
    r"needs either|takes either|are for a 'command'|two policies|, 0 or more(?: and finite)?, not|unpriced"
)


def problem(document: Any) -> str | None:
    try:
        decode(Source("f", document, lambda place: None), TeamTable)
    except ConfigError as error:
        return str(error)
    return None


def assert_alike(document: Any) -> None:
    found, fits = problem(document), VALIDATOR.is_valid(document)

    assert fits or found, "decoded, but does not fit the schema"
    if fits and found:
        assert BEYOND.search(found), f"fits the schema, but: {found}"


def test_the_schema_is_one() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert msgspec.json.decode(msgspec.json.encode(SCHEMA)) == SCHEMA


def test_a_file_with_every_table_fits() -> None:
    assert VALIDATOR.is_valid(EVERYTHING)
    assert problem(EVERYTHING) is None
    assert VALIDATOR.is_valid(EVERYTHING | {"runner": COMMAND})
    assert problem(EVERYTHING | {"runner": COMMAND}) is None


@pytest.mark.parametrize("format_", ["yaml", "toml", "json"])
def test_the_starters_fit(format_: Any) -> None:
    assert VALIDATOR.is_valid(source_of(starter(format_), format_, "f").data)


def tables() -> dict[str, Any]:
    return {"TeamTable": SCHEMA, **SCHEMA["$defs"]}


@pytest.mark.parametrize("name", tables())
def test_every_table_is_closed_and_every_key_is_explained(name: str) -> None:
    table = tables()[name]

    assert table["additionalProperties"] is False
    assert all(value["description"] for value in table["properties"].values())


def test_nothing_is_explained_that_there_is_not() -> None:
    keys = {key for table in tables().values() for key in table["properties"]}
    places = {f"{name}.{key}" for name, table in tables().items() for key in table["properties"]}

    assert set(MEANINGS) <= keys | places


def test_the_schema_refers_to_nothing_outside() -> None:
    text = msgspec.json.encode(SCHEMA).decode()

    assert set(re.findall(r'"\$ref":"(.*?)"', text)) <= {f"#/$defs/{name}" for name in SCHEMA["$defs"]}
    assert "discriminator" not in text


@given(team=TEAMS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_whatever_is_written_fits(team: Any) -> None:
    assert VALIDATOR.is_valid(team_document(team))


@given(spoilt())
@settings(deadline=None, max_examples=600)
def test_schema_and_decoder_agree_on_what_is_wrong(document: Any) -> None:
    assert_alike(document)


@given(
    st.recursive(
        VALUES, lambda each: st.dictionaries(st.sampled_from([*SCHEMA["properties"], "pattern"]), each), max_leaves=8
    )
)
@settings(deadline=None, max_examples=200)
def test_schema_and_decoder_agree_on_anything(document: Any) -> None:
    assert_alike(document)


def test_the_schema_is_the_same_each_time() -> None:
    assert list(team_schema()) == list(SCHEMA)
    assert team_schema() == SCHEMA
