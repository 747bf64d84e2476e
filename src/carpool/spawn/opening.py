"""The opening of a run: what it shares is put together, its beginning and end are logged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio

from ..clock import new_id
from ..events import RunFinished, RunStarted
from ..infra import SharedInfra
from ..recall import Forgetful
from ..results import CoordinationResult
from ..runner import RunnerLike, run_function
from ..types import BudgetLimits
from .run import Run
from .shared import Shared

__all__ = ["open_run"]


@asynccontextmanager
async def open_run(
    *,
    runner: RunnerLike,
    infra: SharedInfra | None = None,
    run_id: str | None = None,
    name: str = "run",
    budget: BudgetLimits | None = None,
    task: str = "",
) -> AsyncGenerator[Run]:
    """A bare run, to start agents from by hand: ``async with open_run(runner=…) as run``.

    With ``budget`` its agents share a child purse of the infra's. An error that leaves the block, a cancellation
    too, carries ``partial``, a result with the outputs of all that had ended, and ``usage``.

    :raises JournalError: when the infra's journal can't give this run its memory.
    """
    infra = infra or SharedInfra()
    call_runner = run_function(runner)
    run_id = run_id or new_id()
    recall = Forgetful() if infra.journal is None else await infra.journal.open_run(run_id)
    purse = infra.budget if budget is None else infra.budget.child(budget)
    run = Run(Shared(infra, call_runner, run_id, recall, task), purse, name, name)
    infra.log.append(RunStarted(run=run_id, pattern=name))
    try:
        try:
            yield run
        finally:
            with anyio.CancelScope(shield=True):
                await recall.aclose()
    except BaseException as error:
        partial = run.partial()
        # Not every exception takes attributes; then the log still has the facts.
        with suppress(AttributeError):
            if getattr(error, "partial", None) is None:
                error.partial = partial  # pyright: ignore[reportAttributeAccessIssue]
            error.usage = partial.usage  # pyright: ignore[reportAttributeAccessIssue]
        _log_end(run, name, partial, type(error).__name__)
        raise
    else:
        _log_end(run, name, run.record.result or run.partial(stop_reason="completed"), None)


def _log_end(run: Run, name: str, result: CoordinationResult, error: str | None) -> None:
    run.infra.log.append(
        RunFinished(
            run=run.run_id,
            pattern=name,
            stop_reason=result.stop_reason,
            duration_ms=result.duration_ms,
            usage=result.usage,
            error=error,
        )
    )
