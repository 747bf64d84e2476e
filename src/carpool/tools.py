"""A Python function as a tool: its schema from signature and docstring, its arguments checked before a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from functools import partial
from typing import Any, cast

import msgspec
from anyio import to_thread
from msgspec.structs import replace

from .actions import Tier, ToolSchema
from .schemas import checker

__all__ = ["FunctionTool", "SchemaTool", "Tool", "as_tool"]

Prepared = Callable[[], Awaitable[Any]]
_MUTABLE: tuple[type[Any], ...] = (list, dict, set, msgspec.Struct)


class Tool:
    """Something an agent can call by name with JSON arguments. A subclass says what a call does."""

    def __init__(self, schema: ToolSchema) -> None:
        self.schema = schema
        self.check_output = None if schema.returns is None else checker(schema.returns, f"tool {schema.name!r}")

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        """A call with these arguments, checked now and made, any number of times, later.

        :raises ValueError: when they don't fit the schema; the text names the place, never the value.
        """
        raise NotImplementedError


class FunctionTool(Tool):
    """A function; a sync one runs in a thread, so that it doesn't stop the loop.

    A cancellation does not wait for such a thread: what it still does, it does unseen.
    """

    def __init__(self, function: Callable[..., Any], tier: Tier | None = None) -> None:
        import inspect  # slow to load, and only who has tools needs it

        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise ValueError(f"a tool needs a name: {function!r} has none; write a def")
        self._function = function
        self._is_async = _is_async(function)
        self._arguments = _arguments_of(name, function)
        try:
            parameters = _json_schema(self._arguments)
        except TypeError as error:
            raise ValueError(f"tool {name!r}: {str(error).splitlines()[-1]}; agents pass JSON") from None
        schema = ToolSchema(
            name=name,
            description=inspect.getdoc(function) or "",
            parameters=parameters,
            tier=tier or "full_access",
        )
        super().__init__(schema)

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        try:
            checked = msgspec.convert(arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise ValueError(f"arguments don't fit: {error}") from None
        values = {name: getattr(checked, name) for name in self._arguments.__struct_fields__}
        return lambda: _call(self._function, self._is_async, values)


class SchemaTool(Tool):
    """A function that takes the JSON arguments of a hand-written schema as keywords."""

    def __init__(self, schema: ToolSchema, function: Callable[..., Any]) -> None:
        super().__init__(schema)
        self._check = checker(schema.parameters, f"tool {schema.name!r}")
        self._function = function
        self._is_async = _is_async(function)

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        if problems := self._check(arguments):
            raise ValueError(f"arguments don't fit: {problems}")
        return lambda: _call(self._function, self._is_async, arguments)


def as_tool(
    tool: Tool | ToolSchema | Callable[..., Any], function: Callable[..., Any] | None = None, tier: Tier | None = None
) -> Tool:
    """``tool`` as a tool: itself, a function, or a schema with the ``function`` that does it.

    :raises ValueError: for a function without a name, or with parameters that can't be passed by name.
    :raises ConfigError: for an invalid schema.
    """
    if isinstance(tool, ToolSchema):
        if function is None:
            raise ValueError(f"tool {tool.name!r}: a schema needs the function that does it")
        return SchemaTool(tool if tier is None else replace(tool, tier=tier), function)
    if isinstance(tool, Tool):
        if tier is not None:
            tool.schema = replace(tool.schema, tier=tier)
        return tool
    if not callable(tool):
        raise TypeError(f"a tool is a function, a ToolSchema with one, or a Tool, not {tool!r}")
    return FunctionTool(tool, tier)


async def _call(function: Callable[..., Any], is_async: bool, values: dict[str, Any]) -> Any:
    if is_async:
        return await cast("Awaitable[Any]", function(**values))
    output = await to_thread.run_sync(lambda: function(**values), abandon_on_cancel=True)
    return await output if hasattr(output, "__await__") else output  # a plain wrapper around an async function


def _is_async(function: Callable[..., Any]) -> bool:
    import inspect

    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _arguments_of(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    """The function's parameters as a type that msgspec can check and describe."""
    import inspect
    from typing import get_type_hints

    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"tool {name!r}: parameter {parameter} can't be passed by name; agents pass JSON objects")
        hint = hints.get(parameter.name, Any)
        default: Any = parameter.default
        if isinstance(default, _MUTABLE):
            default = msgspec.field(default_factory=partial(deepcopy, default))  # each call gets its own
        fields.append((parameter.name, hint) if default is parameter.empty else (parameter.name, hint, default))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _json_schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    (own_place,), parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    own = parts.pop(own_place["$ref"].removeprefix("#/$defs/"))  # not by its name: a parameter's type may have that too
    return own | ({"$defs": parts} if parts else {})
