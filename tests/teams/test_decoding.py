"""What is wrong with a file is told with its file, line and key, and with what was expected there."""

from pathlib import Path

import pytest

from carpool.errors import ConfigError
from carpool.teams.source import source_of
from carpool.teams.team_file import TeamFile

AGENTS = """\
agents:
  ann: {system_prompt: Be brief.}
  bob: {system_prompt: Be kind.}
"""
VOTE = AGENTS + "team: {pattern: vote, agents: [ann, bob]}\n"  # the fourth line


def read(text: str, format_: str = "yaml") -> TeamFile:
    return TeamFile(source_of(text, format_, f"team.{format_}"), Path())


def problems(text: str, format_: str = "yaml") -> list[str]:
    """The lines of the error, without the name of the file."""
    with pytest.raises(ConfigError) as raised:
        read(text, format_)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"team.{format_}") for line in lines)
    return [line.removeprefix(f"team.{format_}:") for line in lines]


def test_the_files_of_these_tests_are_otherwise_right() -> None:
    assert [agent.name for agent in read(VOTE).pattern.agents] == ["ann", "bob"]


# The words


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("toolz: {}", "5: toolz: unknown key; did you mean 'tools'?"),
        ("Budget: $5", "5: Budget: unknown key; did you mean 'budget'?"),
        ("budget: {max_agent: 5}", "5: budget.max_agent: unknown key; did you mean 'max_agents'?"),
        ("budget: {max_agents: -5}", "5: budget.max_agents: max_agents must be a whole number, 0 or more, not -5"),
        ("budget: 5 apples", "5: budget: budget '5 apples': can't read '5 apples'; write for example '500k tokens,"),
        ("task: [a]", "5: task: must be a text, not a list"),
        ("task: {a: b}", "5: task: must be a text, not a table"),
        ("tools: [shell]", "5: tools: must be a table, not a list"),
        ("tools: {functions: {a: b}}", "5: tools.functions: must be a list, not a table"),
        ("tools: {functions: [5]}", "5: tools.functions[0]: must be a text or a table, not 5; put quotes around it"),
        ("tools: {commands: {ls: {argv: ls}}}", "5: tools.commands.ls.argv: must be a list, not 'ls'"),
        ("tools: {commands: {ls: {argv: []}}}", "5: tools.commands.ls.argv: must not be empty"),
        ("tools: {commands: {ls: {argv: ['{x']}}}", "5: tools.commands.ls: tool 'ls': '{x' has a brace that is no"),
        ("tools: {mcp: {files: {}}}", "5: tools.mcp.files: needs either 'command' or 'url'"),
        ("tools: {mcp: {files: {url: x, args: [y]}}}", "5: tools.mcp.files: 'args', 'env' and 'cwd' are for a 'comm"),
        ("granted_tier: full", "5: granted_tier: must be one of full_access, read_only, sandbox_edit, not 'full'"),
        ("policies: nowhere.toml", "5: policies: nowhere.toml: can't be read: No such file or directory"),
        ("policies: {deny_toll: [x]}", "5: policies.deny_toll: unknown key; did you mean 'deny_tool'?"),
        (
            "policies: {deny_tool_param: [{tool: x, param: y, contain: z}]}",
            "5: policies.deny_tool_param[0].contain: unknown key; did you mean 'contains'?",
        ),
        (
            "policies: {rate_limit_tool: [{tool: x, max_calls: 3}]}",
            "5: policies.rate_limit_tool[0]: needs either 'interval_s' or 'interval_secs'",
        ),
        (
            "policies: {deny_tool_param_matching: [{tool: x, param: y, matches: '('}]}",
            "5: policies: deny_tool_param_matching[1]: the expression for parameter 'y' does not compile: missing ),",
        ),
        ("policies: {deny_tool: [x, {tool: y, name: 'deny_tool[1]'}]}", "5: policies: two policies are called 'deny_"),
        ("runner: {}", "5: runner: needs either 'command' or 'model'"),
        ("runner: {command: {argv: [ls]}, model: {}}", "5: runner: needs either 'command' or 'model'"),
        ("runner: {comand: {argv: [ls]}}", "5: runner.comand: unknown key; did you mean 'command'?"),
        (
            "runner: {command: {argv: [x], output: {json: {answer: a, usage: {input: b}}}}}",
            "5: runner.command.output.json.usage.input: unknown key; did you mean 'input_tokens'?",
        ),
    ],
)
def test_a_key_of_the_file_is_wrong(rest: str, problem: str) -> None:
    (found,) = problems(VOTE + rest)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("agent", "problem"),
    [
        ("{}", "2: agents.a: missing key 'system_prompt', a text"),
        ("", "2: agents.a: must be a table, not nothing"),
        ("Be brief.", "2: agents.a: must be a table, not 'Be brief.'"),
        ("{system_prompt: }", "2: agents.a.system_prompt: must be a text, not nothing"),
        ("{system_prompt: 12}", "2: agents.a.system_prompt: must be a text, not 12; put quotes around it"),
        ("{prompt: x, system_prompt: x}", "2: agents.a.prompt: unknown key; did you mean 'system_prompt'?"),
        ("{system_prompt: x, name: b}", "2: agents.a.name: unknown key; a table without 'pattern' is an agent;"),
        ("{system_prompt: x, tools: shell}", "2: agents.a.tools: must be a list, not 'shell'"),
        ("{system_prompt: x, tools: [yes]}", "2: agents.a.tools[0]: yes is true or false in YAML 1.1 and a text in"),
        ("{system_prompt: x, retries: -1}", "2: agents.a.retries: must be 0 or more, not -1"),
        ("{system_prompt: x, retries: true}", "2: agents.a.retries: must be a whole number, not true"),
        ("{system_prompt: x, retries: 1.5}", "2: agents.a.retries: must be a whole number, not 1.5"),
        (
            "{system_prompt: x, retries: '1'}",
            "2: agents.a.retries: must be a whole number, not '1'; take the quotes aw",
        ),
        ("{system_prompt: x, timeout_s: 0}", "2: agents.a.timeout_s: must be above 0, not 0"),
        ("{system_prompt: x, timeout_s: .inf}", "2: agents.a.timeout_s: must be a number, not inf"),
        ("{system_prompt: x, timeout_s: 10m}", "2: agents.a.timeout_s: must be a number, not '10m'"),
        ("{system_prompt: x, cache_control: 1}", "2: agents.a.cache_control: must be true or false, not 1"),
        (
            "{system_prompt: x, estimate: 5 tokens}",
            "2: agents.a.estimate: say whether these are input or output tokens",
        ),
        (
            "{system_prompt: x, estimate: 5 agents}",
            "2: agents.a.estimate: '5 agents' says no tokens or dollars, or more",
        ),
        (
            "{system_prompt: x, estimate: 5 apples}",
            "2: agents.a.estimate: can't read '5 apples'; write for example '2k",
        ),
        ("{system_prompt: x, estimate: {cost_usd: -1}}", "2: agents.a.estimate.cost_usd: cost_usd must be a number, 0"),
        ("{system_prompt: x, budget: 1 dollar 3}", "2: agents.a.budget: budget '1 dollar 3': can't read '1 dollar 3'"),
        (
            "{system_prompt: x, metadata: {a: {b: [.nan]}}}",
            "2: agents.a.metadata.a.b[0]: must be a JSON value, not nan",
        ),
        ("{system_prompt: x, metadata: [a]}", "2: agents.a.metadata: must be a table, not a list"),
        ("{pattern: agnt, system_prompt: x}", "2: agents.a.pattern: unknown pattern 'agnt'; did you mean 'agent'?"),
        ("{pattern: on, system_prompt: x}", "2: agents.a.pattern: must be the name of a pattern, not on"),
    ],
)
def test_a_key_of_an_agent_is_wrong(agent: str, problem: str) -> None:
    found = problems(f"agents:\n  a: {agent}\nteam: {{pattern: vote, agents: [a]}}\n")

    assert any(line.startswith(problem) for line in found), found
    assert len(found) == 1


