"""What a journal promises of what comes with an answer: evidence, secrets, leave to do something."""

from __future__ import annotations

from typing import Any

from ..mailbox import Mailbox
from ..patterns import Swarm
from ..policy import ApprovalRequest
from ..runtime import Runtime
from ..tools import Tool, as_tool
from ..types import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind
from .journal_desk import COST, Check, Desk, agent, agents, calling, require
from .journal_state import sets
from .reply import Reply, Script

__all__ = ["EFFECTS"]

_SECRET = "-".join(["hunter2"] * 2)


# What comes with an answer


async def an_output_comes_back_whole(desk: Desk) -> None:
    evidence = [
        Evidence(
            kind=EvidenceKind.STATE_CHANGE, description="workspace patch", data={"patch": "--- a\n+++ b\n", "rev": 1}
        ),
        Evidence(kind=EvidenceKind.TOOL_RESULT, description="ü\x00\u2028", data=[1, 2.5, None, {"a": True}]),
    ]
    outcome = AgentOutcome(status="partial_success", summary="so so", evidence=evidence)  # pyright: ignore[reportArgumentType]
    output = AgentOutput(
        name="a",
        answer="größer\n\x00\u2028🚗",
        turns=3,
        tool_calls=2,
        duration_ms=1.5,
        outcome=outcome,
        tools_used=["t"],
    )
    await desk.run(Swarm(agents("a")), {"a": Reply(returns=output)})
    went = await desk.run(Swarm(agents("a")))
    require(list(went.calls) == [] and went.outcome.outputs == [output], f"it came back as {went.outcome.outputs}")


async def what_is_no_json_keeps_nothing_from_being_written(desk: Desk) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    itself: dict[str, Any] = {}
    itself["itself"] = itself
    for name, data in {
        "an object": object(),
        "deep": deep,
        "itself": itself,
        "keys": {(1, 2): 3},
        "half": "\ud83d",
    }.items():
        evidence = Evidence(kind=EvidenceKind.TOOL_RESULT, description="odd", data=data)
        odd = AgentOutput(name="a", answer="\ud83d", outcome=AgentOutcome(status="done", evidence=[evidence]))  # pyright: ignore[reportArgumentType]
        team = Swarm([agent("a", metadata={"odd": data}), agent("b")])
        await desk.run(team, {"a": Reply(returns=odd)}, run_id=name)
        went = await desk.run(team, run_id=name)
        require(list(went.calls) == [], f"{name}: {list(went.calls)} were called again")
        require(went.outcome.outputs[0].answer == "?", f"{name}: the answer is {went.outcome.outputs[0].answer!r}")


async def secrets_are_not_written_down(desk: Desk) -> None:
    tells = Reply(f"the key is {_SECRET}", spends=COST)
    changes = sets(key={_SECRET: [_SECRET]})
    team = Swarm([agent("a"), agent("b", metadata={"key": _SECRET}), agent("c")])
    for _ in range(2):
        await desk.run(team, {"a": tells, "c": changes}, task=f"use {_SECRET}", secrets=[_SECRET])
    stored = await desk.stored_bytes()
    require(_SECRET.encode() not in stored, "a secret is in the rows, or in the header")
    require(b"[secret]" in stored, "the scene is not as it should be")


async def a_secret_that_is_a_short_number_takes_nothing_apart(desk: Desk) -> None:
    secrets = [f"{number:04}" for number in range(0, 10_000, 7)] + ["completed", "started", "1000"]
    team = Swarm(agents("abc"))
    script: Script = {"b": Reply("1000 of them", spends=COST)}
    await desk.run(team, script, secrets=secrets)
    went = await desk.run(team, script, secrets=secrets)
    require(list(went.calls) == [], f"{list(went.calls)} were called again")
    require(went.answers[1] == "[secret] of them", f"the answer is {went.answers[1]!r}")
    require(len((await desk.journal.read("run")).events()) > 0, "its events can't be read")


# Leave to do something


async def who_was_allowed_something_need_not_ask_again(desk: Desk) -> None:
    asked: list[Any] = []
    done: list[int] = []

    async def approve(request: ApprovalRequest) -> bool:
        asked.append(request.arguments)
        return True

    def press(button: int) -> str:
        done.append(button)
        return "pressed"

    tool: Tool = as_tool(press, tier="full_access")
    team = Swarm([agent("a", tools=["press"])])
    twice = calling("press", {"button": 1}, {"button": 1}, {"button": 2})
    allowed: dict[str, Any] = {"tools": [tool], "granted_tier": "read_only", "approver": approve}

    async def dies(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        await runtime.call_tool("press", button=1)
        await desk.kill()
        return "too late"

    await desk.run(team, {"a": Reply(does=dies)}, **allowed)
    require(asked == [{"button": 1}], "the scene is not as it should be")
    await desk.run(team, {"a": twice}, **allowed)
    require(asked[1:] == [{"button": 1}, {"button": 2}], f"of 1, 1 and 2 asked were {asked[1:]}")
    require(done == [1, 1, 1, 2], f"done was {done}")


async def a_refusal_is_not_kept(desk: Desk) -> None:
    answers = [False, True]

    async def approve(request: ApprovalRequest) -> bool:
        return answers.pop(0)

    def press(button: int) -> str:
        return "pressed"

    tool: Tool = as_tool(press, tier="full_access")
    team = Swarm([agent("a", tools=["press"])])

    async def must(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        return str(await runtime.call_tool("press", button=1))

    for expected in (False, True):
        went = await desk.run(team, {"a": Reply(does=must)}, tools=[tool], granted_tier="read_only", approver=approve)
        require(went.outcome.all_succeeded is expected, f"asked {'again' if expected else 'first'}: {went.answers}")


async def an_effect_has_one_id_in_every_process(desk: Desk) -> None:
    ids: list[str] = []

    async def act(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        ids.append(runtime.effect_id("mail"))
        if len(ids) == 1:
            await desk.kill()
        return "sent"

    for _ in range(2):
        await desk.run(Swarm(agents("a")), {"a": Reply(does=act)})
    require(len(ids) == 2, "the scene is not as it should be")
    require(ids[0] == ids[1], "it has another id when it runs again")


EFFECTS: tuple[Check, ...] = (
    an_output_comes_back_whole,
    what_is_no_json_keeps_nothing_from_being_written,
    secrets_are_not_written_down,
    a_secret_that_is_a_short_number_takes_nothing_apart,
    who_was_allowed_something_need_not_ask_again,
    a_refusal_is_not_kept,
    an_effect_has_one_id_in_every_process,
)
