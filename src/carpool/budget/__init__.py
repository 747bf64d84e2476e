"""Limits, purses and leases: pure, synchronous arithmetic that says yes or no, and never records events."""

from ..types import BudgetLimits, BudgetSnapshot
from .lease import Lease
from .line import Waiter
from .purse import CoordinationBudget
from .skipped import budget_skipped_output, is_budget_skipped

__all__ = [
    "BudgetLimits",
    "BudgetSnapshot",
    "CoordinationBudget",
    "Lease",
    "Waiter",
    "budget_skipped_output",
    "is_budget_skipped",
]