@pytest.mark.parametrize(
    ("team", "problem"),
    [
        ("{}", "4: team: missing key 'pattern', one of swarm, pipeline, supervisor,"),
        ("{pattern: voting, agents: [ann]}", "4: team.pattern: unknown pattern 'voting'; did you mean 'vote'?"),
        ("{pattern: map-reduce}", "4: team.pattern: unknown pattern 'map-reduce'; did you mean 'map_reduce'?"),
        ("{pattern: MapReduce}", "4: team.pattern: unknown pattern 'MapReduce'; did you mean 'map_reduce'?"),
        ("{pattern: vote, agents: []}", "4: team.agents: must not be empty"),
        ("{pattern: vote, agents: ann}", "4: team.agents: must be a list, not 'ann'"),
        ("{pattern: vote}", "4: team: missing key 'agents', a list"),
        ("{pattern: vote, agents: [ann], quorum: 0}", "4: team.quorum: must be 1 or more, not 0"),
        (
            "{pattern: vote, agents: [ann], quorum: 2}",
            "4: team.quorum: quorum must be between 1 and the 1 agents, not 2",
        ),
        (
            "{pattern: vote, agents: [ann], normalize: 'm:f'}",
            "4: team.normalize: unknown key; there are: pattern, name,",
        ),
        ("{pattern: vote, agents: [{system_prompt: x}]}", "4: team.agents[0]: missing key 'name', a text"),
        ("{pattern: vote, agents: [{name: '', system_prompt: x}]}", "4: team.agents[0].name: must not be empty"),
        (
            "{pattern: vote, agents: [{name: ' ', system_prompt: x}]}",
            "4: team.agents[0]: an agent needs a name, not ' '",
        ),
        (
            "{pattern: swarm, agents: [ann], mode: debait}",
            "4: team.mode: must be one of debate, parallel, sequential, not",
        ),
        (
            "{pattern: swarm, agents: [ann], workspaces: {}}",
            "4: team.workspaces: needs either 'directory' or 'git_work",
        ),
        (
            "{pattern: swarm, agents: [ann], workspaces: {directory: {base: x}, git_worktree: {repo: x, base: y}}}",
            "4: team.workspaces: needs either 'directory' or 'git_worktree'",
        ),
        (
            "{pattern: swarm, agents: [ann], workspaces: {git_worktree: {repo: x, base: y, rev: --all}}}",
            "4: team.workspaces: rev must name a commit, as 'HEAD' or 'main' does, not '--all'",
        ),
        (
            "{pattern: swarm, agents: [ann], mode: debate, isolated: true}",
            "4: team.isolated: isolated is for mode 'parallel'",
        ),
        ("{pattern: fleet, agents: [ann]}", "4: team.agents[0]: must be a table, not 'ann'"),
        (
            "{pattern: fleet, agents: [{agent: an, mission: x}]}",
            "4: team.agents[0].agent: no agent 'an'; did you mean 'a",
        ),
        ("{pattern: map_reduce, mapper: ann, reducer: bob, items: docs}", "4: team.items: must be a list, not 'docs'"),
        ("{pattern: map_reduce, mapper: ann, reducer: bob, fan_in: 1}", "4: team.fan_in: must be 2 or more, not 1"),
        ("{pattern: delegator, main: ann, specialists: {}}", "4: team.specialists: must not be empty"),
        (
            "{pattern: delegator, main: ann, specialists: {b: bod}}",
            "4: team.specialists.b: no agent 'bod'; did you mean",
        ),
        (
            "{pattern: delegator, main: {pattern: vote, agents: [ann]}, specialists: {bob: bob}}",
            "4: team: delegator: 'vote' is a pattern, and delegate is a tool for one agent",
        ),
        ("{pattern: vote, agents: [ann, bod]}", "4: team.agents[1]: no agent 'bod'; did you mean 'bob'?"),
        ("{pattern: vote, agents: [ann, zoe]}", "4: team.agents[1]: no agent 'zoe'; there are: ann, bob"),
        ("{pattern: vote, agents: [ann, ann]}", "4: team: vote: 2 members are called 'ann'; outputs are told apart"),
        (
            "{pattern: vote, agents: [ann], budget: 5 apples}",
            "4: team.budget: budget '5 apples': can't read '5 apples'",
        ),
        ("ann", "4: team: 'ann' is one agent; make it a pattern, a pipeline of one for instance"),
        ("anna", "4: team: no agent 'anna'; did you mean 'ann'?"),
    ],
)
def test_a_key_of_a_pattern_is_wrong(team: str, problem: str) -> None:
    found = problems(f"{AGENTS}team: {team}\n")

    assert any(line.startswith(problem) for line in found), found


