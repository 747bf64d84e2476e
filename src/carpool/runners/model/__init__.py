"""Agents that are model calls: any provider, through Pydantic AI's clients. Needs the extra ``models``."""

from ..prices import ModelPrice
from ..rate_limits import RateLimits
from .failures import ModelError
from .runner import ModelRunner

__all__ = ["ModelError", "ModelPrice", "ModelRunner", "RateLimits"]
