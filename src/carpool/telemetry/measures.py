"""The metrics: tokens and durations by operation, the budget's spent, held and refused, agents by their end."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from ..types import TokenAccounting
from .values import Attributes, count

__all__ = ["Measures"]

# The conventions recommend these bounds for the two metrics that are theirs.
_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]


class Measures:
    """Records amounts as they are told of. While not ``counting``, only what is held is followed.

    No attribute is the name of an agent: ten thousand of them would be ten thousand time series.
    """

    def __init__(self, meter: Meter) -> None:
        self.counting = True
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens that one agent read or wrote, over all its attempts.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long a run, an agent or a tool call took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._agents = meter.create_counter("carpool.agents", "{agent}", "Agents that were asked for, by their end.")
        self._spent = meter.create_counter("carpool.budget.spent.tokens", "{token}", "Tokens booked.")
        self._spent_usd = meter.create_counter("carpool.budget.spent.cost", "{USD}", "US dollars booked.")
        self._held = meter.create_up_down_counter(
            "carpool.budget.held.tokens", "{token}", "Tokens held for agents in flight."
        )
        self._held_usd = meter.create_up_down_counter(
            "carpool.budget.held.cost", "{USD}", "US dollars held for agents in flight."
        )
        self._refused = meter.create_counter("carpool.budget.refused", "{agent}", "Starts that the budget refused.")

    def hold(self, tokens: TokenAccounting) -> None:
        """Held from now on."""
        self._hold(tokens, 1)

    def let_go(self, tokens: TokenAccounting) -> None:
        """Not held any more."""
        self._hold(tokens, -1)

    def refused(self) -> None:
        if self.counting:
            self._refused.add(1)

    def took(self, operation: str, duration_ms: float, error: str | None, about: Attributes | None = None) -> None:
        """An operation ended, by an error of this type or by none; ``about`` is what else is known of it."""
        if not self.counting:
            return
        attributes: Attributes = {"gen_ai.operation.name": operation, **(about or {})}
        if error is not None:
            attributes["error.type"] = error
        self._seconds.record(max(0.0, duration_ms / 1e3), attributes)

    def agent(self, end: str, tokens: TokenAccounting | None, about: Attributes) -> None:
        """An agent came to this ``end``, having spent ``tokens`` here and now."""
        if not self.counting:
            return
        self._agents.add(1, {"carpool.agent.end": end})
        if tokens is None:
            return
        counts = {"input": tokens.input_tokens, "output": tokens.output_tokens}
        for kind, number in counts.items():
            of_kind: Attributes = {"gen_ai.token.type": kind}
            self._spent.add(count(number), of_kind)
            self._tokens.record(count(number), {"gen_ai.operation.name": "invoke_agent", **of_kind, **about})
        self._spent_usd.add(tokens.cost_usd)

    def _hold(self, tokens: TokenAccounting, sign: int) -> None:
        if tokens.input_tokens or tokens.output_tokens:
            self._held.add(sign * count(tokens.input_tokens), {"gen_ai.token.type": "input"})
            self._held.add(sign * count(tokens.output_tokens), {"gen_ai.token.type": "output"})
        if tokens.cost_usd:
            self._held_usd.add(sign * tokens.cost_usd)
