"""What every ledger promises to a budget, whatever it is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.budget import CoordinationBudget
from carpool.budget.ledger import Changes, Ledger
from carpool.errors import BudgetError, JournalError
from carpool.types import BudgetLimits, TokenAccounting

from ..budget.memory_ledger import MemoryLedger, Shelf
from ..budget.real_threads import together
from .ledger_member import ledger_at

NewLedger = Callable[[], Ledger]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewLedger]:
    """Each call is another member's access to the same ledger."""
    made: list[Ledger] = []
    shelf = Shelf()
    places = {"sqlite": lambda: str(tmp_path / "purse.db"), "postgres": lambda: request.getfixturevalue("postgres_dsn")}

    def new() -> Ledger:
        options = {"postgres": {"dead_after_s": 0}}.get(request.param, {})
        if request.param == "memory":
            ledger = MemoryLedger(shelf)
        else:
            ledger = ledger_at(places[request.param](), timeout_s=5, **options)
        made.append(ledger)
        return ledger

    yield new
    for ledger in made:
        ledger.leave()


@pytest.fixture
def pair(new_ledger: NewLedger) -> tuple[Ledger, Ledger]:
    one, other = new_ledger(), new_ledger()
    one.join("one")
    other.join("other")
    return one, other


Pair = tuple[Ledger, Ledger]


def write(ledger: Ledger, purse: str = "{}", shares: Any = None, buried: Any = None) -> None:
    ledger.begin(wait=True)
    ledger.commit(Changes(purse, shares or {}, buried or {}))


def read(ledger: Ledger) -> tuple[str | None, dict[str, str]]:
    page = ledger.begin(wait=True)
    ledger.abandon()
    return page.purse, dict(page.shares)


# Pages


def test_a_new_ledger_is_empty(pair: Pair) -> None:
    assert read(pair[0]) == (None, {})


def test_what_one_commits_all_read(pair: Pair) -> None:
    write(pair[0], '{"a":1}', {"one": '{"b":2}', "third": "[]"})
    assert read(pair[1]) == read(pair[0]) == ('{"a":1}', {"one": '{"b":2}', "third": "[]"})
    write(pair[1], '{"a":2}', {"other": "null", "third": None, "nobody": None})
    assert read(pair[0]) == ('{"a":2}', {"one": '{"b":2}', "other": "null"})


def test_what_is_abandoned_changes_nothing(pair: Pair) -> None:
    write(pair[0], '"before"')
    pair[0].begin(wait=True)
    pair[0].abandon()
    pair[0].abandon()
    assert read(pair[1]) == ('"before"', {})


@pytest.mark.parametrize(
    "text", [str(2**200), '"é \\u0000 日本 🙂"', '"' + "x" * 100_000 + '"', '"\'; DROP TABLE purse"']
)
def test_any_json_is_kept_as_it_is(pair: Pair, text: str) -> None:
    write(pair[0], text, {"one": text})
    assert read(pair[1]) == (text, {"one": text})


def test_it_says_where_it_lies(pair: Pair) -> None:
    assert pair[0].place == pair[1].place != ""


# Turns


def test_who_does_not_wait_is_refused_while_another_has_the_turn(pair: Pair) -> None:
    one, other = pair
    one.begin(wait=True)
    with pytest.raises(JournalError):
        other.begin(wait=False)
    one.commit(Changes('"mine"', {}, {}))
    assert other.begin(wait=False).purse == '"mine"'
    other.abandon()


def test_who_waits_gets_the_turn_and_reads_what_was_written_in_it(pair: Pair) -> None:
    one, other = pair
    one.begin(wait=True)
    found: list[str | None] = []
    waiting = threading.Thread(target=lambda: found.append(read(other)[0]))
    waiting.start()
    waiting.join(0.05)
    assert found == []
    one.commit(Changes('"mine"', {}, {}))
    waiting.join(5)
    assert found == ['"mine"']


def test_no_update_is_lost_between_members(new_ledger: NewLedger) -> None:
    ledgers = [new_ledger() for _ in range(4)]
    for number, ledger in enumerate(ledgers):
        ledger.join(f"member {number}")
    write(ledgers[0], "0")

    def add(ledger: Ledger) -> None:
        for _ in range(10):
            purse = ledger.begin(wait=True).purse
            assert purse is not None
            ledger.commit(Changes(str(int(purse) + 1), {}, {}))

    together([lambda ledger=ledger: add(ledger) for ledger in ledgers])

    assert read(ledgers[0])[0] == "40"


# Life and death


def test_a_member_lives_until_it_leaves(pair: Pair) -> None:
    one, other = pair
    one.begin(wait=True)
    assert list(one.dead(["other", "one"])) == []
    assert list(one.dead(["stranger"])) == ["stranger"]
    one.abandon()
    other.leave()
    one.begin(wait=True)
    assert list(one.dead(["other", "one"])) == ["other"]
    one.abandon()


def test_who_has_left_may_join_again_and_can_do_nothing_before(pair: Pair) -> None:
    one, other = pair
    write(one, '"kept"')
    one.leave()
    one.leave()
    with pytest.raises(JournalError):
        one.begin(wait=True)
    one.join("one again")
    assert read(one) == ('"kept"', {})
    other.begin(wait=True)
    assert list(other.dead(["one", "one again"])) == ["one"]
    other.abandon()


def test_leaving_in_the_middle_of_a_turn_abandons_it(pair: Pair) -> None:
    one, other = pair
    one.begin(wait=True)
    one.leave()
    assert other.begin(wait=False).purse is None
    other.abandon()


def test_shares_of_the_dead_are_kept_apart_until_they_are_taken_out(pair: Pair) -> None:
    one, other = pair
    write(one, shares={"gone": '"share"'})
    write(one, shares={"gone": None}, buried={"gone": '"share"', "others": '"another"'})
    assert read(other)[1] == {}
    other.begin(wait=True)
    assert other.buried("gone") == '"share"'
    assert other.buried("nobody") is None
    other.commit(Changes("{}", {"gone": '"back"'}, {"gone": None}))
    assert read(one)[1] == {"gone": '"back"'}
    one.begin(wait=True)
    assert one.buried("gone") is None
    assert one.buried("others") == '"another"'
    one.abandon()


# With budgets on them


def test_budgets_on_it_are_one_budget(new_ledger: NewLedger) -> None:
    limits = BudgetLimits(max_total_tokens=60, max_agents=9)
    budgets = [CoordinationBudget(limits, ledger=new_ledger()) for _ in range(3)]
    seven = TokenAccounting(input_tokens=7)

    def work(budget: CoordinationBudget) -> None:
        try:
            while True:
                lease = budget.try_begin_agent(seven)
                lease.charge(TokenAccounting(input_tokens=3))
                lease.settle(seven)
        except BudgetError as denial:
            if getattr(denial, "held_back", False):
                work(budget)

    together([lambda budget=budget: work(budget) for budget in budgets])

    for budget in budgets:
        now = budget.snapshot()
        assert (now.total_tokens, now.agents_started, now.held.total_tokens) == (56, 8, 0)
        budget.close()
