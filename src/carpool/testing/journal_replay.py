"""What a journal promises to patterns: what was finished is given out again, to whoever asks the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ..patterns import (
    AdversarialReview,
    Advisor,
    Delegator,
    Fleet,
    MapReduce,
    Pattern,
    Pipeline,
    SpawnSubtask,
    Supervisor,
    Swarm,
    Tournament,
    Vote,
)
from ..types import AgentSpec, BudgetLimits
from .journal_desk import (
    COST,
    Check,
    Desk,
    agent,
    agents,
    attempt,
    calling,
    gist,
    require,
    require_whole_lives,
    tokens,
)
from .reply import Reply, Script

__all__ = ["REPLAY"]


def _second_time(spec: AgentSpec, task: str) -> str:
    return '{"approved": %s, "feedback": "shorter"}' % ("true" if "round 2" in task else "false")


_FINDINGS = json.dumps({"findings": [{"criterion": "true", "passed": True, "evidence": "line 1", "severity": "info"}]})
_DELEGATE = calling("delegate", {"specialist": "x", "task": "1"}, {"specialist": "none", "task": "2"})
_SPAWN = calling("spawn_subtask", {"task": "1", "tools": []}, {"task": "2", "tools": []}, at_once=True)
_CONSULT = calling("consult_advisor", {"question": "1"}, {"question": "2"}, {"question": "3"})

TEAMS: dict[str, tuple[Pattern[Any], Script]] = {
    "swarm": (Swarm(agents("abc"), synthesizer=agent("s")), {}),
    "swarm one after the other": (Swarm(agents("abc"), "sequential"), {}),
    "debate": (Swarm(agents("ab"), "debate", rounds=2), {}),
    "pipeline": (Pipeline(agents("abc")), {}),
    "map-reduce": (MapReduce(agent("m"), agent("r"), 2).over(items=["1", "2", "2"]), {}),
    "vote": (Vote(agents("abc"), agent("s")), {}),
    "supervisor": (Supervisor(agents("ab"), agent("s")), {"s": Reply(_second_time, spends=COST)}),
    "tournament": (Tournament(agents("abc"), agent("j")), {"j": Reply('{"winner": "a"}', spends=COST)}),
    "review": (AdversarialReview(agent("r"), ["true"]), {"r": Reply(_FINDINGS, spends=COST)}),
    "fleet": (Fleet([(agent("a"), "1"), (Pipeline(agents("bc")), "2")]), {}),
    "delegator": (Delegator(agent("m"), {"x": agent("x"), "y": Pipeline(agents("bc"))}), {"m": _DELEGATE}),
    "spawn-subtask": (SpawnSubtask(agent("m")), {"m": _SPAWN}),
    "advisor": (
        Advisor(agent("a"), 2, agent("e")),
        {"e": _CONSULT, "a": Reply('{"verdict": "continue", "guidance": "on"}', spends=COST)},
    ),
    "teams in teams": (
        Vote([Supervisor(agents("ab"), agent("s")), Pipeline(agents("bc"))]),
        {"s": Reply(_second_time, spends=COST)},
    ),
}


async def what_has_ended_is_replayed_without_a_call(desk: Desk) -> None:
    for name, (pattern, script) in TEAMS.items():
        first = await desk.run(pattern, script, run_id=name)
        second = await desk.run(pattern, script, run_id=name)
        require(list(second.calls) == [], f"{name}: {list(second.calls)} were called again")
        require(gist(second.outcome) == gist(first.outcome), f"{name}: the result is another")
        require(second.spent == first.spent, f"{name}: {second.spent} tokens are booked, and {first.spent} were spent")
        started = [went.infra.budget.snapshot().agents_started for went in (first, second)]
        require(started[0] == started[1], f"{name}: {started[1]} slots are booked, and {started[0]} were taken")


async def killed_at_any_call_it_ends_as_if_nothing_had_happened(desk: Desk) -> None:
    for name, (pattern, script) in TEAMS.items():
        whole = await desk.run(pattern, script, run_id=name)
        for place in range(1, len(whole.calls) + 1):
            run_id = f"{name}, killed at call {place}"
            await desk.run(pattern, script, run_id=run_id, dies_at=place)
            there = await desk.journal.holdings(run_id)
            resumed = await desk.run(pattern, script, run_id=run_id)
            require(gist(resumed.outcome) == gist(whole.outcome), f"{run_id}: the result is another")
            again = len(resumed.calls) - (len(whole.calls) - there.completed)
            require(again == 0, f"{run_id}: {again} calls too many")
            require(there.lost > 0, f"{run_id}: nobody is said to be lost")
            require_whole_lives((await desk.journal.read(run_id)).events())


async def an_item_in_front_runs_one_agent_and_who_is_shown_its_answer(desk: Desk) -> None:
    team = MapReduce(agent("m"), agent("r"))
    first = await desk.run(team.over(items=["b", "c", "d"]))
    second = await desk.run(team.over(items=["a", "b", "c", "d"]))
    require(sorted(second.calls) == ["m_0", "r"], f"called were {list(second.calls)}")
    require(second.answers[1:4] == first.answers[:3], "answers are not with their items")
    require(
        [output.name for output in second.outcome.outputs[:4]] == ["m_0", "m_1", "m_2", "m_3"], "names are old ones"
    )
    third = await desk.run(team.over(items=["d", "c", "b", "a"]))
    require(list(third.calls) in ([], ["r"]), f"in another order {list(third.calls)} were called")


async def an_edited_prompt_runs_the_agents_that_see_it(desk: Desk) -> None:
    a, b, c = agents("abc")
    await desk.run(Pipeline([a, b, c]))
    edited = await desk.run(Pipeline([a, replace(b, system_prompt="do it well"), c]))
    require(list(edited.calls) == ["b", "c"], f"called were {list(edited.calls)}")
    back = await desk.run(Pipeline([a, b, c]))
    require(list(back.calls) == [], f"as it was before, {list(back.calls)} were called")
    whole = await desk.run(Pipeline([a, b, c]), task="another task")
    require(list(whole.calls) == ["a", "b", "c"], f"on another task {list(whole.calls)} were called")


_OTHER: dict[str, Any] = {
    "name": "other",
    "system_prompt": "do it well",
    "tools": ["t"],
    "max_turns": 11,
    "metadata": {"a": 1},
    "cache_control": True,
    "model": "provider:name",
    "timeout_s": 3600.0,
    "retries": 1,
    "estimate": tokens(1),
    "budget": BudgetLimits(max_agents=5),
    "role": "part",
}


async def a_spec_of_which_any_field_has_changed_is_another(desk: Desk) -> None:
    require(set(_OTHER) == {*AgentSpec.__struct_fields__}, "not every field of a spec is tried")
    plain = agent("a")
    await desk.run(Swarm([plain]))
    for field, value in _OTHER.items():
        changed = await desk.run(Swarm([replace(plain, **{field: value})]))
        require(len(changed.calls) == 1, f"with another {field} the old output was given out")
    again = await desk.run(Swarm([plain]))
    require(list(again.calls) == [], "the first one is not known any more")


async def equal_calls_are_told_apart_by_counting(desk: Desk) -> None:
    team = MapReduce(agent("m"), agent("r"))
    counted = [len((await desk.run(team.over(items=["x"] * count))).calls) for count in (2, 3, 2, 4, 4)]
    require(counted == [3, 2, 0, 2, 0], f"calls of 2, 3, 2, 4 and 4 equal items: {counted}")


async def one_that_was_asked_for_and_never_started_takes_nobodys_place(desk: Desk) -> None:
    recall = await desk.open()
    await recall.recall(desk.call())
    output = await desk.complete(recall)
    await desk.close(recall)
    recall = await desk.open()
    require((await recall.recall(desk.call())).output == output, "the one that has ended is not given out")
    known = await recall.recall(desk.call())
    require(known.output is None, "it is given out twice")
    await recall.started(desk.call(), known, attempt(1, COST))
    await desk.close(recall)
    recall = await desk.open()
    require(
        (await recall.recall(desk.call())).output == output, "another call has taken the place of one that has ended"
    )
    await desk.close(recall)


async def who_has_failed_or_was_refused_runs_again(desk: Desk) -> None:
    team = Swarm(agents("abc"), max_concurrent=1)
    broken: Script = {"a": Reply(model_calls=[COST], raises=OSError("no"))}
    first = await desk.run(team, broken, budget=BudgetLimits(max_agents=2))
    require((first.outcome.failed, first.outcome.skipped) == (["a"], ["c"]), "the scene is not as it should be")
    second = await desk.run(team)
    require(list(second.calls) == ["a", "c"], f"called were {list(second.calls)}")
    require(second.outcome.all_succeeded, "it does not end well")
    third = await desk.run(team)
    require(list(third.calls) == [], f"when all had succeeded, {list(third.calls)} were called")


async def who_was_cancelled_runs_again_and_who_had_ended_does_not(desk: Desk) -> None:
    team = Swarm(agents("abc"), max_concurrent=1)
    await desk.cancelled_at("b", team)
    holdings = await desk.journal.holdings("run")
    counted = (holdings.completed, holdings.cancelled, holdings.lost)
    require(counted == (1, 1, 0), f"completed, cancelled and lost are {counted}")
    resumed = await desk.run(team)
    require(list(resumed.calls) == ["b", "c"], f"called were {list(resumed.calls)}")


async def who_was_lost_runs_again_three_times_and_then_is_poison(desk: Desk) -> None:
    team = Swarm(agents("abc"), max_concurrent=1)
    for death in range(1, 5):
        killed = await desk.run(team, dies_at="b")
        require(list(killed.calls)[-1] == "b", f"after {death - 1} deaths {list(killed.calls)} were called")
        require(killed.error is not None, "the process went on after its death")
    after = await desk.run(team)
    require(list(after.calls) == ["c"], f"after four deaths {list(after.calls)} were called")
    b = after.outcome.outputs[1]
    require("poison" in (b.error or ""), f"the error of the one that kills is {b.error!r}")
    edited = await desk.run(Swarm([*agents("a"), agent("b", max_turns=3), *agents("c")], max_concurrent=1))
    require(edited.outcome.all_succeeded, "with another spec it does not run")


async def a_retry_is_part_of_its_call(desk: Desk) -> None:
    script: Script = {"a": [Reply(model_calls=[COST], raises=OSError("once")), Reply("well", spends=COST)]}
    team = Swarm([agent("a", retries=2)])
    first = await desk.run(team, script)
    require(len(first.calls) == 2, "the scene is not as it should be")
    second = await desk.run(team, script)
    require(list(second.calls) == [], f"called were {list(second.calls)}")
    require(second.answers == ["well"], f"answers are {second.answers}")
    require((first.spent, second.spent) == (20, 20), f"spent were {first.spent}, and then {second.spent}")


async def what_its_log_said_can_be_read_again(desk: Desk) -> None:
    failing: Script = {"a": [Reply(model_calls=[COST], raises=OSError("once")), Reply("well", spends=COST)]}
    for name, (pattern, script) in {**TEAMS, "retries": (Swarm(agents("ab", retries=1)), failing)}.items():
        live = (await desk.run(pattern, script, run_id=name)).infra.log.events()
        stored = (await desk.journal.read(name)).events()
        require(_by_path(stored) == _by_path(live), f"{name}: said was {_by_path(live)}, stored is {_by_path(stored)}")
        require([each.seq for each in stored] == list(range(1, len(live) + 1)), f"{name}: they are not numbered")


def _by_path(events: Sequence[Any]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for event in events:
        kinds.setdefault(getattr(event, "path", ""), []).append(event.kind)
    return kinds


async def runs_in_one_journal_know_nothing_of_each_other(desk: Desk) -> None:
    team = Swarm(agents("ab"))
    for run_id in ("one", "two"):
        went = await desk.run(team, run_id=run_id)
        require(sorted(went.calls) == ["a", "b"], f"in run {run_id!r} {list(went.calls)} were called")
    await desk.journal.remove("one")
    require(sorted((await desk.run(team, run_id="one")).calls) == ["a", "b"], "a removed run is remembered")
    require(list((await desk.run(team, run_id="two")).calls) == [], "the other run was removed too")


async def agents_that_were_asked_for_are_told_of_again(desk: Desk) -> None:
    for name in ("delegator", "spawn-subtask", "advisor"):
        pattern, script = TEAMS[name]
        first = (await desk.run(pattern, script, run_id=name)).outcome
        second = (await desk.run(pattern, script, run_id=name)).outcome
        for field in ("delegations", "subtasks", "used", "verdict", "guidance"):
            before, after = getattr(first, field, None), getattr(second, field, None)
            require(before == after, f"{name}: {field} were {before!r} and are {after!r}")
        require(len(second.outputs) > 1, f"{name}: outputs are {_names(second.outputs)}")
        require(_names(second.outputs) == _names(first.outputs), f"{name}: outputs are {_names(second.outputs)}")


def _names(outputs: Sequence[Any]) -> list[str]:
    return [output.name for output in outputs]


async def who_asked_for_others_runs_again_and_they_do_not(desk: Desk) -> None:
    team = Delegator(agent("m"), {"x": agent("x")})
    asks = calling("delegate", {"specialist": "x", "task": "1"}, {"specialist": "x", "task": "2"})
    await desk.run(team, {"m": asks}, dies_at=3)
    resumed = await desk.run(team, {"m": asks})
    require(list(resumed.calls) == ["m", "x_2"], f"called were {list(resumed.calls)}")
    require(len(resumed.outcome.outputs) == 3, "not all are in the result")


REPLAY: tuple[Check, ...] = (
    what_has_ended_is_replayed_without_a_call,
    killed_at_any_call_it_ends_as_if_nothing_had_happened,
    an_item_in_front_runs_one_agent_and_who_is_shown_its_answer,
    an_edited_prompt_runs_the_agents_that_see_it,
    a_spec_of_which_any_field_has_changed_is_another,
    equal_calls_are_told_apart_by_counting,
    one_that_was_asked_for_and_never_started_takes_nobodys_place,
    who_has_failed_or_was_refused_runs_again,
    who_was_cancelled_runs_again_and_who_had_ended_does_not,
    who_was_lost_runs_again_three_times_and_then_is_poison,
    a_retry_is_part_of_its_call,
    what_its_log_said_can_be_read_again,
    runs_in_one_journal_know_nothing_of_each_other,
    agents_that_were_asked_for_are_told_of_again,
    who_asked_for_others_runs_again_and_they_do_not,
)
