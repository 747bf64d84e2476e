"""One run in a list of runs: what its header says, for the page."""

from __future__ import annotations

from ..durable import RunHeader
from ..types import BudgetLimits
from .rows import Summary, epoch_ms, shortened

__all__ = ["summary_of"]

_TASK_CHARS = 2_000


def summary_of(header: RunHeader, *, live: bool) -> Summary:
    """``live`` says whether a living process has the run."""
    return Summary(
        run=header.run_id,
        pattern=header.pattern,
        status=header.status(live=live),
        live=live,
        error=header.error,
        task=shortened(header.task, _TASK_CHARS),
        task_chars=len(header.task),
        created=epoch_ms(header.created),
        updated=epoch_ms(header.updated),
        duration=round(header.duration_ms, 1),
        processes=header.epoch,
        started=header.started,
        completed=header.completed,
        failed=header.failed,
        cancelled=header.cancelled,
        tokens=header.spent.total_tokens,
        usd=header.spent.cost_usd,
        priced=header.spent.priced,
        limits=_limits(header.limits),
    )


def _limits(limits: BudgetLimits) -> dict[str, float]:
    """Those that are set."""
    named = {
        "total": limits.max_total_tokens,
        "input": limits.max_input_tokens,
        "output": limits.max_output_tokens,
        "usd": limits.max_cost_usd,
        "agents": limits.max_agents,
        "seconds": limits.max_seconds,
        "depth": limits.max_depth,
    }
    return {name: value for name, value in named.items() if value is not None}
