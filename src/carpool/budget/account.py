"""The books of one purse: what is spent and held against which limits, and the rule that denies. No lock.

Denied when spent + held has reached a limit, or when an estimate would take it past one; asked in the order
input, output, total, cost, unpriced, seconds, depth, agents.
"""

from __future__ import annotations

from typing import NamedTuple

from ..types import BudgetLimits, BudgetSnapshot
from .amount import MOST, NOTHING, Amount, lacking, minus, nano_down, plus, tokens_of

__all__ = ["Account", "Refusal"]


class Refusal(NamedTuple):
    """Why an account said no: the limit's name, the limit, and what stands against it (in its own unit)."""

    dimension: str
    limit: float
    spent: float
    held: float
    asked: float
    kept_back: float = 0

    def sentence(self) -> str:
        if self.dimension == "unpriced":
            return (
                "the price of some spend is unknown, and under a cost limit unknown is not zero; "
                "give the runner prices or the agents an estimate with a cost, or set unpriced='allow'"
            )
        if self.dimension == "seconds":
            return f"max_seconds reached: {self.spent:.1f} of {self.limit:g} s; raise max_seconds to go on"
        if self.dimension == "depth":
            return f"max_depth reached: depth {self.asked:g} of at most {self.limit:g}; let the agent finish alone"
        sums = [f"{_in_unit(self.dimension, self.spent)} spent"]
        if self.held:
            sums.append(f"{_in_unit(self.dimension, self.held)} held by agents in flight")
        if self.kept_back:
            sums.append(f"{_in_unit(self.dimension, self.kept_back)} kept back for the last agent")
        if self.asked:
            sums.append(f"{_in_unit(self.dimension, self.asked)} asked for")
        limit = _in_unit(self.dimension, self.limit)
        return f"max_{self.dimension} reached: {', '.join(sums)}, of {limit}; raise max_{self.dimension} to go on"


