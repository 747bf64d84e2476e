"""The coordination patterns, a file each. They do not know each other; each is a program over two verbs."""

from .adversarial_review import AdversarialReview, AdversarialReviewResult, Finding
from .advisor import Advisor, AdvisorResult
from .delegator import Delegation, Delegator, DelegatorResult
from .fleet import Fleet, FleetResult
from .map_reduce import Item, MapReduce, MapReduceResult, UnreadableItem
from .pattern import Pattern
from .pipeline import Pipeline, PipelineResult
from .plan import Plan
from .preview import ResumePreview
from .spawn_subtask import SpawnSubtask, SpawnSubtaskResult, Subtask
from .supervisor import Supervisor, SupervisorResult
from .swarm import Swarm, SwarmResult
from .tournament import Match, Tournament, TournamentResult
from .vote import Vote, VoteResult, normalise

__all__ = [
    "AdversarialReview",
    "AdversarialReviewResult",
    "Advisor",
    "AdvisorResult",
    "Delegation",
    "Delegator",
    "DelegatorResult",
    "Finding",
    "Fleet",
    "FleetResult",
    "Item",
    "MapReduce",
    "MapReduceResult",
    "Match",
    "Pattern",
    "Pipeline",
    "PipelineResult",
    "Plan",
    "ResumePreview",
    "SpawnSubtask",
    "SpawnSubtaskResult",
    "Subtask",
    "Supervisor",
    "SupervisorResult",
    "Swarm",
    "SwarmResult",
    "Tournament",
    "TournamentResult",
    "UnreadableItem",
    "Vote",
    "VoteResult",
    "normalise",
]
