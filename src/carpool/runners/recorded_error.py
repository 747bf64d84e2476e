"""An exception as data, and back: told in a recording by its class and text, raised again when that is replayed."""

from __future__ import annotations

import builtins
from functools import lru_cache
from typing import Any, cast

from msgspec import Struct

from .. import errors
from ..errors import CarpoolError, worded
from ..secrets import Redactor

__all__ = ["RecordedError", "ReplayedError", "revived", "told"]


class RecordedError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``type`` is the name of the class; ``fields`` are those of an error of carpool's, ``None`` for what is no plain
    value."""

    type: str
    text: str
    fields: dict[str, Any] = {}


class ReplayedError(Exception):
    """Stands for an error whose class is neither carpool's nor Python's: raised as a class of the recorded name."""


def told(error: Exception, redactor: Redactor) -> RecordedError:
    """``error`` without secrets, and without what is behind it."""
    name = type(error).__name__
    text = worded(error)[len(name) + 2 :]
    fields: dict[str, Any] = {}
    if isinstance(error, CarpoolError):
        # What else hangs on it, a partial result for instance, is of the run and not of the call.
        fields = {key: redactor.value(value) if _is_plain(value) else None for key, value in vars(error).items()}
    return RecordedError(type=name, text=redactor.text(text), fields=fields)


def revived(recorded: RecordedError) -> Exception:
    """An error that reads as the recorded one did, ``TypeName: text``, and that the budget's refusals are told by."""
    kind = _of_carpool(recorded.type)
    if kind is not None:
        error = kind.__new__(kind, recorded.text)
    else:
        error = _of_python(recorded) or _named(recorded.type)(recorded.text)
    error.__dict__.update(recorded.fields)
    return error


def _of_carpool(name: str) -> type[CarpoolError] | None:
    if name == "ModelError":
        from .model import ModelError  # loaded when one was recorded; it needs no extra

        return ModelError
    kind: Any = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, CarpoolError) else None


def _of_python(recorded: RecordedError) -> Exception | None:
    kind: Any = getattr(builtins, recorded.type, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return None
    try:
        error = kind(recorded.text)
    except Exception:
        return None  # one that is made of more than a text
    return error if str(error) == recorded.text else None


@lru_cache
def _named(name: str) -> type[ReplayedError]:
    return type(name, (ReplayedError,), {"__doc__": "An error of this name was recorded."})


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in cast("list[Any]", value))
    return isinstance(value, str | int | float | None)
