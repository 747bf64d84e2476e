"""The coordination patterns, a file each. They do not know each other; each is a program over two verbs."""

from .map_reduce import Item, MapReduce, MapReduceResult, UnreadableItem
from .pattern import Pattern
from .pipeline import Pipeline, PipelineResult
from .plan import Plan
from .swarm import Swarm, SwarmResult
from .vote import Vote, VoteResult, normalise

__all__ = [
    "Item",
    "MapReduce",
    "MapReduceResult",
    "Pattern",
    "Pipeline",
    "PipelineResult",
    "Plan",
    "Swarm",
    "SwarmResult",
    "UnreadableItem",
    "Vote",
    "VoteResult",
    "normalise",
]
