"""The JSON Schema of team files, made from the same structs that decode them."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from .document import TeamTable
from .meanings import MEANINGS

__all__ = ["team_schema"]


def team_schema() -> dict[str, Any]:
    """What a team file may be, as JSON Schema (2020-12), for editors and other programs.

    A file that fits it has nothing wrong with its keys and types; what only the whole can show, such as an agent's name
    that nobody has, is found by reading it.
    """
    schema = msgspec.json.schema(TeamTable)
    own = schema["$defs"].pop("TeamTable")
    for table in [own, *schema["$defs"].values()]:
        _close(table)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, "title": "A carpool team"}
    return _without_discriminators(named | {"$defs": dict(sorted(schema["$defs"].items()))})


def _close(table: dict[str, Any]) -> None:
    """No other keys; each key with what it means; and an agent needs no ``pattern``, which is how it is told apart."""
    table["additionalProperties"] = False
    is_agent = table["properties"].get("pattern") == {"enum": ["agent"]}
    table["required"] = [key for key in table["required"] if not (is_agent and key == "pattern")]
    for key, value in table["properties"].items():
        said = MEANINGS.get(f"{table['title']}.{key}") or MEANINGS[key]
        table["properties"][key] = {"description": said, **value}


def _without_discriminators(value: Any) -> Any:
    """``discriminator`` is OpenAPI's, and says that every table has a ``pattern``."""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {key: _without_discriminators(each) for key, each in pairs if key != "discriminator"}
    if isinstance(value, list):
        return [_without_discriminators(each) for each in cast("list[Any]", value)]
    return value
