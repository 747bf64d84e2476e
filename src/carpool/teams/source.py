"""A team file as it was read: plain data, and where in the file each value stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError

__all__ = ["DEEPEST", "FORMATS", "LARGEST_BYTES", "Ambiguous", "Place", "Source", "read_source", "source_of"]

LARGEST_BYTES = 1_000_000
DEEPEST = 100
"""Levels of nesting: about 50 patterns, each in the one around it; by name they nest deeper."""

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
"""The format of a file by the end of its name."""

Place = tuple[str | int, ...]
"""The keys and indexes that lead to a value: ``("team", "agents", 0)``."""


class Ambiguous(NamedTuple):
    """What YAML 1.1 and YAML 1.2 read as different values, such as ``no`` or ``012``."""

    text: str
    readings: str


class Source:
    """The data of one file. ``line(place)`` is the line where the key or list entry at ``place`` begins, from 1, or
    ``None`` if there is no such place; it is looked up only when something is wrong."""

    def __init__(self, file: str, data: Any, line: Callable[[Place], int | None]) -> None:
        self.file = file
        self.data = data
        self._line = line

    def at(self, place: Place) -> str:
        """``team.yaml:12: team.agents[0]``: for the beginning of a message. What is not there, a missing key for
        instance, is said to be where the table is that should have it."""
        line = None
        for end in range(len(place), -1, -1):
            line = self._line(place[:end])
            if line is not None:
                break
        where = self.file if line is None else f"{self.file}:{line}"
        return f"{where}: {spelled(place)}" if place else where

    def refuse(self, place: Place, why: str) -> ConfigError:
        """The error that says so, on one line; what could move a cursor is written as its escape."""
        text = f"{self.at(place)}: {why}"
        return ConfigError("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))


def read_source(path: Path) -> Source:
    """The file at ``path``, by the end of its name as YAML, TOML or JSON. Nothing that it says is carried out.

    :raises ConfigError: when it can't be read, is larger than 1 MB, not UTF-8, or not what its name says, with the
        line; has a key twice; or, for YAML, without the extra ``yaml``.
    """
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise ConfigError(f"{path}: is no team file by its name, which must end in {', '.join(FORMATS)}")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise ConfigError(f"{str(path)!r}: is no name of a file") from None
    if len(content) > LARGEST_BYTES:
        raise ConfigError(f"{path}: is larger than {LARGEST_BYTES:,} bytes, the most that a team file may have")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 at byte {error.start:,}") from None
    return source_of(text, format_, str(path))


def source_of(text: str, format_: str, file: str) -> Source:
    """``text``, in the format ``"yaml"``, ``"toml"`` or ``"json"``; ``file`` is what errors call it.

    :raises ConfigError: as :func:`read_source`.
    """
    if format_ == "yaml":
        try:
            from .yaml_text import read_yaml
        except ImportError:
            raise ConfigError(f"{file}: to read YAML, pip install 'carpool[yaml]'; or write TOML or JSON") from None
        return read_yaml(text, file)
    if format_ == "toml":
        from .toml_text import read_toml

        return read_toml(text, file)
    from .json_text import read_json

    return read_json(text, file)


def spelled(place: Place) -> str:
    """``team.agents[0].name``; a key that is no plain word is quoted."""
    parts: list[str] = []
    for each in place:
        if isinstance(each, int):
            parts.append(f"[{each}]")
        elif each.replace("-", "_").replace("$", "_").isidentifier():
            parts.append(f".{each}" if parts else each)
        else:
            parts.append(f"[{each!r}]")
    return "".join(parts)
