"""Texts with places in them, ``{name}``, and the filling of these as arguments of a program: no shell, no options."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

__all__ = ["Part", "as_text", "filled_argument", "names_in", "parts_of"]

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w.]*)\}|[{}]")


class Part(Struct, frozen=True):
    """A text as it stands, or the name of what stands there."""

    text: str
    is_name: bool


def parts_of(template: str) -> list[Part]:
    """Texts and names, in turn; ``{{`` and ``}}`` are braces. At least one part.

    :raises ValueError: for a brace that is neither, or a NUL.
    """
    if "\0" in template:
        raise ValueError("an argument has a NUL in it, which no program can be passed")
    parts: list[Part] = []
    text, place = "", 0
    for token in _TOKEN.finditer(template):
        text += template[place : token.start()]
        place = token.end()
        if token[1]:
            parts += [Part(text, False)] if text else []
            parts.append(Part(token[1], True))
            text = ""
        elif len(token[0]) == 2:
            text += token[0][0]
        else:
            raise ValueError(f"{template!r} has a brace that is no {{parameter}}; double it to mean a brace")
    text += template[place:]
    return [*parts, Part(text, False)] if text or not parts else parts


def names_in(templates: Iterable[list[Part]]) -> set[str]:
    return {part.text for parts in templates for part in parts if part.is_name}


def as_text(name: str, value: Any) -> str:
    """A string as it is; anything else as JSON writes it.

    :raises ValueError: for what can't be written; the text tells ``name``, never the value.
    """
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        text.encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name!r} can't be written as text") from None
    return text


def filled_argument(
    parts: list[Part], values: Mapping[str, str], options: Collection[str], *, options_ended: bool
) -> str:
    """One argument. What begins with a dash is an option to most programs: only the template, the values that are
    named in ``options``, and what follows a ``--`` may be that.

    :raises ValueError: for a value that would be an option all the same, or has a NUL; it is not told.
    """
    filled = "".join(values[part.text] if part.is_name else part.text for part in parts)
    if filled.startswith("-") and not options_ended:
        _refuse_option(parts, options)
    if "\0" in filled:
        names = ", ".join(repr(part.text) for part in parts if part.is_name)
        raise ValueError(f"a NUL in {names} can't be passed to a program")
    return filled


def _refuse_option(parts: list[Part], options: Collection[str]) -> None:
    for part in parts:
        if not part.is_name and part.text:
            return  # the template's own dash
        if part.is_name and part.text not in options:
            raise ValueError(f"{part.text!r} begins with '-', which would make it an option")
        if part.is_name:
            return
