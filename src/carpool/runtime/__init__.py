"""What one agent acts through: propose, validate, ask policy, execute, commit."""

from .foresight import Foresight, Issue
from .runtime import Runtime
from .team import Identity, TeamContext

__all__ = ["Foresight", "Identity", "Issue", "Runtime", "TeamContext"]
