"""Runs that survive their process: journals, replay by content, budgets that several processes share."""

from typing import TYPE_CHECKING, Any

from .document import AgentRecord, RunDocument, document_of
from .journal import Journal, StoredRun
from .memory import MemoryJournal
from .records import RunHeader
from .sqlite import SqliteJournal
from .sqlite_ledger import SqliteLedger

if TYPE_CHECKING:
    from .postgres import PostgresJournal
    from .postgres_ledger import PostgresLedger

__all__ = [
    "AgentRecord",
    "Journal",
    "MemoryJournal",
    "PostgresJournal",
    "PostgresLedger",
    "RunDocument",
    "RunHeader",
    "SqliteJournal",
    "SqliteLedger",
    "StoredRun",
    "document_of",
]


def __getattr__(name: str) -> Any:
    """What needs the extra ``postgres`` is loaded when it is asked for."""
    if name == "PostgresJournal":
        from .postgres import PostgresJournal

        return PostgresJournal
    if name == "PostgresLedger":
        from .postgres_ledger import PostgresLedger

        return PostgresLedger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
