"""Runs that survive their process: journals, replay by content, budgets that several processes share."""

from .document import AgentRecord, RunDocument, document_of
from .journal import Journal, StoredRun
from .memory import MemoryJournal
from .records import RunHeader
from .sqlite import SqliteJournal

__all__ = [
    "AgentRecord",
    "Journal",
    "MemoryJournal",
    "RunDocument",
    "RunHeader",
    "SqliteJournal",
    "StoredRun",
    "document_of",
]
