"""The budget as the contract's words have it: a list of ledger rows, recomputed from the start for each question.

Nothing is kept but the rows, so nothing here can drift, leak or be torn. Amounts are (input, output, nano-dollars).
The real thing runs beside it, by the hand of a ``Teller``, and has to give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import wraps
from math import ceil, floor
from typing import Any

from carpool.budget import CoordinationBudget, Lease
from carpool.errors import AgentLimitReached, BudgetError, BudgetExhausted
from carpool.types import AgentOutput, BudgetLimits, BudgetSnapshot, TokenAccounting

Amount = tuple[int, int, int]
Id = Hashable

MOST = 2**64 - 1
NOTHING: Amount = (0, 0, 0)


def nanos(usd: float, *, up: bool) -> int:
    """Exact: a float that is the nearest to a whole number of nano-dollars means it; the rest is rounded."""
    exact = Fraction(usd) * 10**9
    if exact >= MOST:
        return MOST
    if round(exact) / 10**9 == usd:
        return round(exact)
    return min(MOST, ceil(exact) if up else floor(exact))


def weigh(tokens: TokenAccounting | None) -> Amount:
    if tokens is None:
        return NOTHING
    return min(tokens.input_tokens, MOST), min(tokens.output_tokens, MOST), nanos(tokens.cost_usd, up=True)


def total(amounts: Iterable[Amount]) -> Amount:
    sums = [0, 0, 0]
    for amount in amounts:
        sums = [one + other for one, other in zip(sums, amount, strict=True)]
    return sums[0], sums[1], sums[2]


def beyond(one: Amount, other: Amount) -> Amount:
    """What of ``one`` goes beyond ``other``, dimension by dimension."""
    return max(0, one[0] - other[0]), max(0, one[1] - other[1]), max(0, one[2] - other[2])


def larger(one: Amount, other: Amount) -> Amount:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])


def saturated(amount: Amount) -> Amount:
    return min(amount[0], MOST), min(amount[1], MOST), min(amount[2], MOST)


def four(amount: Amount) -> dict[str, int]:
    """The dimensions of a limit, in the order in which they are asked."""
    read, written, cost = saturated(amount)
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": min(read + written, MOST),
        "cost_usd": cost,
    }


def caps(limits: BudgetLimits) -> dict[str, int]:
    cost = limits.max_cost_usd
    given = {
        "input_tokens": limits.max_input_tokens,
        "output_tokens": limits.max_output_tokens,
        "total_tokens": limits.max_total_tokens,
        "cost_usd": None if cost is None else nanos(cost, up=False),
    }
    return {name: min(cap, MOST) for name, cap in given.items() if cap is not None}


@dataclass
class Row:
    """One thing that happened. ``subject`` is a purse for ``purse``, ``limits`` and ``record``, else a lease."""

    what: str
    subject: Id
    tokens: TokenAccounting | None = None
    parent: Id | None = None
    limits: BudgetLimits | None = None
    kept: Amount = NOTHING
    kept_agents: int = 0
    at: float = 0.0


@dataclass
class Page:
    """What the rows of one lease come to."""

    purse: Id
    began: float
    hold: Amount
    hold_priced: bool
    room: Amount
    reserved: TokenAccounting | None = None
    spoke: bool = False
    spent: Amount = NOTHING
    over: Amount = NOTHING
    late: Amount = NOTHING
    unpriced: bool = False
    state: str = "held"
    left_reserved: bool = False

    @property
    def lack(self) -> Amount:
        """What the open reservation holds beyond what is left of the hold."""
        return beyond(weigh(self.reserved), self.room)

    @property
    def held(self) -> Amount:
        return total((self.room, self.lack)) if self.state == "held" else NOTHING

    @property
    def has_vague_overrun(self) -> bool:
        """The contract leaves open how far a hold that was given back, or a reservation, covers a late charge."""
        return self.late != NOTHING and (self.state == "released" or self.left_reserved)

    def spend(self, amount: Amount) -> None:
        if self.state != "released":
            self.over = total((self.over, beyond(amount, total((self.room, self.lack)))))
        self.spent = total((self.spent, amount))
        self.room, self.reserved = beyond(self.room, amount), None

    def apply(self, row: Row) -> None:
        if row.what == "reserve":
            self.reserved = row.tokens
        elif row.what == "charge":
            assert row.tokens is not None
            self.spend(weigh(row.tokens))
            self.spoke = True
            self.unpriced |= not row.tokens.priced
            if self.state != "held":
                self.late = total((self.late, weigh(row.tokens)))
        elif row.what == "settle" and self.state == "held":
            self.left_reserved = self.lack != NOTHING
            final, priced = self._final(row.tokens)
            self.spend(beyond(final, self.spent))
            self.unpriced |= not priced
            self.state = "settled"
        elif row.what == "release" and self.state == "held":
            self.reserved = None
            self.state = "released"

    def _final(self, report: TokenAccounting | None) -> tuple[Amount, bool]:
        if report is not None:
            return larger(self.spent, weigh(report)), report.priced
        if self.reserved is not None:
            return total((self.spent, weigh(self.reserved))), self.reserved.priced
        if self.spoke:
            return self.spent, True
        return self.hold, self.hold_priced


@dataclass
class Refused:
    dimension: str
    purse: Id
    held_back: bool


def until_the_next_row(question: Callable[..., Any]) -> Callable[..., Any]:
    """Only so as not to reckon the same twice: the answer is forgotten with the next row."""

    @wraps(question)
    def answer(self: NaiveBudget, *asked: Id) -> Any:
        self._fold()
        key = (question.__name__, *asked)
        if key not in self._answers:
            self._answers[key] = question(self, *asked)
        return self._answers[key]

    return answer


class NaiveBudget:
    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._read = (-1, {}, {}, {}, {})
        self._answers: dict[tuple[Id, ...], Any] = {}

    # What the rows come to

    @property
    def pages(self) -> dict[Id, Page]:
        return self._fold()[1]

    @property
    def limits(self) -> dict[Id, BudgetLimits]:
        return self._fold()[2]

    @property
    def made(self) -> dict[Id, Row]:
        """The row by which each purse came to be."""
        return self._fold()[3]

    def _fold(self) -> tuple[int, dict, dict, dict, dict]:
        if self._read[0] == len(self.rows):
            return self._read
        pages: dict[Id, Page] = {}
        limits: dict[Id, BudgetLimits] = {}
        made: dict[Id, Row] = {}
        records: dict[Id, list[TokenAccounting]] = {}
        for row in self.rows:
            if row.what == "purse":
                made[row.subject], limits[row.subject], records[row.subject] = row, row.limits, []
            elif row.what == "limits":
                limits[row.subject] = merged(limits[row.subject], row.limits)
            elif row.what == "record":
                records[row.subject].append(row.tokens)
            elif row.what == "begin":
                hold = weigh(row.tokens)
                pages[row.subject] = Page(row.parent, row.at, hold, row.tokens is None or row.tokens.priced, room=hold)
            else:
                pages[row.subject].apply(row)
        self._read = (len(self.rows), pages, limits, made, records)
        self._answers.clear()
        return self._read

    @until_the_next_row
    def chain(self, purse: Id) -> list[Id]:
        """From the root down to ``purse``."""
        above: list[Id] = []
        at: Id | None = purse
        while at is not None:
            above.insert(0, at)
            at = self.made[at].parent
        return above

    @until_the_next_row
    def inside(self, purse: Id) -> list[Page]:
        return [page for page in self.pages.values() if purse in self.chain(page.purse)]

    def records(self, purse: Id) -> list[TokenAccounting]:
        """What was recorded in ``purse`` and in those inside it."""
        return [each for name, kept in self._fold()[4].items() if purse in self.chain(name) for each in kept]

    @until_the_next_row
    def spent(self, purse: Id) -> Amount:
        recorded = (weigh(each) for each in self.records(purse))
        return saturated(total((*(page.spent for page in self.inside(purse)), *recorded)))

    @until_the_next_row
    def held(self, purse: Id, without: Id = None) -> Amount:
        """Not saturated: what is added here is taken away again."""
        held = total(page.held for page in self.inside(purse))
        return beyond(held, self.pages[without].lack) if without is not None else held

    @until_the_next_row
    def unpriced(self, purse: Id) -> bool:
        return any(page.unpriced for page in self.inside(purse)) or any(not each.priced for each in self.records(purse))

    def refuses_unpriced(self, purse: Id) -> bool:
        limits = self.limits[purse]
        return self.unpriced(purse) and limits.max_cost_usd is not None and limits.unpriced == "refuse"

    def agents(self, purse: Id) -> int:
        return sum(page.state != "released" for page in self.inside(purse))

    def elapsed(self, purse: Id, now: float) -> float:
        starts = [page.began for page in self.inside(purse) if page.state != "released"]
        return now - min(starts) if starts else 0.0

    def kept(self, purse: Id, asking: Id) -> tuple[Amount, int]:
        """What a start through ``asking`` must leave of ``purse``, which is above it."""
        chain = self.chain(asking)
        below = [self.made[each] for each in chain[chain.index(purse) + 1 :]]
        return total(row.kept for row in below), sum(row.kept_agents for row in below)

    # The contract's answers

    def refused(
        self, purse: Id, estimate: TokenAccounting | None, depth: int, now: float, *, holds: bool = True
    ) -> Refused | None:
        """Denied when spent + held >= limit, or with an estimate spent + held + estimate > limit."""
        for at in self.chain(purse):
            dimension = self._refusing_dimension(at, purse, estimate, depth, now, holds)
            if dimension is not None:
                only_holds = holds and self.refused(purse, estimate, depth, now, holds=False) is None
                return Refused(dimension, at, only_holds)
        return None

    def _refusing_dimension(
        self, at: Id, asking: Id, estimate: TokenAccounting | None, depth: int, now: float, holds: bool
    ) -> str | None:
        kept, kept_agents = self.kept(at, asking)
        held = self.held(at) if holds else NOTHING
        taken = four(total((self.spent(at), held, kept)))
        asked = four(weigh(estimate))
        limits = self.limits[at]
        for dimension, cap in caps(limits).items():
            if taken[dimension] >= cap or taken[dimension] + asked[dimension] > cap:
                return dimension
        if self.refuses_unpriced(at):
            return "unpriced"
        if limits.max_seconds is not None and self.elapsed(at, now) >= limits.max_seconds:
            return "seconds"
        if limits.max_depth is not None and depth > limits.max_depth:
            return "depth"
        if limits.max_agents is not None and self.agents(at) + kept_agents >= limits.max_agents:
            return "agents"
        return None

    def call_refused(self, lease: Id, wish: TokenAccounting | None, now: float) -> Refused | None:
        """Whether a model call is refused to a lease in flight: a limit is crossed, or its wish does not fit."""
        page = self.pages[lease]
        lack = beyond(weigh(wish), page.room)
        for at in self.chain(page.purse):
            kept, _ = self.kept(at, page.purse)
            crossed = four(total((self.spent(at), kept)))
            others, lacking = four(total((self.spent(at), self.held(at, lease), kept))), four(lack)
            for dimension, cap in caps(self.limits[at]).items():
                if crossed[dimension] >= cap:
                    return Refused(dimension, at, False)
                if wish is not None and others[dimension] + lacking[dimension] > cap:
                    return Refused(dimension, at, False)
            if self.refuses_unpriced(at):
                return Refused("unpriced", at, False)
            limits = self.limits[at]
            if limits.max_seconds is not None and self.elapsed(at, now) >= limits.max_seconds:
                return Refused("seconds", at, False)
        return None

    def exhausted(self, purse: Id) -> bool:
        return any(
            self.refuses_unpriced(at)
            or any(four(self.spent(at))[name] >= cap for name, cap in caps(self.limits[at]).items())
            for at in self.chain(purse)
        )

    def snapshot(self, purse: Id, now: float) -> BudgetSnapshot:
        spent = four(self.spent(purse))
        settled = (page.over for page in self.inside(purse) if page.state == "settled")
        return BudgetSnapshot(
            input_tokens=spent["input_tokens"],
            output_tokens=spent["output_tokens"],
            total_tokens=spent["total_tokens"],
            cost_usd=spent["cost_usd"] / 10**9,
            agents_started=self.agents(purse),
            limits=self.limits[purse],
            exhausted=self.exhausted(purse),
            held=_tokens(saturated(self.held(purse))),
            overrun=_tokens(saturated(total(settled))),
            elapsed_s=self.elapsed(purse, now),
        )

    def remaining(self, purse: Id, now: float) -> BudgetLimits:
        """Per dimension the least that is neither spent nor held nor kept back, here and above."""
        left: dict[str, list[float]] = {}
        for at in self.chain(purse):
            kept, kept_agents = self.kept(at, purse)
            taken, limits = four(total((self.spent(at), self.held(at), kept))), self.limits[at]
            for name, cap in caps(limits).items():
                room = max(0, cap - taken[name])
                left.setdefault(f"max_{name}", []).append(room / 10**9 if name == "cost_usd" else room)
            if limits.max_agents is not None:
                room = max(0, limits.max_agents - self.agents(at) - kept_agents)
                left.setdefault("max_agents", []).append(room)
            if limits.max_seconds is not None:
                left.setdefault("max_seconds", []).append(max(0.0, limits.max_seconds - self.elapsed(at, now)))
            if limits.max_depth is not None:
                left.setdefault("max_depth", []).append(limits.max_depth)
        return BudgetLimits(**{name: min(rooms) for name, rooms in left.items()})


def merged(old: BudgetLimits, new: BudgetLimits) -> BudgetLimits:
    """The dimensions that ``new`` gives, the rest as they were."""
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    given = {name: value for name in new.__struct_fields__ if (value := getattr(new, name)) is not None}
    return BudgetLimits(**(fields | given))


def _tokens(amount: Amount) -> TokenAccounting:
    return TokenAccounting(input_tokens=amount[0], output_tokens=amount[1], cost_usd=amount[2] / 10**9)


def matches(error: BudgetError, refused: Refused) -> bool:
    if isinstance(error, AgentLimitReached):
        return refused.dimension == "agents"
    assert isinstance(error, BudgetExhausted)
    return (error.dimension, error.held_back) == (refused.dimension, refused.held_back)


@dataclass
class Teller:
    """Does things to real purses and writes down what was done: one row for each thing that took effect."""

    purses: dict[Id, CoordinationBudget]
    rows: list[Row] = field(default_factory=list)
    leases: dict[Id, Lease] = field(default_factory=dict)
    name: str = ""
    count: int = 0

    def begin(self, purse: Id, estimate: TokenAccounting | None, depth: int, now: float) -> Id | BudgetError:
        try:
            lease = self.purses[purse].try_begin_agent(estimate, depth=depth)
        except BudgetError as error:
            return error
        return self.began(purse, estimate, lease, now)

    def began(self, purse: Id, estimate: TokenAccounting | None, lease: Lease, now: float) -> Id:
        self.count += 1
        number = (self.name, self.count)
        self.leases[number] = lease
        self.rows.append(Row("begin", number, estimate, parent=purse, at=now))
        return number

    def reserve(self, lease: Id, wish: TokenAccounting | None) -> BudgetError | None:
        try:
            self.leases[lease].reserve(wish)
        except BudgetError as error:
            return error.with_traceback(None)  # its frames would keep the lease alive, whoever drops it
        if wish is not None:
            self.rows.append(Row("reserve", lease, wish))
        return None

    def charge(self, lease: Id, tokens: TokenAccounting) -> None:
        self.leases[lease].charge(tokens)
        self.rows.append(Row("charge", lease, tokens))

    def settle(self, lease: Id, report: TokenAccounting | None) -> TokenAccounting:
        answer = self.leases[lease].settle(report)
        self.rows.append(Row("settle", lease, report))
        return answer

    def release(self, lease: Id) -> None:
        self.leases[lease].release()
        self.rows.append(Row("release", lease))

    def leave_block(self, lease: Id, error: BaseException | None) -> None:
        with suppress(type(error)) if error is not None else nullcontext(), self.leases[lease]:
            if error is not None:
                raise error
        self.rows.append(Row("settle", lease))

    def drop(self, lease: Id) -> None:
        del self.leases[lease]
        self.rows.append(Row("settle", lease))

    def record(self, purse: Id, tokens: TokenAccounting) -> None:
        self.purses[purse].record(tokens)
        self.rows.append(Row("record", purse, tokens))

    def record_output(self, purse: Id, tokens: TokenAccounting | None) -> None:
        self.purses[purse].record_output(AgentOutput(name="stranger", tokens=tokens))
        if tokens is not None:
            self.rows.append(Row("record", purse, tokens))

    def raise_limits(self, purse: Id, limits: BudgetLimits) -> None:
        self.purses[purse].raise_limits(limits)
        self.rows.append(Row("limits", purse, limits=limits))
