"""``carpool schema``: the JSON Schema of team files."""

from __future__ import annotations

import msgspec

from ..teams import team_schema
from .terminal import Screen
from .usage import DONE

__all__ = ["schema"]


def schema() -> int:
    """Print the JSON Schema of team files."""
    Screen().answer(msgspec.json.format(msgspec.json.encode(team_schema())).decode())
    return DONE
