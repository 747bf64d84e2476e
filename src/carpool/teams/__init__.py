"""Team files: the Python API as data, in YAML, TOML or JSON. One model, read, written and described by a schema."""

from .ceiling import lower_of
from .dumping import dump_team, team_document
from .schema import team_schema
from .starter import starter
from .team_file import TeamFile, load_team, read_team

__all__ = [
    "TeamFile",
    "dump_team",
    "load_team",
    "lower_of",
    "read_team",
    "starter",
    "team_document",
    "team_schema",
]
