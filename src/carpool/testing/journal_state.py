"""What a journal promises to the state of a team: what agents changed is there again, once, and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from ..infra import SharedInfra
from ..mailbox import Mailbox
from ..patterns import Delegator, Pipeline, Swarm
from ..runtime import Runtime
from ..state import StateStore
from ..types import AgentSpec
from .journal_desk import COST, Check, Desk, agent, agents, calling, require
from .reply import Reply, Script

__all__ = ["STATE", "sets"]


def _does(work: Callable[[StateStore, str], Any]) -> Reply:
    """An agent that does ``work`` on its state."""

    async def act(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        work(runtime.state, spec.name)
        return "done"

    return Reply(spends=COST, does=act)


def sets(**values: Any) -> Reply:
    def work(state: StateStore, name: str) -> None:
        for key, value in values.items():
            state.set(key, value, actor=name)

    return _does(work)


async def what_agents_changed_is_put_back_where_it_is_missing(desk: Desk) -> None:
    given = {"gone": 1, "kept": 1}

    def work(state: StateStore, name: str) -> None:
        state.set("deep", {"a": [1, 2.5, None, "ü"]}, actor=name)
        state.set("twice", 1, actor=name)
        state.set("twice", 2, actor=name)
        state.delete("gone", actor=name)
        state.set("here and gone", 1, actor=name)
        state.delete("here and gone", actor=name)

    first = await desk.run(Pipeline(agents("ab")), {"a": _does(work)}, state=StateStore(given))
    second = await desk.run(Pipeline(agents("ab")), {"a": _does(work)}, state=StateStore(given))
    require(list(second.calls) == [], "the scene is not as it should be")
    _require_state(second, first.infra.state.snapshot())
    actors = {transition.actor for transition in second.infra.state.transitions()}
    require(actors == {"a"}, f"it was put back in the name of {actors}")


async def of_two_changes_the_later_one_stays(desk: Desk) -> None:
    written = anyio.Event()

    async def early(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        runtime.state.set("key", "early", actor=spec.name)
        await written.wait()
        return "changed it first, ended last"

    async def late(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        runtime.state.set("key", "late", actor=spec.name)
        return "changed it last, ended first"

    async def waits(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        await anyio.sleep(0.01)
        written.set()
        return ""

    script: Script = {
        "a": Reply(spends=COST, does=early),
        "b": Reply(spends=COST, does=late),
        "c": Reply(spends=COST, does=waits),
    }
    await desk.run(Swarm(agents("abc")), script)
    for order in ("abc", "cba"):
        resumed = await desk.run(Swarm(agents(order), max_concurrent=1), script)
        require(list(resumed.calls) == [], "the scene is not as it should be")
        _require_state(resumed, {"key": "late"})


async def what_is_newer_is_not_undone(desk: Desk) -> None:
    team = Pipeline(agents("ab"))
    await desk.run(team, {"a": sets(key="old", other="old")}, dies_at="b")
    state = StateStore({"key": "before"})
    infra = SharedInfra(journal=desk.journal, state=state)
    first = await desk.run(_Meddled(), {"b": sets(b=1)}, infra=infra)
    require(list(first.calls) == ["b"], f"called were {list(first.calls)}")
    _require_state(first, {"key": "newer", "other": "old", "b": 1})


class _Meddled(Pipeline):
    """Somebody else writes to the state before the first of it is asked for."""

    def __init__(self) -> None:
        super().__init__(agents("ab"), name="pipeline")

    async def execute(self, run: Any, task: str) -> Any:
        run.infra.state.set("key", "newer", actor="somebody")
        return await super().execute(run, task)


async def what_is_in_the_store_already_is_not_put_there_again(desk: Desk) -> None:
    state = StateStore({"deleted before": 1})
    state.delete("deleted before", actor="somebody")
    team = Pipeline(agents("ab"))
    script: Script = {"a": sets(a=1), "b": sets(a=2)}
    counts: list[int] = []
    for _ in range(3):
        went = await desk.run(team, script, state=state)
        counts.append(state.transition_count)
        _require_state(went, {"a": 2})
    require(counts == [3, 3, 3], f"transitions after each run: {counts}")
    other = StateStore()
    for _ in range(3):
        went = await desk.run(team, script, state=other)
        _require_state(went, {"a": 2})
        counts.append(other.transition_count)
    require(counts[3:] == [2, 2, 2], f"in a store of another process: {counts[3:]}")


async def a_key_that_was_deleted_before_is_put_back_too(desk: Desk) -> None:
    await desk.run(Swarm(agents("a")), {"a": sets(key=1)})
    state = StateStore({"key": 0})
    state.delete("key", actor="somebody")
    _require_state(await desk.run(Swarm(agents("a")), state=state), {"key": 1})


async def what_was_put_back_and_changed_since_stays_changed(desk: Desk) -> None:
    team = Pipeline(agents("abc"))
    script: Script = {"a": sets(key="a"), "b": sets(key="b"), "c": sets(key="c")}
    await desk.run(team, script, dies_at="b")
    state = StateStore()
    await desk.run(team, script, state=state, dies_at="c")
    _require_state(await desk.run(team, script, state=state), {"key": "c"})
    _require_state(await desk.run(team, script), {"key": "c"})


async def what_isolated_agents_changed_is_merged_as_if_they_had_run(desk: Desk) -> None:
    team = Pipeline([Swarm(agents("ab"), isolated=True, max_concurrent=1), agent("c")])
    script: Script = {"a": sets(a=1, both="a"), "b": sets(b=1), "c": sets(a=2)}
    whole = await desk.run(team, script, run_id="whole")
    for place in (1, 2, 3):
        run_id = f"killed at call {place}"
        await desk.run(team, script, run_id=run_id, dies_at=place)
        went = await desk.run(team, script, run_id=run_id)
        _require_state(went, whole.infra.state.snapshot())
    _require_state(await desk.run(team, script, run_id="whole"), whole.infra.state.snapshot())


async def what_isolated_agents_changed_and_nobody_merged_is_not_lost(desk: Desk) -> None:
    team = Swarm(agents("ab"), isolated=True, max_concurrent=1)
    script: Script = {"a": sets(a=1), "b": sets(b=1)}
    state = StateStore()
    await desk.cancelled_at("b", team, script, state=state)
    require(state.snapshot() == {}, "the scene is not as it should be")
    _require_state(await desk.run(team, script, state=state), {"a": 1, "b": 1})
    state.set("a", "newer", actor="somebody")
    _require_state(await desk.run(team, script, state=state), {"a": "newer", "b": 1})


async def a_conflict_of_isolated_agents_is_one_again(desk: Desk) -> None:
    team = Swarm(agents("ab"), isolated=True)
    script: Script = {"a": sets(key="a"), "b": sets(key="b", more=1)}
    first = await desk.run(team, script)
    second = await desk.run(team, script)
    for went in (first, second):
        require(went.outcome.failed == ["b"], f"failed are {went.outcome.failed}")
        _require_state(went, {"key": "a"})


async def what_delegates_changed_is_put_back_once(desk: Desk) -> None:
    team = Delegator(agent("m"), {"x": agent("x")})
    script: Script = {"m": calling("delegate", {"specialist": "x", "task": "1"}), "x": sets(key=1)}
    await desk.run(team, script)
    went = await desk.run(team, script)
    _require_state(went, {"key": 1})
    require(went.infra.state.transition_count == 1, f"it was put back {went.infra.state.transition_count} times")


def _require_state(went: Any, expected: dict[str, Any]) -> None:
    state = went.infra.state.snapshot()
    require(state == expected, f"the state is {state}, not {expected}")


STATE: tuple[Check, ...] = (
    what_agents_changed_is_put_back_where_it_is_missing,
    of_two_changes_the_later_one_stays,
    what_is_newer_is_not_undone,
    what_is_in_the_store_already_is_not_put_there_again,
    a_key_that_was_deleted_before_is_put_back_too,
    what_was_put_back_and_changed_since_stays_changed,
    what_isolated_agents_changed_is_merged_as_if_they_had_run,
    what_isolated_agents_changed_and_nobody_merged_is_not_lost,
    a_conflict_of_isolated_agents_is_one_again,
    what_delegates_changed_is_put_back_once,
)
