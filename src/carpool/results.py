"""What every coordination returns, whichever pattern it is, and the folding of outputs into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum
from sys import float_info
from typing import TypeVar

from msgspec import Struct, field

from .budget import is_budget_skipped
from .types import AgentOutput, BudgetSnapshot, TokenAccounting

__all__ = ["STOP_REASONS", "CoordinationResult", "checked_result", "stop_reason_of", "usage_of"]

R = TypeVar("R")

STOP_REASONS = ("completed", "budget_exhausted", "no_output", "max_rounds", "failed")


class CoordinationResult(Struct, kw_only=True):
    """The run's one ``answer`` and how it came about.

    - ``outputs``: one for every agent that was asked for, in a fixed order, never in order of arrival
    - ``usage``: their sum; ``budget``: the purse when the pattern ended
    - ``stop_reason``: ``completed``; ``budget_exhausted``, something was denied; ``no_output``, nothing
      succeeded or there was nothing to do; ``max_rounds``; ``failed``
    - ``failed``, ``skipped``: names of agents that ended in an error, and that the budget kept out
    - ``nested``: results of members that are patterns themselves, by the member's name
    """

    task: str
    run_id: str
    answer: str = ""
    outputs: list[AgentOutput] = []
    usage: TokenAccounting = field(default_factory=TokenAccounting)
    budget: BudgetSnapshot = field(default_factory=BudgetSnapshot)
    duration_ms: float = 0.0
    stop_reason: str = "completed"
    all_succeeded: bool = False
    failed: list[str] = []
    skipped: list[str] = []
    nested: dict[str, list[CoordinationResult]] = {}


def checked_result(name: str, result: R) -> R:
    """``result``, which the pattern ``name`` has returned.

    :raises TypeError: when it is none; a forgotten ``return`` is the usual reason.
    """
    if not isinstance(result, CoordinationResult):
        raise TypeError(f"pattern {name!r} returned {result!r}; execute must end with return run.result(…)")
    return result


def usage_of(outputs: Iterable[AgentOutput]) -> TokenAccounting:
    """What ``outputs`` cost together."""
    reports = [output.tokens for output in outputs if output.tokens is not None]
    return TokenAccounting(
        input_tokens=sum(tokens.input_tokens for tokens in reports),
        output_tokens=sum(tokens.output_tokens for tokens in reports),
        cost_usd=_sum_of(tokens.cost_usd for tokens in reports),
        cache_read_tokens=sum(tokens.cache_read_tokens for tokens in reports),
        cache_write_tokens=sum(tokens.cache_write_tokens for tokens in reports),
        priced=all(tokens.priced for tokens in reports),
    )


def _sum_of(costs: Iterable[float]) -> float:
    try:
        return fsum(costs)  # exact: a thousand times $0.10 are $100
    except OverflowError:
        return float_info.max


def stop_reason_of(outputs: Sequence[AgentOutput], *, denied: bool) -> str:
    """Why a pattern stopped that has nothing more to say about it."""
    bad = [output for output in outputs if output.error is not None or not output.answer]
    if denied or any(map(is_budget_skipped, bad)):
        return "budget_exhausted"
    return "completed" if len(bad) < len(outputs) else "no_output"
