"""One agent in full: its texts, its evidence, and everything that happened to it."""

from __future__ import annotations

from typing import Any

import pytest

from carpool import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, SharedInfra, Swarm
from carpool.durable import MemoryJournal, document_of
from carpool.durable.records import encode_json
from carpool.errors import ToolError
from carpool.types import OutcomeStatus
from carpool.viewer.details import detail_of, events_of, text_of
from carpool.viewer.picture import Picture

from .runs import COST, every_outcome


async def picture_of(journal: MemoryJournal) -> Picture:
    run = await journal.read("r")
    picture = Picture(run.header)
    picture.take(run)
    return picture


async def working() -> Picture:
    """Of a run with one agent that calls tools and gives evidence."""

    async def look(where: str) -> str:
        """Look there."""
        if where == "nowhere":
            raise ConnectionError("no such place")
        return where

    async def runner(spec: AgentSpec, task: str, runtime: Any, mailbox: Any) -> AgentOutput:
        await runtime.call_tool("look", where="here")
        with pytest.raises(ToolError):
            await runtime.call_tool("look", where="nowhere")
        evidence = [Evidence(kind=EvidenceKind.TOOL_RESULT, description="d" * 9_000, data={"n": [1] * 9_000})]
        outcome = AgentOutcome(status=OutcomeStatus.PARTIAL_SUCCESS, summary="almost", evidence=evidence * 300)
        return AgentOutput(
            name=spec.name, answer="seen", tokens=COST, outcome=outcome, tools_used=["look"], tool_calls=2
        )

    journal = MemoryJournal()
    infra = SharedInfra(journal=journal, tools=[look])
    await Swarm([AgentSpec("ann", "Look.", tools=["look"])]).run("What?", runner=runner, infra=infra, run_id="r")
    return await picture_of(journal)


async def test_what_happened_to_all_agents_is_what_the_events_say() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)
    picture = await picture_of(journal)
    document = document_of(await journal.read("r"), live=False)

    told = [event for n in range(len(picture.places)) for event in events_of(picture, n, 0, None)]

    of_agents = [event for event in document.events if event.get("path")]
    assert sorted((event["seq"], event["kind"]) for event in told) == [(e["seq"], e["kind"]) for e in of_agents]
    assert all(event["t"] >= 0 for event in told)


async def test_calls_of_tools_are_told_without_what_was_passed() -> None:
    told = detail_of(await working(), 0, chars=None, events=None)

    kinds = [event["kind"] for event in told["events"]]
    assert kinds[0] == "agent_started"
    assert kinds[-1] == "agent_finished"
    assert kinds.count("action_succeeded") == 1
    assert kinds.count("action_failed") >= 1
    assert {event["tool"] for event in told["events"] if "tool" in event} == {"look"}
    assert b"nowhere" not in encode_json(told["events"])
    assert told["tools_used"] == ["look"]


async def test_evidence_is_told_as_far_as_there_is_room() -> None:
    outcome = detail_of(await working(), 0, chars=None, events=None)["outcome"]

    assert (outcome["status"], outcome["summary"]) == ("partial_success", "almost")
    assert (len(outcome["evidence"]), outcome["evidence_count"]) == (200, 300)
    first = outcome["evidence"][0]
    assert first["kind"] == "tool_result"
    assert len(first["description"]) == len(first["data"]) == 4_000
    assert first["data"].startswith('{"n":[1,1')


async def test_events_come_in_parts_and_all_of_them_if_all_are_wanted() -> None:
    picture = await working()
    everything = detail_of(picture, 0, chars=None, events=None)["events"]

    first = detail_of(picture, 0, chars=None, events=3)
    rest = events_of(picture, 0, 3, 1_000)

    assert first["events"] + rest == everything
    assert first["event_count"] == len(everything)


async def test_who_was_refused_has_a_reason_and_nothing_else() -> None:
    journal = MemoryJournal()
    await every_outcome(journal)
    picture = await picture_of(journal)
    refused = next(place.n for place in picture.places if place.fate is None)

    told = detail_of(picture, refused, chars=None, events=None)

    assert "max_total_tokens reached" in told["texts"]["error"]["text"]
    assert set(told["texts"]) == {"error"}
    assert [event["kind"] for event in told["events"]] == ["agent_skipped"]


@pytest.mark.parametrize("n", [-2, -1, 1, 10**9])
async def test_an_agent_that_is_not_there_is_an_error(n: int) -> None:
    picture = await working()

    with pytest.raises(LookupError, match="there are 1"):
        detail_of(picture, n, chars=None, events=None)
    with pytest.raises(LookupError):
        text_of(picture, n, "answer")


async def test_a_part_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError, match="an agent has no text '__class__'; it has system, task, answer, error"):
        text_of(await working(), 0, "__class__")
