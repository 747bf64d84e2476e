"""What a runner returned, as its agent's output: checked, under the agent's name, storable; and what it raised."""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from ..types import AgentOutcome, AgentOutput, TokenAccounting

__all__ = ["accepted", "is_own_failure", "storable"]


def accepted(name: str, returned: object, duration_ms: float) -> AgentOutput:
    """``returned`` as the output of the agent ``name``, which took ``duration_ms`` unless it says otherwise.

    :raises TypeError: when it is neither an output nor a string.
    :raises ValueError: when it is an output with a field that can't be.
    """
    if isinstance(returned, str):
        return AgentOutput(name=name, answer=storable(str(returned)), duration_ms=duration_ms)
    if not isinstance(returned, AgentOutput):
        raise TypeError(f"the runner returned {_a(returned)}, not an AgentOutput or a str")
    duration_ms = returned.duration_ms or duration_ms
    if _is_plain(returned):
        return replace(returned, name=name, duration_ms=duration_ms)
    _check(returned)
    answer, error = storable(returned.answer), returned.error and storable(returned.error)
    return replace(returned, name=name, answer=answer, error=error, duration_ms=duration_ms)


def is_own_failure(error: BaseException) -> bool:
    """Whether what a runner raised is its agent's failure, and not the end of more than that. A ``sys.exit()`` is one:
    it is an agent that ends."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_own_failure, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, Exception | SystemExit)


def storable(text: str) -> str:
    """``text`` as UTF-8 can hold it: a lone surrogate, which some models emit, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _is_plain(output: AgentOutput) -> bool:
    """Whether nothing about ``output`` needs a closer look: the usual case, at a quarter of the price."""
    return (
        type(output.answer) is str
        and output.answer.isascii()
        and output.error is None is output.outcome
        and type(output.tokens) is TokenAccounting
        and type(output.turns) is int is type(output.tool_calls)
        and output.turns >= 0 <= output.tool_calls
        and not output.tools_used
    )


def _check(output: AgentOutput) -> None:
    """Refuse what would break whoever reads the output later."""
    if not isinstance(output.answer, str):
        raise ValueError(f"the runner returned an output whose answer is {_a(output.answer)}, not a str")
    if output.error is not None and not isinstance(output.error, str):
        raise ValueError(f"the runner returned an output whose error is {_a(output.error)}, not a str")
    if output.tokens is not None and not isinstance(output.tokens, TokenAccounting):
        raise ValueError(f"the runner returned usage that is {_a(output.tokens)}, not a TokenAccounting")
    if output.outcome is not None and not isinstance(output.outcome, AgentOutcome):
        raise ValueError(f"the runner returned an outcome that is {_a(output.outcome)}, not an AgentOutcome")
    if not isinstance(output.tools_used, list) or not all(isinstance(tool, str) for tool in output.tools_used):
        raise ValueError("the runner returned an output whose tools_used is not a list of names")
    for name in ("turns", "tool_calls", "duration_ms"):
        value = getattr(output, name)
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"the runner returned an output whose {name} is {value!r}")


def _a(value: object) -> str:
    return "None" if value is None else f"a {type(value).__qualname__}"
