"""Every built-in pattern keeps the rules that the suite for patterns knows, and the suite sees who does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from carpool import (
    AdversarialReview,
    Advisor,
    CarpoolError,
    CoordinationResult,
    Delegator,
    Fleet,
    MapReduce,
    Pattern,
    Pipeline,
    Run,
    SpawnSubtask,
    Supervisor,
    Swarm,
    Tournament,
    Vote,
)
from carpool.testing import Reply, ScriptedRunner, check_pattern

from ..scenes import spec, specs

APPROVED = '{"approved": true, "feedback": "good"}'
REVISE = '{"approved": false, "feedback": "shorter"}'
FIRST_WINS = '{"winner": "a", "rationale": "it is shorter"}'
PASSED = {"findings": [{"criterion": "true", "passed": True, "evidence": "line 1", "severity": "info"}]}
GO_ON = '{"verdict": "continue", "guidance": "as you are"}'


def calling(tool: str, *calls: dict[str, Any]) -> Reply:
    """An agent that makes these calls at once, puts up with what is refused, and tells what it got."""

    async def act(spec, task, runtime, mailbox) -> str:
        got: list[str] = [""] * len(calls)

        async def call(place: int) -> None:
            try:
                got[place] = str(await runtime.call_tool(tool, **calls[place]))
            except CarpoolError as error:
                got[place] = str(error)

        async with anyio.create_task_group() as group:
            for place in range(len(calls)):
                group.start_soon(call, place)
        return "; ".join(got)

    return Reply(does=act)


def second_round(spec, task) -> str:
    return APPROVED if "round 2" in task else REVISE


DELEGATE = calling("delegate", {"specialist": "x", "task": "1"}, {"specialist": "y", "task": "2"})
SPAWN = calling("spawn_subtask", {"task": "1", "tools": ["spawn_subtask"]}, {"task": "2", "tools": []})
CONSULT = calling("consult_advisor", {"question": "1"}, {"question": "2"})

BUILT_IN: dict[str, tuple[Callable[[], Pattern[Any]], dict[str, Any]]] = {
    "swarm": (lambda: Swarm(specs("ab"), synthesizer=spec("s")), {}),
    "swarm in sequence": (lambda: Swarm(specs("abc"), "sequential"), {}),
    "swarm in debate": (lambda: Swarm(specs("ab"), "debate"), {"a": "yes", "b": "no"}),
    "pipeline": (lambda: Pipeline(specs("abc")), {}),
    "map reduce": (lambda: MapReduce(spec("m"), spec("r")).over(items=["1", "2", "3"]), {}),
    "map reduce in a tree": (lambda: MapReduce(spec("m"), spec("r"), fan_in=2).over(items=["1", "2", "3"]), {}),
    "vote": (lambda: Vote(specs("abc"), spec("s")), {}),
    "supervisor": (lambda: Supervisor(specs("ab"), spec("s")), {"s": second_round}),
    "tournament": (lambda: Tournament(specs("abc"), spec("j")), {"j": FIRST_WINS}),
    "tournament in both orders": (lambda: Tournament(specs("ab"), spec("j"), both_orders=True), {"j": FIRST_WINS}),
    "adversarial review": (lambda: AdversarialReview(spec("r"), ["true"]), {"r": json.dumps(PASSED)}),
    "advisor": (lambda: Advisor(spec("a"), 2, spec("e")), {"a": GO_ON, "e": CONSULT}),
    "advisor asked directly": (lambda: Advisor(spec("a"), 1), {"a": GO_ON}),
    "delegator": (lambda: Delegator(spec("m"), {"x": spec("x"), "y": Swarm(specs("ab"))}), {"m": DELEGATE}),
    "spawn subtask": (lambda: SpawnSubtask(spec("m"), max_depth=2), {"m": SPAWN, "subtask_1": SPAWN}),
    "fleet": (lambda: Fleet([(spec("a"), "1"), (Pipeline(specs("bc")), "2")], agent_timeout_s=60), {}),
    "vote of teams": (lambda: Vote([Supervisor(specs("a"), spec("s")), Pipeline(specs("ab"))]), {"s": APPROVED}),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_pattern_keeps_the_rules(name: str) -> None:
    factory, script = BUILT_IN[name]

    check_pattern(factory, runner=lambda: ScriptedRunner(script, default="ok"))


class Own(Pattern[CoordinationResult]):
    """Two agents side by side."""

    async def execute(self, run: Run, task: str) -> CoordinationResult:
        outputs = await run.fan_out([(agent, task) for agent in specs("ab")], None)
        return run.result(task=task, answer="done", outputs=outputs)


def test_a_pattern_of_ones_own_can_be_checked() -> None:
    check_pattern(Own)


class Forgetful(Own):
    async def execute(self, run: Run, task: str) -> CoordinationResult:
        outputs = await run.fan_out([(agent, task) for agent in specs("ab")], None)
        return run.result(task=task, answer="done", outputs=outputs[:1])


class Hasty(Own):
    async def execute(self, run: Run, task: str) -> CoordinationResult:
        await run.fan_out([(agent, task) for agent in specs("ab")], None)
        return run.result(task=task, answer="done", outputs=run.finished)


class Fragile(Own):
    async def execute(self, run: Run, task: str) -> CoordinationResult:
        output = await run.agent(spec("a"), task)
        assert output.succeeded
        return run.result(task=task, answer="done", outputs=[output])


class Silent(Own):
    async def execute(self, run: Run, task: str) -> CoordinationResult:
        outputs = await run.fan_out([(agent, task) for agent in specs("ab")], None)
        return run.result(task=task, answer="done", outputs=outputs, stop_reason="completed")


@pytest.mark.parametrize(
    ("pattern", "wrong", "when"),
    [
        (Forgetful, "not in the result", "undisturbed"),
        (Hasty, "depends on who is faster", "opposite order"),
        (Fragile, "succeeded", "max_agents=0"),
        (Silent, "stop_reason is 'completed'", "max_agents=0"),
    ],
)
def test_a_pattern_that_breaks_a_rule_is_seen(pattern: type[Own], wrong: str, when: str) -> None:
    with pytest.raises(AssertionError, match=wrong) as caught:
        check_pattern(pattern)

    assert when in " ".join(caught.value.__notes__)
