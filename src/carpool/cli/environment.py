"""What the environment says: it stands behind flags and before a team file, and above all its ceiling on budgets."""

from __future__ import annotations

import os
from dataclasses import replace

from ..types import BudgetLimits
from .flags import Flags
from .usage import UsageError

__all__ = ["at_most", "ceiling", "with_environment"]


def with_environment(flags: Flags) -> Flags:
    """``flags``, with ``CARPOOL_TASK``, ``CARPOOL_BUDGET`` and, where no runner is named, ``CARPOOL_RUNNER``,
    ``CARPOOL_COMMAND`` or ``CARPOOL_MODEL`` (with ``CARPOOL_BASE_URL``) for what was not given.

    :raises UsageError: for a budget that can't be read, and for two runners.
    """
    if flags.task is None and (task := _of("CARPOOL_TASK")):
        flags = replace(flags, task=task)
    if flags.budget is None:
        flags = replace(flags, budget=_limits("CARPOOL_BUDGET"))
    if flags.runner is flags.model is flags.command is None:
        named = {name: _of(name) for name in ("CARPOOL_RUNNER", "CARPOOL_MODEL", "CARPOOL_COMMAND")}
        if len(several := [name for name, value in named.items() if value is not None]) > 1:
            raise UsageError(f"{' and '.join(several)} are set: an agent has one runner; unset one, or give a flag")
        runner, model, command = named.values()
        flags = replace(flags, runner=runner, model=model, command=command)
    if flags.model is not None and flags.base_url is None:
        flags = replace(flags, base_url=_of("CARPOOL_BASE_URL"))
    return flags


def ceiling() -> BudgetLimits | None:
    """``CARPOOL_MAX_BUDGET``, an operator's ceiling on what anybody may spend.

    :raises UsageError: when it can't be read: a ceiling with a mistake in it is no reason to go without.
    """
    return _limits("CARPOOL_MAX_BUDGET")


def at_most(limits: BudgetLimits) -> BudgetLimits:
    """``limits``, or the :func:`ceiling` where that is lower.

    :raises UsageError: as :func:`ceiling`.
    """
    most = ceiling()
    if most is None:
        return limits
    from ..teams import lower_of

    return lower_of(limits, most)


def _limits(name: str) -> BudgetLimits | None:
    text = _of(name)
    if text is None:
        return None
    try:
        return BudgetLimits.parse(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _of(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None
