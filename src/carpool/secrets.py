"""Secrets kept out of what is written or shown: registered values, and texts of the shape of known keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, cast

__all__ = ["Redactor"]

# Each begins with letters of its own, by which a search for it goes over a text at a fraction of the price of trying
# all of them at every place.
_SHAPES = (
    r"sk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic and who follows them
    r"gh[pousr]_[A-Za-z0-9]{36,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"A(?:KIA[0-9A-Z]{16}|Iza[0-9A-Za-z_-]{35})",
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JSON Web Tokens
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
)
DEEPEST = 200  # levels of nesting that are searched
_SHORTEST = 4  # a shorter "secret" would take ordinary words out of every text


class Redactor:
    """Replaces secrets by ``[secret]``, as they are and as base64, URL and JSON write them.

    What is found is exact text: a secret that an agent spells out, splits or translates is not recognised.

    :raises ValueError: for a secret of fewer than 4 characters.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = list(values)
        for value in self._values:
            if not isinstance(value, str) or len(value) < _SHORTEST:
                raise ValueError(f"a secret needs at least {_SHORTEST} characters, or it would match everywhere")

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for found in self._searches:
            if found(text):
                return self._pattern.sub("[secret]", text)
        return text

    def value(self, value: Any) -> Any:
        """A value without secrets, keys included.

        What is not JSON stays as it is, unless its ``repr`` shows a secret: then it is that text without it.
        """
        return self._value(value, 0)

    def is_told_by(self, error: BaseException | None) -> bool:
        """Whether a traceback of ``error`` would show a secret, in its text or in that of any behind it."""
        if error is None:
            return False
        from traceback import TracebackException

        try:
            told = "".join(TracebackException(type(error), error, None).format())
        except Exception:
            return True  # can't be searched
        return self.text(told) != told

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if depth > DEEPEST:
            return "[nested too deep to be searched for secrets]"
        if isinstance(value, list):
            return [self._value(item, depth + 1) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            items = cast("dict[Any, Any]", value).items()
            return {self._value(key, depth + 1): self._value(item, depth + 1) for key, item in items}
        if value is None or value is True or value is False:
            return value
        try:
            shown = repr(value)
        except Exception:
            return f"[a {type(value).__name__} that can't be searched for secrets]"
        redacted = self.text(shown)
        return value if redacted == shown else redacted

    @cached_property
    def _searches(self) -> list[Callable[[str], object]]:
        import re

        return [re.compile(each).search for each in self._kinds]

    @cached_property
    def _pattern(self) -> Any:
        import re  # compiled with the first text, because most programs never have one

        return re.compile("|".join(self._kinds))

    @cached_property
    def _kinds(self) -> list[str]:
        from re import escape

        # Longest first: a secret that begins like another must not be left half there.
        known = sorted({form for value in self._values for form in _forms(value)}, key=len, reverse=True)
        return [*map(escape, known), *_SHAPES]


def _forms(secret: str) -> list[str]:
    from base64 import b64encode, urlsafe_b64encode
    from json import dumps
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "replace")
    return [
        secret,
        b64encode(raw).decode().rstrip("="),
        urlsafe_b64encode(raw).decode().rstrip("="),
        quote(secret, safe=""),
        quote_plus(secret),
        dumps(secret)[1:-1],
        raw.hex(),
    ]
