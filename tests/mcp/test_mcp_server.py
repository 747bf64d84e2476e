"""carpool as an MCP server, through the real client: over memory, and over the standard streams of a process."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp import Client, MCPError, StdioServerParameters

from carpool import AgentSpec, BudgetLimits, Pipeline, TokenAccounting, Vote
from carpool.durable import MemoryJournal
from carpool.errors import BudgetExhausted
from carpool.mcp_server import OfferedTeam, coordination_server
from carpool.teams import load_team
from carpool.testing import Reply, ScriptedRunner

COST = TokenAccounting(input_tokens=80, output_tokens=20)


def runner(**options) -> ScriptedRunner:
    return ScriptedRunner(default=lambda spec, task: Reply(f"{spec.name} says yes", spends=COST, **options))


async def called(server, name: str, arguments: dict, **options):
    async with Client(server) as client:
        return await client.call_tool(name, arguments, **options)


async def test_it_offers_four_coordinations_with_schemas() -> None:
    async with Client(coordination_server(runner())) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert list(tools) == ["map_reduce", "vote", "debate", "review"]
    assert set(tools["map_reduce"].input_schema["required"]) == {"task", "items"}
    assert all("budget" in tool.input_schema["properties"] for tool in tools.values())


@pytest.mark.parametrize(
    ("name", "arguments", "agents"),
    [
        ("map_reduce", {"task": "t", "items": ["a", "b"]}, 3),
        ("vote", {"task": "t", "voters": 4}, 4),
        ("debate", {"task": "t", "debaters": 2, "rounds": 2}, 5),
    ],
)
async def test_a_coordination_answers_and_says_what_it_cost(name: str, arguments: dict, agents: int) -> None:
    told = await called(coordination_server(runner()), name, arguments)

    assert not told.is_error
    assert told.content[0].text.endswith("says yes")
    found = told.structured_content
    assert (found["stop_reason"], found["agents"]) == ("completed", agents)
    assert found["usage"]["input_tokens"] == 80 * agents
    assert "tools_used" not in str(found)


async def test_a_review_tells_its_findings() -> None:
    verdict = '{"findings": [{"criterion": "It is true.", "passed": false, "evidence": "no", "severity": "major"}]}'
    told = await called(
        coordination_server(ScriptedRunner(default=verdict)), "review", {"work": "w", "criteria": ["It is true."]}
    )

    assert told.structured_content["details"]["passed"] is False
    assert told.structured_content["details"]["findings"][0]["evidence"] == "no"


async def test_all_calls_together_stay_within_the_operators_budget() -> None:
    server = coordination_server(runner(), budget=BudgetLimits(max_agents=5))
    async with Client(server) as client:
        told = [await client.call_tool("vote", {"task": "t", "voters": 3}) for _ in range(3)]

    assert [each.structured_content["agents"] for each in told] == [3, 2, 0]
    assert told[2].structured_content["stop_reason"] == "budget_exhausted"


async def test_a_call_that_the_budget_stopped_says_so_where_a_model_reads_it() -> None:
    arguments = {"task": "t", "items": ["a", "b", "c"], "budget": "2 agents"}
    told = await called(coordination_server(runner()), "map_reduce", arguments)

    answer, _, note = told.content[0].text.rpartition("\n\n")
    assert "mapper_0 says yes" in answer
    assert "stopped by the budget (agent limit reached: 2 of at most 2" in note
    assert "1 of 3 items not done; no agent has put the answers together" in note
    assert (told.is_error, told.structured_content["agents"]) == (False, 2)
    assert told.structured_content["stopped"] == note.strip("()")


async def test_a_call_that_the_budget_did_not_stop_is_its_answer_alone() -> None:
    told = await called(coordination_server(runner()), "map_reduce", {"task": "t", "items": ["a"]})

    assert told.content[0].text == "reducer says yes"
    assert told.structured_content["stopped"] is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("map_reduce", {"task": "t", "items": ["a", "b"]}),
        ("vote", {"task": "t"}),
        ("debate", {"task": "t"}),
        ("review", {"work": "w", "criteria": ["It is true."]}),
    ],
)
async def test_without_an_answer_a_call_is_an_error_that_names_the_limit(name: str, arguments: dict) -> None:
    told = await called(coordination_server(runner(), budget=BudgetLimits(max_agents=0)), name, arguments)

    assert told.is_error
    assert told.content[0].text.startswith("no answer: stopped by the budget (agent limit reached: 0 of at most 0")
    assert told.structured_content["agents"] == 0


async def test_an_agent_that_was_refused_a_model_call_was_stopped_by_the_budget_too() -> None:
    refused = Reply(raises=BudgetExhausted("max_total_tokens reached: 90 spent"))
    working = ScriptedRunner(default=lambda spec, task: refused if spec.name == "voter_1" else Reply("yes"))
    told = await called(coordination_server(working), "vote", {"task": "t", "voters": 2})

    assert "stopped by the budget (max_total_tokens reached: 90 spent); 1 of 2 agents not done" in told.content[0].text
    assert (told.is_error, told.structured_content["agents"]) == (False, 2)


async def test_what_stopped_a_team_inside_a_team_is_told() -> None:
    inner = Vote([AgentSpec("a", ""), AgentSpec("b", "")], name="panel", budget=BudgetLimits(max_agents=1))
    team = OfferedTeam(name="steps", description="", pattern=Pipeline([inner]), task="t")
    told = await called(coordination_server(runner(), teams=[team]), "steps", {})

    assert "stopped by the budget (agent limit reached: 1 of at most 1" in told.content[0].text


async def test_where_everybody_failed_the_first_failure_is_told() -> None:
    failing = ScriptedRunner(default=Reply(raises=OSError("no key")))
    told = await called(coordination_server(failing), "vote", {"task": "t", "voters": 2})

    assert told.is_error
    assert told.content[0].text.startswith("no answer: no_output; voter_0: ")
    assert "no key" in told.content[0].text


async def test_a_start_that_is_tried_again_counts_twice() -> None:
    team = OfferedTeam(name="one", description="", pattern=Vote([AgentSpec("a", "", retries=1)]), task="t")
    failing = ScriptedRunner(default=Reply(raises=OSError("later")))
    told = await called(coordination_server(failing, teams=[team]), "one", {})

    assert told.structured_content["agents"] == 2


@pytest.mark.parametrize(("asked", "started"), [("2 agents", 2), ("9 agents", 4)])
async def test_a_client_can_lower_the_budget_and_never_raise_it(asked: str, started: int) -> None:
    server = coordination_server(runner(), budget=BudgetLimits(max_agents=4))
    told = await called(server, "vote", {"task": "t", "voters": 6, "budget": asked})

    assert 6 - len(told.structured_content["skipped"]) == started


async def test_progress_tells_who_has_ended() -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, total, message))

    await called(
        coordination_server(runner()), "map_reduce", {"task": "t", "items": ["a", "b"]}, progress_callback=progress
    )

    assert [done for done, _, _ in heard] == [1, 2, 3]
    assert {total for _, total, _ in heard} == {3}
    assert heard[-1][2] == "reducer finished"


async def test_a_call_that_is_cancelled_cancels_its_agents() -> None:
    working = ScriptedRunner(default=Reply("late", after_s=60))
    with anyio.move_on_after(0.5):
        await called(coordination_server(working), "vote", {"task": "t", "voters": 2})
    with anyio.fail_after(5):
        while {call.end for call in working.bill.calls} != {"cancelled"}:  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("vote", {}, "task"),
        ("vote", {"task": "t", "voters": 0}, "1 to 64"),
        ("vote", {"task": "t", "voters": 10**9}, "1 to 64"),
        ("vote", {"task": "t", "budget": "a lot"}, "a lot"),
        ("vote", {"task": "t", "runner": "mine"}, "unknown field"),
        ("review", {"work": "w", "criteria": []}, "criteria"),
        ("map_reduce", {"task": "t", "items": "one"}, "array"),
        ("map_reduce", {"task": "t", "items": ["a"], "max_concurrent": 0}, "max_concurrent"),
    ],
)
async def test_bad_arguments_are_told_to_the_client_and_start_nobody(name: str, arguments: dict, said: str) -> None:
    working = runner()
    told = await called(coordination_server(working), name, arguments)

    assert told.is_error
    assert said in told.content[0].text
    assert not working.bill.calls


async def test_a_tool_that_is_not_there_is_refused_with_those_that_are() -> None:
    async with Client(coordination_server(runner())) as client:
        with pytest.raises(MCPError, match="map_reduce"):
            await client.call_tool("nobody", {})


async def test_a_run_that_can_not_go_on_is_an_error_with_what_there_is() -> None:
    told = await called(
        coordination_server(ScriptedRunner(default=Reply(raises=OSError("no key")))),
        "review",
        {"work": "w", "criteria": ["It is true."]},
    )

    assert told.is_error
    assert "no key" in told.content[0].text


async def test_a_team_of_ones_own_is_a_tool_with_its_own_budget() -> None:
    team = OfferedTeam(
        name="two_steps",
        description="Two steps.",
        pattern=Pipeline([AgentSpec("first", ""), AgentSpec("second", "")]),
        task="by default",
        budget=BudgetLimits(max_agents=1),
    )
    working = runner()
    told = await called(coordination_server(working, teams=[team]), "two_steps", {})

    assert [call.agent for call in working.bill.calls] == ["first"]
    assert told.structured_content["skipped"] == ["second"]


async def test_a_team_whose_items_are_nowhere_is_an_error_that_says_so(tmp_path: Path) -> None:
    agents = '"mapper": {"name": "a", "system_prompt": "x"}, "reducer": {"name": "r", "system_prompt": "y"}'
    file = tmp_path / "pages.json"
    file.write_text(f'{{"team": {{"pattern": "map_reduce", {agents}, "items": ["no/*.md"]}}}}')
    team = OfferedTeam(name="pages", description="", pattern=load_team(file), task="t", has_items=True)
    told = await called(coordination_server(runner(), teams=[team]), "pages", {})

    assert told.is_error
    assert "team.items: no file to read: 'no/*.md'" in told.content[0].text


def test_two_tools_of_one_name_are_refused() -> None:
    team = OfferedTeam(name="vote", description="", pattern=Pipeline([AgentSpec("a", "")]))
    with pytest.raises(ValueError, match="two tools are called 'vote'"):
        coordination_server(runner(), teams=[team])


async def test_calls_are_on_record_where_there_is_a_journal() -> None:
    async with MemoryJournal() as journal:
        told = await called(coordination_server(runner(), journal=journal), "vote", {"task": "t", "voters": 2})
        (header,) = await journal.runs()

    assert header.run_id == told.structured_content["run_id"]
    assert header.completed == 2


async def test_the_command_serves_over_its_standard_streams(tmp_path: Path) -> None:
    (tmp_path / "pair.json").write_text(
        '{"task": "Say it.", "agents": {"a": {"system_prompt": "x"}}, "team": {"pattern": "vote", "agents": ["a"]}}'
    )
    arguments = [
        "-m",
        "carpool.cli",
        "mcp",
        "pair.json",
        "--budget",
        "3 agents",
        "--journal",
        str(tmp_path / "runs.db"),
    ]
    server = StdioServerParameters(command=sys.executable, args=arguments, cwd=tmp_path)
    with anyio.fail_after(30):
        async with Client(server, read_timeout_seconds=20) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            told = await client.call_tool("vote", {"task": "One sentence. It is late.", "voters": 2})
            team = await client.call_tool("pair", {})
            nobody = await client.call_tool("vote", {"task": "t"})

    assert names[-1] == "pair"
    assert told.structured_content["agents"] == 2
    assert not team.is_error
    assert nobody.structured_content["stop_reason"] == "budget_exhausted"
    assert (tmp_path / "runs.db").exists()
