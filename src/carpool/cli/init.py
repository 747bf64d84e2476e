"""``carpool init``: a team file to begin from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

from cyclopts import Parameter

from ..teams import starter
from .terminal import Screen
from .usage import DONE, UsageError

__all__ = ["init"]

_FORMATS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}


def init(
    file: Annotated[Path, Parameter(name="FILE", help="Where to; the ending says the format.")] = Path("team.yaml"),
    /,
) -> int:
    """Write a team file to begin from."""
    if file.suffix not in _FORMATS:
        raise UsageError(f"{file}: a team file ends in {', '.join(_FORMATS)}")
    text = starter(cast("Literal['yaml', 'toml', 'json']", _FORMATS[file.suffix]))
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{file}: there is one already, and it is left as it is; name another") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    Screen().say((f"{file} is a team that runs as it is: carpool run {file}", ""))
    return DONE
