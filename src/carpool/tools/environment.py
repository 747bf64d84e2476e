"""What a program gets to know of the environment: what is named, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["ENVIRONMENT", "environment"]

ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")
"""What a command gets to know by default: where programs are, and how to write letters and times. Not ``HOME``,
where credentials lie."""


def environment(allowed: Iterable[str]) -> dict[str, str]:
    """The variables that are allowed: ``NAME`` is passed on where it is set, ``NAME=value`` is set so."""
    found: dict[str, str] = {}
    for each in allowed:
        name, is_given, value = each.partition("=")
        if is_given:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found
