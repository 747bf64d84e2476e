"""What came of an agent that another library ran: its answer, or why there is none, and what its calls came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

from ...errors import BudgetExhausted
from ...types import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, OutcomeStatus
from .meter import Meter, OutOfTurns

__all__ = ["adapted", "answer_of"]

_MOST_CAUSES = 20


def answer_of(output: Any) -> str:
    """A text as it is; anything else as JSON, as Pydantic writes it."""
    if isinstance(output, str):
        return output
    from pydantic_core import to_json

    return to_json(output, fallback=str).decode()


async def adapted(spec: AgentSpec, meter: Meter, work: Callable[[], Awaitable[str]]) -> AgentOutput:
    """The output of an agent whose ``work`` gives its answer, with what its calls came to.

    Stopped by the budget between calls, it is what the model has said so far, if it has said anything.

    :raises BudgetExhausted: when there is nothing to show.
    :raises ModelError: when a model call is why it failed. All else that ``work`` raises goes through.
    """
    try:
        answer = await work()
    except Exception as error:
        meter.close()
        return _ended(spec, meter, error)
    finally:
        meter.close()
    if not answer:
        return _failed(spec, meter, "the agent gave an empty answer")
    stopped = _stopped("cut off at the token limit", {"finish_reason": "length"}) if meter.cut_off else None
    return _output(spec, meter, answer=answer, outcome=stopped)


def _ended(spec: AgentSpec, meter: Meter, error: Exception) -> AgentOutput:
    """What ``error`` means; a library may have wrapped, or taken for its own, what its model calls met."""
    if isinstance(meter.refusal, OutOfTurns):
        text = f"{meter.refusal}; raise it to go on"
        return _failed(spec, meter, text, AgentOutcome.timeout(text, meter.turns, spec.max_turns))
    if isinstance(meter.refusal, BudgetExhausted):
        if meter.text:
            reason = meter.refusal.reason
            outcome = _stopped(reason, {"budget": meter.refusal.dimension})
            return _output(spec, meter, answer=meter.text, outcome=outcome)
        raise meter.refusal
    if meter.failure is not None and any(cause is meter.failure[0] for cause in _causes(error)):
        raise meter.failure[1] from error
    raise error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error``, and what it came of or is made of."""
    left = [error]
    for _ in range(_MOST_CAUSES):
        if not left:
            return
        cause = left.pop()
        yield cause
        left += [each for each in (cause.__context__, cause.__cause__) if each is not None]
        if isinstance(cause, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", cause).exceptions


def _stopped(reason: str, data: dict[str, Any]) -> AgentOutcome:
    evidence = Evidence(kind=EvidenceKind.STOP_REASON, description=reason, data=data)
    return AgentOutcome(status=OutcomeStatus.PARTIAL_SUCCESS, summary=reason, evidence=[evidence])


def _failed(spec: AgentSpec, meter: Meter, text: str, outcome: AgentOutcome | None = None) -> AgentOutput:
    return _output(spec, meter, error=text, outcome=outcome or AgentOutcome.failure(text))


def _output(
    spec: AgentSpec, meter: Meter, *, answer: str = "", error: str | None = None, outcome: AgentOutcome | None = None
) -> AgentOutput:
    return AgentOutput(
        name=spec.name,
        answer=answer,
        error=error,
        outcome=outcome,
        turns=meter.turns,
        tool_calls=meter.tool_calls,
        tools_used=list(meter.tools_used),
        tokens=meter.spent,
    )