def test_the_lines_are_those_of_the_keys() -> None:
    text = """\
agents:
  ann:
    system_prompt: |
      Be brief,
      and be kind.
    retries: -1

team:
  # here come three
  pattern: swarm
  agents:
    - ann
    - name: bob
      system_prompt: Be kind.
      max_turn: 3
    -
      pattern: voting
  mode: loud
"""
    assert [line.partition(":")[0] for line in problems(text)] == ["6", "15", "17", "18"]


def test_all_that_is_wrong_is_told_at_once_up_to_a_bound() -> None:
    agents = "".join(f"  a{n}: {{system_prompt: {n}}}\n" for n in range(30))

    found = problems_of_many(f"agents:\n{agents}team: {{pattern: vote, agents: [a1]}}\n")

    assert len(found) == 21
    assert found[-1] == "and 10 more"


def problems_of_many(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text)
    return str(raised.value).splitlines()


def test_a_pattern_without_its_kind_is_said_to_be_read_as_an_agent() -> None:
    found = problems(AGENTS + "team: {pattern: vote, agents: [ann, {agents: [bob]}]}")

    assert any("a table without 'pattern' is an agent" in line for line in found)


def test_a_long_value_is_not_repeated_whole() -> None:
    (found,) = problems(VOTE + f"granted_tier: {'x' * 5000}")

    assert len(found) < 200


