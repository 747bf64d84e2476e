"""A folder or git worktree of its own for each agent: inside one base, and gone afterwards."""

from .leftovers import Leftover
from .workspaces import Workspace, Workspaces

__all__ = ["Leftover", "Workspace", "Workspaces"]
