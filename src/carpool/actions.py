"""What an agent proposes to do, and the schemas of the tools that it may do it with."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["ToolSchema"]


class ToolSchema(Struct, frozen=True, kw_only=True):
    """A tool as a model sees it. ``parameters`` is a JSON Schema of type ``object``."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
