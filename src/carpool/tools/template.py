"""The arguments of a command, and the places of parameters in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import msgspec

from ..errors import ConfigError

__all__ = ["CommandTemplate"]

_PLACE = r"\{\{|\}\}|\{([A-Za-z_]\w*)\}|[{}]"


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
        if not argv[0] or any(is_name for _, is_name in self._parts[0]):
            self._refuse("the program itself is fixed: its place in argv takes no parameter")
        self._stdin = stdin
        self._options = options
        names = {text for element in self._parts for text, is_name in element if is_name}
        names |= {stdin} if stdin is not None else set()
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
        values = {
            key: _argument(key, value) for key, value in (self._defaults | arguments).items() if value is not None
        }
        argv: list[str] = []
        options_ended = False
        for element in self._parts:
            if any(is_name and text not in values for text, is_name in element):
                continue
            filled = "".join(values[text] if is_name else text for text, is_name in element)
            if filled.startswith("-") and not options_ended:
                self._may_be_option(element)
            if "\0" in filled:
                raise ValueError(f"arguments don't fit: a NUL in {_names(element)} can't be passed to a program")
            options_ended = options_ended or element == [("--", False)]
            argv.append(filled)
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

    def _may_be_option(self, element: list[tuple[str, bool]]) -> None:
        """Refuse a value where an argument begins with it, unless it was declared."""
        for text, is_name in element:
            if not is_name and text:
                return  # the template's own dash
            if is_name and text not in self._options:
                raise ValueError(f"arguments don't fit: {text!r} begins with '-', which would make it an option")
            if is_name:
                return

    def _parsed(self, element: str) -> list[tuple[str, bool]]:
        """Texts and names of parameters, in turn; a name is marked ``True``."""
        if "\0" in element:
            self._refuse("an argument has a NUL in it, which no program can be passed")
        parts: list[tuple[str, bool]] = []
        text, place = "", 0
        for token in re.finditer(_PLACE, element):
            text += element[place : token.start()]
            place = token.end()
            if token[1]:
                parts += [(text, False)] if text else []
                parts.append((token[1], True))
                text = ""
            elif len(token[0]) == 2:
                text += token[0][0]
            else:
                self._refuse(f"{element!r} has a brace that is no {{parameter}}; double it to mean a brace")
        text += element[place:]
        return [*parts, (text, False)] if text or not parts else parts

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


def _argument(name: str, value: Any) -> str:
    """A string as it is; anything else as JSON writes it."""
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"arguments don't fit: {name!r} can't be written as text") from None
    return text


def _names(element: list[tuple[str, bool]]) -> str:
    return ", ".join(repr(text) for text, is_name in element if is_name)
