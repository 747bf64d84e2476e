"""The arguments of a tool that is a command, and the places of its parameters in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from ..errors import ConfigError
from .places import Part, as_text, filled_argument, names_in, parts_of

__all__ = ["CommandTemplate"]


class CommandTemplate:
    """A program and its arguments. :meth:`filled` puts values in."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        parameters: dict[str, Any] | None,
        options: frozenset[str],
        stdin: str | None,
    ) -> None:
        """:raises ConfigError: for a template that is none, or parameters without a place or without a schema."""
        self._tool = name
        if isinstance(argv, str) or not argv or not all(isinstance(each, str) for each in argv):
            self._refuse("argv is a list of strings, the program first; there is no shell to split a string")
        self._parts = [self._parsed(each) for each in argv]
        if not argv[0] or names_in(self._parts[:1]):
            self._refuse("the program itself is fixed: its place in argv takes no parameter")
        self._stdin = stdin
        self._options = options
        names = names_in(self._parts)
        if stdin is not None:
            names.add(stdin)
        self._strings_only = parameters is None
        self.parameters = _strings(names) if parameters is None else parameters
        self._names_agree(names)
        properties = cast("dict[str, dict[str, Any]]", self.parameters.get("properties", {}))
        self._defaults = {key: value["default"] for key, value in properties.items() if "default" in value}

    def filled(self, arguments: dict[str, Any]) -> tuple[list[str], bytes]:
        """The argument list and the input for ``arguments``, which fit the schema.

        :raises ValueError: for a value that can't be an argument, or would be an option. It is not named.
        """
        self._fit(arguments)
        try:
            return self._filled(arguments)
        except ValueError as error:
            raise ValueError(f"arguments don't fit: {error}") from None

    def _filled(self, arguments: dict[str, Any]) -> tuple[list[str], bytes]:
        given = self._defaults | arguments
        values = {key: as_text(key, value) for key, value in given.items() if value is not None}
        argv: list[str] = []
        options_ended = False
        for parts in self._parts:
            if names_in([parts]) <= values.keys():
                argv.append(filled_argument(parts, values, self._options, options_ended=options_ended))
                options_ended = options_ended or parts == [Part("--", False)]
        return argv, values.get(self._stdin or "", "").encode("utf-8", "replace")

    def _fit(self, arguments: dict[str, Any]) -> None:
        if not self._strings_only:
            return
        known = self.parameters["properties"]
        for name in known:
            if not isinstance(arguments.get(name), str):
                raise ValueError(f"arguments don't fit: {name!r} must be a string")
        if len(arguments) > len(known):
            raise ValueError(f"arguments don't fit: there is only {', '.join(known) or 'none'}")

    def _parsed(self, element: str) -> list[Part]:
        try:
            parts = parts_of(element)
        except ValueError as error:
            self._refuse(str(error))
        if dotted := [name for name in names_in([parts]) if "." in name]:
            self._refuse(f"{element!r}: a parameter's name has no dot, as {dotted[0]!r} does")
        return parts

    def _names_agree(self, names: set[str]) -> None:
        properties = self.parameters.get("properties", {})
        if not isinstance(properties, dict):
            self._refuse("parameters is a JSON Schema of an object with properties")
        if missing := names - set(cast("dict[str, Any]", properties)):
            self._refuse(f"argv or stdin names {', '.join(sorted(missing))}, which parameters does not describe")
        if unused := set(cast("dict[str, Any]", properties)) - names:
            self._refuse(f"parameters describes {', '.join(sorted(unused))}, which has no place in argv or stdin")
        if unknown := self._options - names:
            self._refuse(f"options names {', '.join(sorted(unknown))}, which is no parameter")

    def _refuse(self, why: str) -> NoReturn:
        raise ConfigError(f"tool {self._tool!r}: {why}")


def _strings(names: set[str]) -> dict[str, Any]:
    ordered = sorted(names)
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in ordered},
        "required": ordered,
        "additionalProperties": False,
    }