def test_a_terminal_is_not_written_to_by_what_is_wrong() -> None:
    found = problems(AGENTS + 'team: {pattern: "\\e[2J", "\\e[2J": 1, agents: ["\\e[2J"]}')

    found += problems('agents: {"\\e[2J": {system_prompt: x}}\nteam: {pattern: vote, agents: [ann]}')

    assert len(found) == 2
    assert all(line.isprintable() for line in found)


def test_of_many_names_some_are_told() -> None:
    agents = "".join(f"  a{n}: {{system_prompt: x}}\n" for n in range(500))

    (found,) = problems(f"agents:\n{agents}team: {{pattern: vote, agents: [zoe]}}\n")

    assert found.endswith("a18, a19 and 480 more")


def test_values_are_not_made_into_others() -> None:
    team = read(VOTE + 'budget: {max_agents: 3.0, max_seconds: 5}\ntask: "012"')

    assert team.budget.max_agents == 3
    assert isinstance(team.budget.max_agents, int)
    assert isinstance(team.budget.max_seconds, float)
    assert team.task == "012"


# The other formats


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "task = 5\n[team]\npattern = 'x'",
            ["1: task: must be a text, not 5; put quotes around it", "3: team.pattern"],
        ),
        (
            "[agents.ann]\nsystem_prompt = 'x'\n\n[team]\npattern = 'vote'\nagents = [\n 'ann',\n 'bod',\n]",
            ["6: team.agents[1]: no agent 'bod'"],
        ),
        (
            "[team]\npattern = 'fleet'\n[[team.agents]]\nmission = 'x'\n[[team.agents]]\nmission = 2000-01-01",
            [
                "3: team.agents[0]: missing key 'agent'",
                "6: team.agents[1].mission: must be a text, not 2000-01-01; put",
            ],
        ),
        (
            "[team]\npattern = 'vote'\nagents = [1.5, nan]",
            ["3: team.agents[0]: must be a text or a", "3: team.agents[1]"],
        ),
    ],
)
def test_lines_and_words_in_toml(text: str, problem: list[str]) -> None:
    found = problems(text, "toml")

    for line in problem:
        assert any(each.startswith(line) for each in found), found


def test_lines_and_words_in_json() -> None:
    text = '{\n "task": 5,\n "team": {\n  "pattern": "vote",\n  "agents": [\n   "ann", {\n    "nam": "x"}]}}'

    assert [line.partition(": ")[0] for line in problems(text, "json")] == ["2", "7", "6", "6"]
