"""THE ONE DOOR: recall, lease, record, run, settle, record; and the places from which it is entered."""

from .opening import open_run
from .run import Member, Run, Team

__all__ = ["Member", "Run", "Team", "open_run"]
