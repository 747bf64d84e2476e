"""A process of its own with a budget on a ledger: it does what it is told on stdin, and answers in lines of JSON.

``python ledger_member.py LEDGER [OPTIONS]`` where LEDGER is the path of a SQLite file or a PostgreSQL dsn, and
OPTIONS are of the ledger, as a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import msgspec

from carpool.budget import CoordinationBudget, Lease
from carpool.budget.ledger import Ledger
from carpool.errors import AgentLimitReached, BudgetError, CarpoolError
from carpool.types import BudgetLimits, TokenAccounting


def ledger_at(place: str, **options: Any) -> Ledger:
    if "=" in place:
        from carpool.durable.postgres_ledger import PostgresLedger

        return PostgresLedger(place, **{"dead_after_s": 0.2, **options})
    from carpool.durable.sqlite_ledger import SqliteLedger

    return SqliteLedger(place, **options)


def tokens(count: int | None) -> TokenAccounting | None:
    return None if count is None else TokenAccounting(input_tokens=count)


class Member:
    """Every method is a command."""

    def __init__(self, place: str, **options: Any) -> None:
        self.budget = CoordinationBudget(ledger=ledger_at(place, **options))
        self.leases = []

    def begin(self, count: int | None = None) -> int:
        self.leases.append(self.budget.try_begin_agent(tokens(count)))
        return len(self.leases) - 1

    def wait(self, count: int, *inside: int) -> int:
        """``begin``, but with patience."""
        rung = threading.Event()
        numbers = tuple(self.leases[each].number for each in inside)
        waiter = self.budget.begin_or_wait(tokens(count), 1 + len(inside), numbers, rung.set)
        if isinstance(waiter, Lease):  # there was room by the time that it asked
            self.leases.append(waiter)
            return len(self.leases) - 1
        rung.wait()
        if waiter.lease is None:
            raise waiter.denial
        self.leases.append(waiter.lease)
        return len(self.leases) - 1

    def charge(self, lease: int, count: int) -> None:
        self.leases[lease].charge(tokens(count))

    def settle(self, lease: int, count: int | None = None) -> None:
        self.leases[lease].settle(tokens(count))

    def release(self, lease: int) -> None:
        self.leases[lease].release()

    def raise_limits(self, text: str) -> None:
        self.budget.raise_limits(BudgetLimits.parse(text))

    def snapshot(self) -> Any:
        return msgspec.to_builtins(self.budget.snapshot())

    def hold_turn(self) -> None:
        """Take the turn, and keep it."""
        self.turn = self.budget.book.step(asking=True)
        self.turn.__enter__()

    def let_go_of_turn(self) -> None:
        try:
            self.turn.__exit__(None, None, None)
        except CarpoolError:
            return

    def keep_spending(self, count: int, each: int) -> int:
        """Begin and settle without an end, until refused."""
        done = 0
        while done < count:
            try:
                lease = self.budget.try_begin_agent(tokens(each))
            except BudgetError:
                break
            lease.settle(tokens(each))
            done += 1
        return done

    def storm(self, threads: int, each: int) -> dict[str, int]:
        """As many starts as are to be had, from several threads at once: how many, and how often it went wrong."""
        counts = {"admitted": 0, "over": 0, "failed": 0}
        lock = threading.Lock()
        limit = self.budget.limits.max_total_tokens

        def work() -> None:
            admitted = over = 0
            try:
                while True:
                    lease = self.budget.try_begin_agent(tokens(each))
                    admitted += 1
                    account = self.budget.chain[0][0]
                    over += account.spent[2] + account.held[2] > limit
                    lease.settle(tokens(each))
            except (AgentLimitReached, BudgetError):
                pass
            except CarpoolError as error:
                print(repr(error), file=sys.stderr, flush=True)
                counts["failed"] += 1
            with lock:
                counts["admitted"] += admitted
                counts["over"] += over

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return counts


def main(place: str, options: str = "{}") -> None:
    member = Member(place, **json.loads(options))
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = {"answer": getattr(member, command)(*arguments)}
        except CarpoolError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
