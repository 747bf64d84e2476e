"""A Python function as a tool: its schema from signature and docstring, its arguments checked before a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from anyio import to_thread
import msgspec

from .actions import ToolSchema
from .errors import ToolError

__all__ = ["FunctionTool", "Tool", "as_tool"]


class Tool:
    """Something an agent can call by name with JSON arguments."""

    schema: ToolSchema

    async def call(self, arguments: dict[str, Any]) -> Any:
        """The tool's output.

        :raises ToolError: when the arguments don't fit the schema. Whatever else it raises is its failure.
        """
        raise NotImplementedError


class FunctionTool(Tool):
    """A function; a sync one runs in a thread, so that it doesn't stop the loop.

    A cancellation does not wait for such a thread: what it still does, it does unseen.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        import inspect  # slow to load, and only who has tools needs it

        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise ValueError(f"a tool needs a name: {function!r} has none; write a def")
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._arguments = _arguments_of(name, function)
        self.schema = ToolSchema(
            name=name, description=inspect.getdoc(function) or "", parameters=_json_schema(self._arguments)
        )

    async def call(self, arguments: dict[str, Any]) -> Any:
        try:
            checked = msgspec.convert(arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise ToolError(self.schema.name, f"arguments don't fit: {error}") from None
        values = {name: getattr(checked, name) for name in self._arguments.__struct_fields__}
        if self._is_async:
            return await cast("Awaitable[Any]", self._function(**values))
        return await to_thread.run_sync(lambda: self._function(**values), abandon_on_cancel=True)


def as_tool(tool: Tool | Callable[..., Any]) -> Tool:
    """``tool`` itself, or the function as a tool.

    :raises ValueError: for a function without a name, or with parameters that can't be passed by name.
    """
    if isinstance(tool, Tool):
        return tool
    if not callable(tool):
        raise TypeError(f"a tool is a function or a Tool, not {tool!r}")
    return FunctionTool(tool)


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
        has_default = parameter.default is not parameter.empty
        fields.append((parameter.name, hint, parameter.default) if has_default else (parameter.name, hint))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _json_schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    (schema,), parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    own = parts.pop(arguments.__name__)
    del schema
    return own | ({"$defs": parts} if parts else {})
