"""``carpool doctor``: what of carpool can be used here, and what to install or set for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Parameter

from .journal import JournalFlag, journal_file
from .terminal import Screen
from .usage import DONE, UsageError

__all__ = ["doctor"]


class _Part(NamedTuple):
    """Something that needs ``modules``, which the extra brings."""

    name: str
    about: str
    modules: tuple[str, ...]
    extra: str


_RUNNERS = (
    _Part("extractive", "sentences picked from texts, offline, no model", (), ""),
    _Part("ModelRunner", "--model openai:…, anthropic:…, any OpenAI-compatible server", ("pydantic_ai",), "models"),
    _Part("CommandRunner", "--command 'claude -p', a script of yours", (), ""),
    _Part("PydanticAIRunner", "agents of Pydantic AI", ("pydantic_ai",), "pydantic-ai"),
    _Part("OpenAIAgentsRunner", "agents of the OpenAI Agents SDK", ("agents",), "openai-agents"),
    _Part("LangChainRunner", "runnables of LangChain", ("langchain_core",), "langchain"),
)
_PARTS = (
    _Part("schemas", "tools that bring a JSON Schema", ("jsonschema_rs",), "schema"),
    _Part("mcp", "MCP servers as tools; carpool mcp", ("mcp",), "mcp"),
    _Part("YAML", "team files in YAML", ("yaml",), "yaml"),
    _Part("viewer", "carpool view", ("starlette", "uvicorn"), "viewer"),
    _Part("telemetry", "OpenTelemetry spans and metrics", ("opentelemetry",), "otel"),
    _Part("Postgres", "journals and purses for several hosts", ("psycopg",), "postgres"),
)
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY")
_COMMANDS = ("claude", "codex", "llm", "git")

_Row = tuple[str, str, str]


def doctor(
    *,
    json: Annotated[bool, Parameter(negative="", help="As JSON, on one line.")] = False,
    journal: JournalFlag = None,
) -> int:
    """Say what can be used here. No key's value is ever shown, and nothing is asked of the network."""
    found: dict[str, list[_Row]] = {
        "carpool": [_carpool(), ("Python", platform.python_version(), ""), ("SQLite", sqlite3.sqlite_version, "")],
        "runners": [_looked_at(part) for part in _RUNNERS],
        "extras": [_looked_at(part) for part in _PARTS],
        "keys": [(name, "set" if os.environ.get(name) else "not set", "") for name in _KEYS],
        "commands": [(name, "found" if shutil.which(name) else "not found", "") for name in _COMMANDS],
        "journal": [_journal(journal)],
    }
    Screen().answer(_as_json(found) if json else _as_text(found))
    return DONE


def _carpool() -> _Row:
    try:
        return "carpool", version("carpool"), ""
    except PackageNotFoundError:
        return "carpool", "not installed", "it runs from its source"


def _looked_at(part: _Part) -> _Row:
    missing = [module for module in part.modules if find_spec(module) is None]
    if missing:
        return part.name, "missing", f"{part.about}; pip install 'carpool[{part.extra}]'"
    return part.name, "usable", part.about


def _journal(given: Path | None) -> _Row:
    """Whether runs can be recorded; nothing is made to find out."""
    try:
        path = journal_file(given)
    except UsageError as error:
        return "journal", "not usable", str(error)
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if os.access(there, os.W_OK):
        return "journal", "usable", str(path)
    return "journal", "not usable", f"{there} can't be written; choose another with --journal or CARPOOL_JOURNAL"


def _as_text(found: dict[str, list[_Row]]) -> str:
    rows = [row for rows in found.values() for row in rows]
    names, states = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    return "\n\n".join(
        "\n".join(f"{name:<{names}}  {state:<{states}}  {about}".rstrip() for name, state, about in rows)
        for rows in found.values()
    )


def _as_json(found: dict[str, list[_Row]]) -> str:
    lines = {
        part: [{"name": name, "state": state, "about": about} for name, state, about in rows]
        for part, rows in found.items()
    }
    return msgspec.json.encode({"kind": "doctor", **lines}).decode()
