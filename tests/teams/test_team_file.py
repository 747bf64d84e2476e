"""A team file runs: with its own runner, tools, policies and budget, or with what is given in their place."""

import sys
from pathlib import Path
from typing import Any

import pytest

from carpool import BudgetLimits, MapReduce, SharedInfra, Vote
from carpool.errors import ConfigError, ToolError
from carpool.policy import PolicyEngine, deny_tool
from carpool.teams import load_team, read_team

from ..budget.fake_clock import FakeClock

pytestmark = pytest.mark.usefixtures("modules")

TEAM = """\
agents:
  ann: {system_prompt: Be brief., tools: [double, say, add]}
team: {pattern: vote, agents: [ann]}
"""
CODE = """\
async def runner(spec, task, runtime, mailbox):
    tool, _, value = task.partition(" ")
    return str(await runtime.call_tool(tool, value=value)) if tool else "nothing"

def double(value: str) -> str:
    return value * 2
"""


async def works(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
    return f"{spec.name}: {task}"


async def calls(spec: Any, task: str, runtime: Any, mailbox: Any) -> str:
    tool, _, value = task.partition(" ")
    return str(await runtime.call_tool(tool, value=value))


# What it is


def test_a_file_is_the_pattern_that_it_says(file) -> None:
    pattern = load_team(file(TEAM))

    assert isinstance(pattern, Vote)
    assert [agent.name for agent in pattern.agents] == ["ann"]
    assert load_team(str(file(TEAM, "other.yml"))).run_sync("x", runner=works).winner == "ann: x"


def test_what_stands_beside_the_pattern(file) -> None:
    team = read_team(file(TEAM + "task: What?\nbudget: 5 agents\nrunner: extractive\n"))
    bare = read_team(file(TEAM, "bare.yaml"))

    assert (team.task, team.budget, team.names_runner) == ("What?", BudgetLimits(max_agents=5), True)
    assert (bare.task, bare.budget, bare.names_runner, bare.items) == (None, BudgetLimits(), False, None)


def test_a_pattern_may_stand_among_the_agents_and_is_called_by_its_key(file) -> None:
    text = """\
agents:
  ann: {system_prompt: x}
  panel: {pattern: vote, agents: [ann, cy], name: jury}
  cy: {system_prompt: y}
  deep: {pattern: swarm, agents: [panel, ann]}
team: {pattern: pipeline, stages: [deep, panel]}
"""
    pattern = load_team(file(text))

    assert pattern.name == "pipeline"
    assert [stage.name for stage in pattern.stages] == ["deep", "jury"]
    assert pattern.stages[0].agents[0].name == "jury"
    assert load_team(file(text.replace("{pattern: pipeline, stages: [deep, panel]}", "deep"))).name == "deep"


def test_a_deep_team_is_read_and_a_deeper_one_refused(file) -> None:
    def nested(depth: int) -> str:
        names = [f"  t{n}: {{pattern: pipeline, stages: [t{n + 1}]}}\n" for n in range(depth)]
        return f"agents:\n{''.join(names)}  t{depth}: {{system_prompt: x}}\nteam: t0\n"

    assert load_team(file(nested(100))).plan().agents_max == 1
    with pytest.raises(ConfigError, match=r"team.yaml:102: agents.t100: patterns are nested deeper than 100 levels"):
        load_team(file(nested(101)))


def test_a_few_lines_do_not_stand_for_millions_of_agents(file) -> None:
    levels = "".join(
        f"  {side}{n}: {{pattern: swarm, agents: [a{n + 1}, b{n + 1}]}}\n" for n in range(40) for side in "ab"
    )
    text = f"agents:\n{levels}  a40: {{system_prompt: x}}\n  b40: {{system_prompt: x}}\nteam: a0\n"

    with pytest.raises(ConfigError, match="the team has more than 10,000 members, with all that repeat"):
        load_team(file(text))


def test_a_team_may_be_large_and_there_may_be_as_many_agents_beside_it(file) -> None:
    agents = "".join(f"  a{n}: {{system_prompt: x}}\n" for n in range(9_999))
    names = ", ".join(f"a{n}" for n in range(9_999))

    assert len(load_team(file(f"agents:\n{agents}team: {{pattern: vote, agents: [{names}]}}\n")).agents) == 9_999


def test_a_team_inside_of_itself_is_refused(file) -> None:
    text = "agents:\n  a: {pattern: vote, agents: [b]}\n  b: {pattern: swarm, agents: [a]}\nteam: a\n"

    with pytest.raises(
        ConfigError, match=r"team.yaml:3: agents.b.agents\[0\]: a team can't be inside of itself: 'a' in"
    ):
        load_team(file(text))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("team.txt", "", "team.txt: is no team file by its name, which must end in .yaml, .yml, .toml, .json"),
        ("team", "", "team: is no team file by its name"),
        ("team.yaml", b"\xff\xfe", "team.yaml:1: is not UTF-8 at byte 0"),
        ("team.yaml", b"a: b\nc: \xff", "team.yaml:2: is not UTF-8 at byte 8"),
        ("team.json", b"x" * 1_000_001, "team.json: is larger than 1,000,000 bytes"),
    ],
)
def test_what_is_no_team_file_is_refused(file, name: str, content: str | bytes, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_team(file(content, name))

    assert str(raised.value).startswith(why)


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file or directory"):
        read_team(tmp_path / "nowhere.yaml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        read_team(tmp_path / "folder.toml")
    with pytest.raises(ConfigError, match="is no name of a file"):
        read_team("a\0b.json")


def test_a_byte_order_mark_is_no_part_of_the_file(file) -> None:
    assert read_team(file(b"\xef\xbb\xbf" + TEAM.encode())).pattern.name == "vote"


# Running


def test_a_file_runs_with_what_it_says(file) -> None:
    file(CODE, "team_code.py")
    said = "task: double ha\nrunner: team_code:runner\nbudget: 3 agents\ntools: {functions: [team_code:double]}\n"

    result = read_team(file(TEAM + said)).run_sync()

    assert result.answer == "haha"
    assert result.budget.limits == BudgetLimits(max_agents=3)


def test_what_is_given_stands_in_the_place_of_what_the_file_says(file) -> None:
    team = read_team(file(TEAM + "task: a\nrunner: nowhere:x\nbudget: 3 agents\n"))

    result = team.run_sync("b", runner=works, budget=BudgetLimits(max_agents=1), run_id="mine")

    assert (result.answer, result.run_id) == ("ann: b", "mine")
    assert result.budget.limits == BudgetLimits(max_agents=1)


def test_each_run_has_a_budget_of_its_own(file) -> None:
    team = read_team(file(TEAM + "budget: 1 agent\n"))

    assert [team.run_sync("x", runner=works).stop_reason for _ in range(2)] == ["completed", "completed"]


def test_without_a_runner_there_is_no_run(file) -> None:
    with pytest.raises(ConfigError, match=r"team.yaml: names no runner, and none was given"):
        read_team(file(TEAM)).run_sync("x")


def test_a_runner_that_can_not_be_had_is_said_with_its_place(file) -> None:
    team = read_team(file(TEAM + "runner: team_nowhere:x\n"))

    with pytest.raises(ConfigError, match=r"team.yaml:4: runner: team_nowhere:x: no module 'team_nowhere'"):
        team.run_sync("x")


def test_items_are_the_file_s_or_given(file) -> None:
    file("one", "teams/docs/a.md")
    file("two", "teams/docs/b.md")
    text = """\
agents: {m: {system_prompt: x}, r: {system_prompt: y}}
team: {pattern: map_reduce, mapper: m, reducer: r, items: ["docs/*.md"]}
"""
    team = read_team(file(text, "teams/team.yaml"))

    assert isinstance(team.pattern, MapReduce)
    assert team.items.labels == ["teams/docs/a.md", "teams/docs/b.md"]
    assert team.pattern.plan().agents_max == 3
    assert len(team.run_sync("x", runner=works).map_outputs) == 2
    assert len(team.run_sync("x", runner=works, items=["a", "b", "c"]).map_outputs) == 3


def test_a_map_reduce_may_stand_anywhere_with_items_of_its_own(file) -> None:
    text = """\
agents: {m: {system_prompt: x}, r: {system_prompt: y}, e: {system_prompt: z}}
team:
  pattern: pipeline
  stages:
    - {pattern: map_reduce, mapper: m, reducer: r, items: [{text: a}, {text: b, label: second}]}
    - e
"""
    result = read_team(file(text)).run_sync("x", runner=works)

    assert len(result.nested["map_reduce"][0].map_outputs) == 2
    assert result.stop_reason == "completed"


# Tools, policies and rights


async def test_tools_of_all_kinds_but_servers(file) -> None:
    file(CODE, "team_code.py")
    said = """\
tools:
  functions: [{function: team_code:double, tier: read_only}]
  commands: {say: {argv: [echo, "-n", "{value}"], description: Say it.}}
granted_tier: read_only
"""
    team = read_team(file(TEAM + said))

    async with team.infra() as infra:
        assert infra.tools["double"].schema.tier == "read_only"
        assert infra.tools["say"].schema.description == "Say it."
        assert infra.granted_tier == "read_only"
        assert (await team.pattern.run("double x", runner=calls, infra=infra)).answer == "xx"
        assert "PolicyDenied" in (await team.pattern.run("say x", runner=calls, infra=infra)).votes[0].error
    async with team.infra(granted_tier="full_access") as infra:
        assert (await team.pattern.run("say x", runner=calls, infra=infra)).answer == "x"


async def test_a_command_s_program_and_folder_are_beside_the_file(file, tmp_path: Path) -> None:
    file("#!/bin/sh\npwd\necho $TEAM_SAYS\n", "teams/bin/where.sh").chmod(0o755)
    file("", "teams/inner/x")
    said = "tools: {commands: {say: {argv: [bin/where.sh], cwd: inner, env: [TEAM_SAYS=so]}}}\n"
    team = read_team(file(TEAM + said, "teams/team.yaml"))

    async with team.infra() as infra:
        found = await infra.make_runtime().call_tool("say")

    assert found == f"{tmp_path}/teams/inner\nso\n"


async def test_given_tools_and_policies_are_beside_those_of_the_file(file) -> None:
    team = read_team(file(TEAM + "policies: {deny_tool: [say]}\ntools: {commands: {say: {argv: [echo]}}}\n"))
    given = PolicyEngine()
    given.register("mine", deny_tool("double"), "not today")

    async def double(value: str) -> str:
        return value * 2

    async with team.infra(tools=[double], policies=given) as infra:
        names = [policy.name for policy in infra.policies.policies]
        result = await team.pattern.run("double x", runner=calls, infra=infra)

    assert set(infra.tools) == {"say", "double"}
    assert names == ["deny_tool[1]", "mine"]
    assert "PolicyDenied" in result.votes[0].error
    assert len(given.policies) == 1


async def test_policies_in_the_file_and_in_a_file_beside_it_are_the_same(file) -> None:
    file('deny_tool = ["rm"]\n[[rate_limit_tool]]\ntool = "a"\nmax_calls = 1\ninterval_secs = 5\n', "teams/rules.toml")
    inside = """\
policies:
  deny_tool: [rm]
  rate_limit_tool: [{tool: a, max_calls: 1, interval_secs: 5}]
"""
    engines = []
    for said in ("policies: rules.toml\n", inside):
        async with read_team(file(TEAM + said, "teams/team.yaml")).infra() as infra:
            engines.append([policy.name for policy in infra.policies.policies])

    assert engines == [["deny_tool[1]", "rate_limit_tool[1]"]] * 2


async def test_every_rule_of_the_file_denies(file) -> None:
    said = """\
policies:
  deny_tool: [gone, {tool: gone2, name: second, description: never}]
  deny_keyword: [secret]
  deny_tool_param: [{tool: t, param: a, equals: null}, {tool: t, param: b, contains: x}, {tool: t, param: c}]
  allow_tool_param: [{tool: u, param: a, allow: [1]}]
  deny_tool_param_matching: [{tool: t, param: d, matches: "^x"}]
  require_state: [{key: ready, value: true}]
"""
    from carpool.actions import Action

    async with read_team(file(TEAM + said)).infra() as infra:
        infra.state.set("ready", True, actor="me")

        def denied(tool: str, **parameters: Any) -> list[str]:
            return [each.policy for each in infra.policies.check(Action(tool=tool, parameters=parameters), infra.state)]

        assert denied("fine", a=1) == []
        assert denied("gone") == ["deny_tool[1]"]
        assert denied("gone2") == ["second"]
        assert denied("fine", a="a secret") == ["deny_keyword[1]"]
        assert denied("t", a=None) == ["deny_tool_param[1]"]
        assert denied("t", a=1, b="axb") == ["deny_tool_param[2]"]
        assert denied("t", a=1, c=1) == ["deny_tool_param[3]"]
        assert denied("u", a=2) == ["allow_tool_param[1]"]
        assert denied("t", d="xy") == ["deny_tool_param_matching[1]"]
        infra.state.set("ready", False, actor="me")
        assert denied("fine") == ["require_state[1]"]


async def test_a_rate_limit_begins_anew_with_each_infra(file) -> None:
    from carpool.actions import Action

    team = read_team(file(TEAM + "policies: {rate_limit_tool: [{tool: a, max_calls: 1, interval_s: 60}]}\n"))

    for _ in range(2):
        async with team.infra() as infra:
            assert infra.policies.check(Action(tool="a"), infra.state) == []
            assert infra.policies.check(Action(tool="a"), infra.state) != []


async def test_a_rate_limit_goes_by_the_clock_of_the_infra(file) -> None:
    from carpool.actions import Action

    team, clock = (
        read_team(file(TEAM + "policies: {rate_limit_tool: [{tool: a, max_calls: 1, interval_s: 60}]}\n")),
        FakeClock(),
    )

    async with team.infra(clock=clock) as infra:
        for _ in range(2):
            assert infra.policies.check(Action(tool="a"), infra.state) == []
            assert infra.policies.check(Action(tool="a"), infra.state) != []
            clock.advance(60)


async def test_a_function_that_can_be_no_tool_is_said_with_its_place(file) -> None:
    file("number = 5\ndef odd(*values): pass\n", "team_code.py")

    for name, why in [
        ("nobody", "team_code has no 'nobody'"),
        ("number", "a tool is a function"),
        ("odd", "can't be pa"),
    ]:
        team = read_team(file(TEAM + f"tools:\n  functions:\n    - team_code:{name}\n"))
        with pytest.raises(ConfigError, match=rf"team.yaml:6: tools.functions\[0\]: .*{why}"):
            async with team.infra():
                pass


async def test_two_tools_of_one_name_are_refused(file) -> None:
    file(CODE, "team_code.py")
    said = "tools: {functions: [team_code:double], commands: {double: {argv: [echo]}}}\n"

    with pytest.raises(ValueError, match="two tools are called 'double'"):
        async with read_team(file(TEAM + said)).infra():
            pass


async def test_what_else_an_infra_takes_is_passed_on(file) -> None:
    team = read_team(file(TEAM))
    log = SharedInfra().log

    async with team.infra(log=log, secrets=["hunter22"]) as infra:
        assert infra.log is log
        assert infra.redactor.text("hunter22") == "[secret]"


# Servers


async def test_a_server_is_there_for_the_length_of_the_block(file) -> None:
    pytest.importorskip("mcp", reason="needs the extra mcp")
    script = Path(__file__).parents[1] / "mcp" / "servers.py"
    said = f"""\
tools:
  mcp:
    calc:
      command: {sys.executable!r}
      args: ["-W", ignore, {str(script)!r}, stdio]
      prefix: calc_
      only: [add]
      tier: read_only
"""
    team = read_team(file(TEAM + said))

    async with team.infra() as infra:
        assert set(infra.tools) == {"calc_add"}
        assert infra.tools["calc_add"].schema.tier == "read_only"
        runtime = infra.make_runtime()
        assert await runtime.call_tool("calc_add", a=1, b=2) == {"total": 3}
    with pytest.raises(ToolError, match="the connection is closed"):
        await runtime.call_tool("calc_add", a=1, b=2)

    nobody = read_team(file(TEAM + said.replace("[add]", "[ad]")))
    with pytest.raises(ConfigError, match=r"team.yaml:6: tools.mcp.calc: MCP server .* has no tool ad; it has: add"):
        async with nobody.infra():
            pass


def test_a_broad_team_is_not_a_deep_one(file) -> None:
    stages = ", ".join(f"{{pattern: vote, name: v{n}, agents: [ann]}}" for n in range(150))

    assert load_team(file(TEAM.replace("{pattern: vote, agents: [ann]}", f"{{pattern: pipeline, stages: [{stages}]}}")))


def test_a_value_that_is_nested_too_deep_is_refused(file) -> None:
    text = f'agents.ann.system_prompt = "x"\nagents.ann.metadata.{".".join("a" * 3_000)} = 1\nteam = "ann"\n'

    with pytest.raises(ConfigError, match=r"team.toml:2: agents.ann.metadata.a.a.*is nested deeper than 100 levels"):
        read_team(file(text, "team.toml"))
