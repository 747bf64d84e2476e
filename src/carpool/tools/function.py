"""A Python function as a tool: its schema from signature and docstring, its arguments checked before a call."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import msgspec

from ..actions import Tier, ToolSchema
from .calling import call_function, is_async
from .tool import Prepared, Tool

__all__ = ["FunctionTool"]

_MUTABLE: tuple[type[Any], ...] = (list, dict, set, msgspec.Struct)


class FunctionTool(Tool):
    """A function; a sync one runs in a thread, so that it doesn't stop the loop.

    A cancellation does not wait for such a thread: what it still does, it does unseen.
    """

    def __init__(self, function: Callable[..., Any], tier: Tier | None = None) -> None:
        """:raises ValueError: for a function without a name, or with parameters that agents can't pass."""
        import inspect  # slow to load, and only who has tools needs it

        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise ValueError(f"a tool needs a name: {function!r} has none; write a def")
        self._function = function
        self._in_loop = is_async(function)
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
            raise ValueError(f"arguments don't fit: {_without_value(str(error))}") from None
        except RecursionError:
            raise ValueError("arguments don't fit: they are nested too deep") from None
        values = {name: getattr(checked, name) for name in self._arguments.__struct_fields__}
        return lambda: call_function(self._function, self._in_loop, values)


def _without_value(text: str) -> str:
    """msgspec tells types and places; only of a choice that there is none of it tells the value."""
    what, _, place = text.rpartition(" - at ")
    return f"Invalid choice - at {place}" if (what or text).startswith("Invalid enum value") and what else text


def _arguments_of(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    """The function's parameters as a type that msgspec can check and describe."""
    import inspect
    from typing import get_type_hints

    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ValueError(f"tool {name!r}: {error}, which an annotation needs; define it outside functions") from None
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
