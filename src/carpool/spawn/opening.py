"""The opening of a run: what it shares is put together, its beginning and end are logged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio

from ..clock import new_id
from ..errors import JournalError
from ..events import RunFinished, RunStarted
from ..infra import SharedInfra
from ..recall import Forgetful, Opening, Recall
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
    infra = SharedInfra() if infra is None else infra
    if not isinstance(infra, SharedInfra):
        raise TypeError(f"infra is SharedInfra(…), not {infra!r}")
    call_runner = run_function(runner)
    run_id = run_id or new_id()
    purse = infra.budget if budget is None else infra.budget.child(budget)
    recall = await _recall(
        infra,
        Opening(
            run_id=run_id,
            log=infra.log,
            redactor=infra.redactor,
            pattern=name,
            task=task,
            purse=infra.budget.id,
            limits=infra.budget.limits,
        ),
    )
    run = Run(Shared(infra, call_runner, run_id, recall, purse, task), purse, name, name)
    for past in recall.past:
        purse.record_past(past.spent, past.slots, outside=infra.budget if past.purse == infra.budget.id else None)
    infra.log.append(RunStarted(run=run_id, pattern=name))
    try:
        yield run
        finished = _finished(run, name, run.record.result or run.partial(stop_reason="completed"), None)
        await _close(recall, finished)
    except GeneratorExit:  # thrown away outside of any loop, by the collector maybe: nobody hears it
        raise
    except BaseException as error:
        partial = run.partial()
        _give(error, partial)
        finished = _finished(run, name, partial, type(error).__name__)
        try:
            with suppress(JournalError):  # what ends the run says more
                await _close(recall, finished)
        except BaseException as once_more:  # somebody impatient has cancelled natively again
            _give(once_more, partial)
            raise
        finally:
            infra.log.append(finished)
        raise
    infra.log.append(finished)


def _give(error: BaseException, partial: CoordinationResult) -> None:
    # Not every exception takes attributes; then the log still has the facts.
    with suppress(AttributeError):
        if getattr(error, "partial", None) is None:
            error.partial = partial  # pyright: ignore[reportAttributeAccessIssue]
        error.usage = partial.usage  # pyright: ignore[reportAttributeAccessIssue]


async def _recall(infra: SharedInfra, opening: Opening) -> Recall:
    recall: Recall = Forgetful()
    if infra.journal is not None:
        with anyio.CancelScope(shield=True):  # else the run might be claimed, and nobody know
            recall = await infra.journal.open_run(opening)
    return recall


async def _close(recall: Recall, finished: RunFinished) -> None:
    with anyio.CancelScope(shield=True):
        await recall.aclose(finished)


def _finished(run: Run, name: str, result: CoordinationResult, error: str | None) -> RunFinished:
    return RunFinished(
        run=run.run_id,
        pattern=name,
        timestamp=run.infra.clock.now(),
        stop_reason=result.stop_reason,
        duration_ms=result.duration_ms,
        usage=result.usage,
        error=error,
    )