class Account:
    """Counters of one purse. ``live`` maps the number of each lease in flight to when it began.

    Of a purse that several processes share, ``live`` has this one's leases and all else has everybody's;
    ``begun_elsewhere`` is when the first began of those that the others have in flight.
    """

    __slots__ = (
        "agents",
        "begun_elsewhere",
        "caps",
        "first_settled",
        "held",
        "limits",
        "live",
        "spent",
        "unlimited",
        "unpriced",
        "within",
    )

    caps: tuple[tuple[str, int, int], ...]  # dimension, its index (see _of), the cap; only those that are set

    def __init__(self, limits: BudgetLimits) -> None:
        self.spent: Amount = NOTHING
        self.held: Amount = NOTHING
        self.within: Amount = NOTHING  # what of the spend is no overrun
        self.unpriced = False
        self.agents = 0
        self.live: dict[int, float] = {}
        self.first_settled: float | None = None
        self.begun_elsewhere: float | None = None
        self.set_limits(limits)

    def set_limits(self, limits: BudgetLimits) -> None:
        self.limits = limits
        self.unlimited = limits.is_unbounded
        cost = limits.max_cost_usd
        caps = (
            ("input_tokens", 0, limits.max_input_tokens),
            ("output_tokens", 1, limits.max_output_tokens),
            ("total_tokens", 2, limits.max_total_tokens),
            ("cost_usd", 3, None if cost is None else nano_down(cost)),
        )
        self.caps = tuple((name, index, min(cap, MOST)) for name, index, cap in caps if cap is not None)

    # Asking

    def refusal(
        self, hold: Amount, depth: int, now: float, kept: tuple[Amount, int], *, ignore_holds: bool = False
    ) -> Refusal | None:
        """Why one more agent may not start here, or ``None``; ``kept`` is what must be left to others."""
        spent, held, back = self.spent, NOTHING if ignore_holds else self.held, kept[0]
        for name, index, cap in self.caps:
            taken = spent[index] + held[index] + back[index]
            if taken >= cap or taken + hold[index] > cap:
                return Refusal(name, cap, spent[index], held[index], hold[index], back[index])
        limits = self.limits
        if (self.unpriced or limits.max_seconds is not None) and (refusal := self._unpriced_or_late(now)):
            return refusal
        if limits.max_depth is not None and depth > limits.max_depth:
            return Refusal("depth", limits.max_depth, 0, 0, depth)
        if limits.max_agents is not None and self.agents + kept[1] >= limits.max_agents:
            return Refusal("agents", limits.max_agents, self.agents, 0, 0, kept[1])
        return None

    def call_refusal(self, mine: Amount, wish: Amount | None, now: float, kept: Amount) -> Refusal | None:
        """Why a lease that holds ``mine`` may not hold ``wish`` instead for its next model call, or ``None``.

        Holds at the limit don't refuse here, as they do a newcomer: the lease may use up what it holds.
        Without a wish only real spend at a limit refuses.
        """
        for name, index, cap in self.caps:
            spent, back = self.spent[index], kept[index]
            if wish is None and spent + back < cap:
                continue
            taken = self.held[index] - mine[index]
            asked = 0 if wish is None else wish[index]
            if spent + back >= cap or spent + taken + back + asked > cap:
                return Refusal(name, cap, spent, taken, asked, back)
        return self._unpriced_or_late(now)

    def _unpriced_or_late(self, now: float) -> Refusal | None:
        limits = self.limits
        if self.refuses_unpriced:
            return Refusal("unpriced", 0, 0, 0, 0)
        if limits.max_seconds is not None and self.elapsed(now) >= limits.max_seconds:
            return Refusal("seconds", limits.max_seconds, self.elapsed(now), 0, 0)
        return None

    # Telling

    def begin(self, lease: int, hold: Amount, now: float, slots: int) -> None:
        self.agents += slots
        self.live[lease] = now
        if hold is not NOTHING:
            self.held = plus(self.held, hold)

    def settle(self, lease: int, held: Amount, spent: Amount, within: Amount, priced: bool) -> None:
        """End a lease that still held ``held``, and book the ``spent`` that no charge has booked before;
        ``within`` of it is what was held or reserved for it."""
        began, first = self.live.pop(lease), self.first_settled
        if first is None or began < first:
            self.first_settled = began
        if held is not NOTHING:
            self.held = minus(self.held, held)
            self.within = plus(self.within, within)
        self.spent = plus(self.spent, spent)
        if not priced:
            self.unpriced = True

    def take_back(self, lease: int, slots: int) -> None:
        """End a lease whose agent never started: its slot is free again, and no time has begun."""
        del self.live[lease]
        self.agents -= slots

    def book(self, spent: Amount, within: Amount, priced: bool) -> None:
        """Book spend of which ``within`` is no overrun."""
        self.spent = plus(self.spent, spent)
        self.within = plus(self.within, within)
        if not priced:
            self.unpriced = True

    def rehold(self, before: Amount, after: Amount) -> None:
        """A lease that held ``before`` holds ``after`` from now on."""
        if before != after:
            self.held = plus(minus(self.held, before), after)

    def exceeded(self, over: Amount) -> None:
        """A lease that has now settled had charged ``over`` more than it held and reserved."""
        self.within = minus(self.within, over)

    # Reading

    @property
    def refuses_unpriced(self) -> bool:
        return self.unpriced and self.limits.max_cost_usd is not None and self.limits.unpriced == "refuse"

    @property
    def exhausted(self) -> bool:
        return self.refuses_unpriced or any(self.spent[index] >= cap for _, index, cap in self.caps)

    def left(self, now: float, kept: tuple[Amount, int]) -> dict[str, int | float]:
        """What is neither spent nor held nor kept back, for each limit that is set, by the limit's name."""
        limits = self.limits
        left: dict[str, int | float] = {}
        for name, index, cap in self.caps:
            room = max(0, cap - self.spent[index] - self.held[index] - kept[0][index])
            left[f"max_{name}"] = room / 1e9 if name == "cost_usd" else room
        if limits.max_agents is not None:
            left["max_agents"] = max(0, limits.max_agents - self.agents - kept[1])
        if limits.max_seconds is not None:
            left["max_seconds"] = max(0.0, limits.max_seconds - self.elapsed(now))
        if limits.max_depth is not None:
            left["max_depth"] = limits.max_depth
        return left

    def elapsed(self, now: float) -> float:
        """Seconds since the first start that was not taken back; 0 before it."""
        # Leases begin in order, so that the first one in flight is the oldest.
        begun = (self.first_settled, self.begun_elsewhere, next(iter(self.live.values()), None))
        first = min((each for each in begun if each is not None), default=now)
        return max(0.0, now - first)

    def snapshot(self, now: float, exhausted: bool) -> BudgetSnapshot:
        spent = tokens_of(self.spent)
        return BudgetSnapshot(
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            total_tokens=min(self.spent[2], MOST),
            cost_usd=spent.cost_usd,
            agents_started=self.agents,
            limits=self.limits,
            exhausted=exhausted,
            held=tokens_of(self.held),
            overrun=tokens_of(lacking(self.spent, self.within)),
            elapsed_s=self.elapsed(now),
        )


def _in_unit(dimension: str, value: float) -> str:
    if dimension == "cost_usd":
        return f"${value / 1e9:,.9f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"
