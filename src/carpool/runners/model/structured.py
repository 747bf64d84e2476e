"""Answers that have to fit a schema: what the model is asked for, and whether what it says fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ...errors import ConfigError
from ...schemas import checker
from ...types import AgentSpec

if TYPE_CHECKING:
    from pydantic_ai.models import Model
    from pydantic_ai.output import OutputObjectDefinition

__all__ = ["METADATA_KEY", "AnswerSchema", "AnswerSchemas"]

METADATA_KEY = "output_schema"
_NAME = "answer"
_MOST_READY = 256


class AnswerSchema:
    """``check`` turns the text of an answer into JSON that fits, or raises ``ValueError`` with what is wrong."""

    def __init__(self, schema: dict[str, Any], check: Callable[[str], str]) -> None:
        self.schema = schema
        self.check = check

    def asked_natively(self, model: Model[Any]) -> OutputObjectDefinition | None:
        """The schema as the provider takes it; ``None`` where it takes none, or none of that form."""
        from pydantic_ai.output import OutputObjectDefinition

        if self.schema.get("type") != "object" or not model.profile.get("supports_json_schema_output", False):
            return None
        return OutputObjectDefinition(json_schema=self.schema, name=_NAME)

    def instructions(self) -> str:
        """For a provider that takes no schema: the words to ask with."""
        text = msgspec.json.encode(self.schema).decode()
        return f"Answer with one JSON value and nothing else. It has to fit this JSON Schema:\n{text}"


class AnswerSchemas:
    """What specs ask for, made ready once for each schema: the agents of a fan-out mostly share one."""

    def __init__(self) -> None:
        self._ready: dict[int, tuple[object, AnswerSchema]] = {}  # by identity; it is kept, so that it stays the same

    def of(self, spec: AgentSpec) -> AnswerSchema | None:
        """What ``spec.metadata["output_schema"]`` asks for: a JSON Schema, or a type that Pydantic can check.

        :raises ConfigError: for neither, or for a JSON Schema without the extra ``schema``.
        """
        wanted: Any = spec.metadata.get(METADATA_KEY)
        if wanted is None:
            return None
        key = id(wanted)
        _, ready = self._ready.get(key, (None, None))
        if ready is None:
            ready = _made_ready(wanted, f"agent {spec.name!r}: metadata[{METADATA_KEY!r}]")
            if len(self._ready) >= _MOST_READY:
                self._ready.clear()
            self._ready[key] = wanted, ready
        return ready


def _made_ready(wanted: Any, where: str) -> AnswerSchema:
    return _by_schema(cast("dict[str, Any]", wanted), where) if isinstance(wanted, dict) else _by_type(wanted, where)


def _by_schema(schema: dict[str, Any], where: str) -> AnswerSchema:
    problems_of = checker(schema, where)

    def check(text: str) -> str:
        try:
            value = msgspec.json.decode(_without_fence(text))
        except msgspec.DecodeError as error:
            raise ValueError(f"it is not JSON: {error}") from None
        problems = problems_of(value)
        if problems:
            raise ValueError(f"it does not fit the schema: {problems}")
        return msgspec.json.encode(value).decode()

    return AnswerSchema(schema, check)


def _by_type(wanted: Any, where: str) -> AnswerSchema:
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(wanted)
        schema = adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, SyntaxError, NameError) as error:
        raise ConfigError(f"{where} is a JSON Schema or a type that Pydantic knows, not {wanted!r}") from error

    def check(text: str) -> str:
        try:
            value = adapter.validate_json(_without_fence(text))
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, each['loc'])) or '$'}: {each['msg']}" for each in error.errors()[:5]]
            raise ValueError(f"it does not fit the schema: {'; '.join(problems)}") from None
        return adapter.dump_json(value).decode()

    return AnswerSchema(schema, check)


def _without_fence(text: str) -> str:
    """Models like to put JSON into a block of Markdown."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.partition("\n")[2].removesuffix("```")
    return text
