"""``$<id>.output`` in parameters, replaced by what that action gave."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

__all__ = ["substituted"]


def substituted(value: Any, output_of: Callable[[str], Any]) -> Any:
    """``value`` with every ``$<id>.output`` replaced.

    A string that is nothing else becomes the output itself, of whatever type; inside a longer string it becomes
    its text. What is not of this form, ``$HOME`` for instance, stays.

    :raises ValueError: from ``output_of``, for an id that may not be used here.
    """
    if isinstance(value, str):
        return _in_text(value, output_of) if ".output" in value else value
    if isinstance(value, list):
        return [substituted(item, output_of) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: substituted(item, output_of) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _in_text(text: str, output_of: Callable[[str], Any]) -> Any:
    reference = re.compile(r"\$([A-Za-z0-9_-]+)\.output\b")
    if whole := reference.fullmatch(text):
        return output_of(whole[1])
    return reference.sub(lambda found: str(output_of(found[1])), text)
