"""The texts inside a JSON value, as rules that look for text see them.

A rule that denies looks at a text as it is and once more *folded*, so that writing it differently does not get
it through: compatibility forms (full-width letters, ligatures), case, characters that nobody sees, and the
length and kind of white space make no difference. So it denies more than a plain comparison, never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

__all__ = ["folded", "plain", "texts_in"]

_BLANKS = r"\s+"
# What is drawn as nothing: controls other than white space, Unicode's format characters (category Cf), fillers,
# and selectors of variants.
_INVISIBLE = (
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in ``value``: strings and keys at any depth, numbers and truth values as JSON writes them.

    Where there are several, all of them joined by blanks come last: ``["rm", "-rf"]`` is also ``rm -rf``.

    :raises ValueError: when something in it is not JSON; nobody can say what text that holds.
    """
    parts: list[str] = []
    for part in _leaves(value):
        parts.append(part)
        yield part
    if len(parts) > 1:
        yield " ".join(parts)


def folded(text: str) -> str:
    """``text`` with all that a reader takes for the same made the same."""
    return plain(plain(text).casefold())


def plain(text: str) -> str:
    """``text`` in compatibility form, without invisible characters, each run of white space a blank."""
    if text.isascii() and text.isprintable():
        return re.sub(_BLANKS, " ", text) if "  " in text else text
    from unicodedata import normalize

    # The module keeps compiled expressions: compiling them when this is imported would slow down every start.
    return re.sub(_BLANKS, " ", normalize("NFKC", re.sub(_INVISIBLE, "", text)))


def _leaves(value: Any) -> Iterator[str]:
    kind = cast("type[object]", type(value))
    if kind is str:
        yield value
    elif kind is dict:
        for key, item in cast("dict[str, Any]", value).items():
            yield from _leaves(key)
            yield from _leaves(item)
    elif kind is list:
        for item in cast("list[Any]", value):
            yield from _leaves(item)
    elif kind is bool:
        yield "true" if value else "false"
    elif kind is int or kind is float:
        yield repr(value)
    elif value is not None:
        raise ValueError(f"a {kind.__qualname__} is not JSON, so its text is not known")
