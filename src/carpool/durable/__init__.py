"""Runs that survive their process: journals, replay by content, budgets that several processes share."""

from .journal import Journal, StoredRun
from .memory import MemoryJournal
from .records import RunHeader
from .sqlite import SqliteJournal

__all__ = ["Journal", "MemoryJournal", "RunHeader", "SqliteJournal", "StoredRun"]
