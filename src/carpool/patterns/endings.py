"""Errors that end a pattern part-way, and what they carry."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..errors import AgentFailed, BudgetError, NoOutput
from ..results import CoordinationResult

__all__ = ["carrying"]


@contextmanager
def carrying(partial: Callable[[str | None], CoordinationResult]) -> Generator[None]:
    """An error that ends the pattern inside this block carries ``partial(stop_reason)`` and what that cost."""
    try:
        yield
    except (AgentFailed, BudgetError, NoOutput) as error:
        error.partial = partial(None if isinstance(error, NoOutput) else _reason(error))
        error.usage = error.partial.usage
        raise


def _reason(error: AgentFailed | BudgetError) -> str:
    return "budget_exhausted" if isinstance(error, BudgetError) else "failed"
