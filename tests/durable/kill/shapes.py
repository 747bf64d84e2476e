"""The teams that are killed: 500 agents each, every pattern that the door has to treat in a way of its own.

A shape says what to run. Which answers its agents give, what they cost and what they change of the state follows from
the content of the call alone, so that an uninterrupted run can say what a killed one must come to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct

from carpool import (
    AgentSpec,
    BudgetLimits,
    Delegator,
    MapReduce,
    Pattern,
    Pipeline,
    Supervisor,
    Swarm,
    Vote,
)

from .bill import MOST

__all__ = ["AGENTS", "SHAPES", "Shape", "shape_of"]

AGENTS = 500
TASK = "Say what it is about."

AMPLE = BudgetLimits(max_total_tokens=1_000_000, max_cost_usd=10.0, max_agents=20_000)
"""More than a run that is killed many times can spend: limits that are asked and never refuse."""

TIGHT = BudgetLimits(max_total_tokens=AGENTS * MOST.total_tokens // 2, max_agents=20_000)
"""Less than the run takes."""


class Shape(Struct):
    """One run. ``limits`` are those of its first process that gets to the end, then of the next, and so on."""

    name: str
    team: Pattern[Any]
    inputs: dict[str, Any] = {}
    state: dict[str, Any] = {}
    limits: Sequence[BudgetLimits] = (AMPLE,)
    restores: bool = True  # its agents change a state that they share
    merges: bool = False
    edited: bool = False
    poisoned: bool = False


def agent(name: str, does: str = "", **fields: Any) -> AgentSpec:
    return AgentSpec(name, "Answer.", estimate=MOST, metadata={"does": does} if does else {}, **fields)


def items_of(count: int) -> list[str]:
    """``count`` items; a few are said twice, a few fail at first, and a few always."""
    items = [f"item {number}" for number in range(count)]
    for number in range(0, count, 100):
        items[number + 1] = items[number]  # the same again
        items[number + 3] += " flaky"
        items[number + 5] += " hopeless"
    return items


def to_do(items: Sequence[str]) -> dict[str, Any]:
    return {f"to do/{item}": True for item in items}


def map_reduce(items: Sequence[str], **fields: Any) -> MapReduce:
    mapper = agent("reader", "clears", retries=1)
    return MapReduce(mapper, agent("editor"), max_concurrent=16, fan_in=50, **fields)


def a_map_reduce(edition: int) -> Shape:
    items = items_of(AGENTS - 11)
    return Shape(name="map-reduce", team=map_reduce(items), inputs={"items": items}, state=to_do(items))


def an_edited_map_reduce(edition: int) -> Shape:
    """Every process has one item more than the one before, and all of them in another order."""
    items = [*(f"news {number}" for number in range(edition)), *items_of(AGENTS - 11)]
    Random(edition).shuffle(items)
    return Shape(
        name="edited map-reduce", team=map_reduce(items), inputs={"items": items}, state=to_do(items), edited=True
    )


def a_poisoned_map_reduce(edition: int) -> Shape:
    """One of its items kills the process that works on it, if it is told to."""
    items = [f"item {number}" for number in range(AGENTS - 1)]
    items[AGENTS // 2] += " poison"
    team = MapReduce(agent("reader", "clears"), agent("editor"), max_concurrent=16)
    return Shape(name="poisoned map-reduce", team=team, inputs={"items": items}, state=to_do(items), poisoned=True)


def a_tight_map_reduce(edition: int) -> Shape:
    """Its budget ends before it does; then that is raised, and it goes on."""
    items = items_of(AGENTS - 11)
    team = map_reduce(items, reserve_for_finalizer=True)
    return Shape(name="tight map-reduce", team=team, inputs={"items": items}, state=to_do(items), limits=(TIGHT, AMPLE))


def a_swarm(edition: int) -> Shape:
    """Some of its agents use a tool that somebody must approve of."""
    agents = [
        agent(f"bee {number}", "notes" if number % 5 else "signs", tools=["sign"]) for number in range(AGENTS - 1)
    ]
    return Shape(name="swarm", team=Swarm(agents, synthesizer=agent("queen"), max_concurrent=16))


def an_isolated_swarm(edition: int) -> Shape:
    """Overlays, of which some contradict each other."""
    agents = [agent(f"bee {number}", "notes, and quarrels" if number < 20 else "notes") for number in range(AGENTS - 1)]
    team = Swarm(agents, synthesizer=agent("queen"), max_concurrent=16, isolated=True)
    return Shape(name="isolated swarm", team=team, state={"sting/0": "nobody's"}, restores=False, merges=True)


def a_debate(edition: int) -> Shape:
    agents = [agent(f"debater {number}", "notes") for number in range(50)]
    return Shape(name="debate", team=Swarm(agents, "debate", rounds=AGENTS // 50, quote_limit=40))


def a_vote(edition: int) -> Shape:
    agents = [agent(f"voter {number}", "votes") for number in range(AGENTS - 1)]
    return Shape(
        name="vote", team=Vote(agents, agent("clerk"), max_concurrent=32, stop_when_decided=False), restores=False
    )


def a_supervisor(edition: int) -> Shape:
    """Nobody bounds how many work at once: 99 are in flight together."""
    workers = [agent(f"worker {number}", "notes") for number in range(AGENTS // 5 - 1)]
    team = Supervisor(workers, agent("boss", "approves the fifth"), max_rounds=5)
    return Shape(name="supervisor", team=team)


def a_nest(edition: int) -> Shape:
    """Agents that ask for agents and teams, inside a map, inside a pipeline; purses inside purses."""
    pair = Swarm([agent("left", "files"), agent("right", "files")], name="pair", budget=AMPLE)
    specialists = {"checker": agent("checker", "files"), "pair": pair}
    asking = Delegator(agent("asker", "delegates"), specialists, name="asking", budget=AMPLE)
    # Each item: the asker, the checker twice, the pair: 5 agents.
    items = [f"item {number}" for number in range(AGENTS // 5 - 3)]
    map_them = MapReduce(asking, agent("editor"), max_concurrent=8, name="map").over(items)
    vote = Vote([agent(f"voter {number}", "votes") for number in range(5)], stop_when_decided=False)
    stages = [agent(f"stage {number}", "appends") for number in range(9)]
    return Shape(name="nest", team=Pipeline([map_them, vote, *stages]), state={"stages": []})


SHAPES: dict[str, Callable[[int], Shape]] = {
    "map-reduce": a_map_reduce,
    "edited map-reduce": an_edited_map_reduce,
    "tight map-reduce": a_tight_map_reduce,
    "swarm": a_swarm,
    "isolated swarm": an_isolated_swarm,
    "debate": a_debate,
    "vote": a_vote,
    "supervisor": a_supervisor,
    "nest": a_nest,
    "poisoned map-reduce": a_poisoned_map_reduce,
}


def shape_of(name: str, edition: int) -> Shape:
    return SHAPES[name](edition)
