"""How a command ends: the exit codes, and the error of who typed it."""

from __future__ import annotations

__all__ = ["DONE", "EXIT_CODES", "FAILED", "INTERRUPTED", "STOPPED_BY_THE_BUDGET", "USAGE", "UsageError"]

DONE = 0
FAILED = 1
USAGE = 2
STOPPED_BY_THE_BUDGET = 4
INTERRUPTED = 130

EXIT_CODES = """\
Exit codes:
  0    done: there is an answer
  1    failed: there is none
  2    usage: what was typed can't be run; nothing was started
  4    stopped by the budget; what there is of an answer is printed
  130  interrupted; what had finished is printed, and what it cost"""


class UsageError(Exception):
    """What was typed can't be run. The text says in one line what, where and what to do."""
