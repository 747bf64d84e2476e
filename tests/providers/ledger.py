"""The provider's own book: what each request really used. It is the invoice; carpool never reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from carpool import TokenAccounting

__all__ = ["Entry", "Ledger"]


@dataclass
class Entry:
    """One request. Cached tokens are part of the input."""

    number: int
    protocol: str
    model: str
    agent: str
    at: float
    """``time.monotonic()`` when it came."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    status: Literal["open", "completed", "cut", "refused"] = "open"
    reported: bool = True
    """Whether the answer told the true usage; a cut one told it perhaps not."""

    @property
    def tokens(self) -> TokenAccounting:
        return TokenAccounting(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read,
            cache_write_tokens=self.cache_write,
        )


@dataclass
class Ledger:
    """Every request that came, in the order of arrival."""

    entries: list[Entry] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def begin(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def end(self, entry: Entry, status: Literal["completed", "cut", "refused"]) -> None:
        if entry.status == "open":
            entry.status = status
            self.in_flight -= 1

    def spent(self, status: str | None = None, agent: str | None = None) -> TokenAccounting:
        """What is on the invoice: of all requests, or of those that ended so, or of one agent."""
        total = TokenAccounting()
        for entry in self.entries:
            if status in (None, entry.status) and agent in (None, entry.agent):
                total += entry.tokens
        return total

    def count(self, status: str) -> int:
        return sum(entry.status == status for entry in self.entries)
