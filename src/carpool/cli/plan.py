"""``carpool plan``: what a run may start and spend, told before anything runs."""

from __future__ import annotations

from functools import partial

import msgspec

from ..patterns import Plan
from ..types import BudgetLimits
from .amounts import dollars, limits
from .assembly import Assembly
from .environment import at_most, with_environment
from .flags import Flags
from .run import TeamFileArgument, assembled
from .terminal import Screen
from .usage import DONE, STOPPED_BY_THE_BUDGET

__all__ = ["plan", "told", "verdict"]


def plan(
    file: TeamFileArgument = None,
    /,
    *,
    flags: Flags = Flags(),  # noqa: B008 - frozen, and where the parser looks for the defaults
) -> int:
    """Say what a run may start and spend at most."""
    flags = with_environment(flags)
    work = assembled(file, flags)
    budget = at_most(flags.budget or work.budget or BudgetLimits())
    planned = work.pattern.plan(work.task, **work.inputs)
    fits, reasons = verdict(planned, budget)
    Screen().answer((_as_json if flags.json else partial(told, work))(planned, budget, fits, reasons))
    return STOPPED_BY_THE_BUDGET if fits is False else DONE


def verdict(planned: Plan, budget: BudgetLimits) -> tuple[bool | None, list[str]]:
    """Whether the worst case fits the budget, ``None`` where that is not known; and the reasons.

    Time and depth are not planned, and don't count.
    """
    over: list[str] = []
    unknown: list[str] = []
    if (most := budget.max_agents) is not None:
        if planned.agents_min > most:
            over.append(f"{planned.agents_min:,} starts at least, of {most:,}")
        elif planned.agents_max is None:
            unknown.append("the number of agents has no bound")
        elif planned.agents_max > most:
            over.append(f"{planned.agents_max:,} starts at most, of {most:,}")
    spend = planned.spend
    for name, spent, cap in (
        ("tokens", spend.total_tokens, budget.max_total_tokens),
        ("input tokens", spend.input_tokens, budget.max_input_tokens),
        ("output tokens", spend.output_tokens, budget.max_output_tokens),
    ):
        if cap is not None and spent > cap:
            over.append(f"{spent:,} {name} at most, of {cap:,}")
    if (cost := budget.max_cost_usd) is not None and spend.cost_usd > cost:
        over.append(f"{dollars(spend.cost_usd)} at most, of {dollars(cost)}")
    if _limits_spend(budget) and planned.unestimated:
        unknown.append(f"no estimate for {', '.join(planned.unestimated)}")
    return (False, over) if over else (None, unknown) if unknown else (True, [])


def _limits_spend(budget: BudgetLimits) -> bool:
    return any(
        limit is not None
        for limit in (budget.max_total_tokens, budget.max_input_tokens, budget.max_output_tokens, budget.max_cost_usd)
    )


def told(work: Assembly, planned: Plan, budget: BudgetLimits, fits: bool | None, reasons: list[str]) -> str:
    spend = planned.spend
    worst = f"{spend.input_tokens:,} in · {spend.output_tokens:,} out · {dollars(spend.cost_usd)}"
    if planned.unestimated:
        worst = f"not known: no estimate for {', '.join(planned.unestimated)}; give --estimate"
    least, most = planned.agents_min, planned.agents_max
    rows = [
        ("plan", f"{work.title}; nothing is read or started"),
        ("starts", f"{least:,} at least · {'no bound' if most is None else f'{most:,} at most'}"),
        ("spend", worst if planned.unestimated else f"at most {worst}"),
        ("budget", "none" if budget.is_unbounded else limits(budget)),
        ("fits", _FITS[fits] + (f": {'; '.join(reasons)}" if reasons else "")),
    ]
    return "\n".join(f"{label:<8}{text}" for label, text in rows)


_FITS = {True: "yes, at worst", False: "not at worst", None: "can't be said"}


def _as_json(planned: Plan, budget: BudgetLimits, fits: bool | None, reasons: list[str]) -> str:
    line = {
        "kind": "plan",
        **msgspec.to_builtins(planned),
        "budget": msgspec.to_builtins(budget),
        "fits": fits,
        "reasons": reasons,
    }
    return msgspec.json.encode(line).decode()
