"""Policy files: CAR's format is read as it is, and a file is understood wholly or refused by place."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carpool.actions import Action
from carpool.errors import ConfigError
from carpool.policy import PolicyEngine
from carpool.state import StateStore

from ..budget.fake_clock import FakeClock

CAR = """
# Never, under any parameters.
deny_tool = ["deploy", "format"]
deny_keyword = ["DROP TABLE", "rm -rf /"]

[[deny_tool_param]]
tool     = "http_request"
param    = "url"
contains = "169.254.169.254"

[[allow_tool_param]]
tool  = "messaging.send"
param = "channel"
allow = ["imessage"]

[[deny_tool_param_matching]]
tool    = "messaging.send"
param   = "body"
matches = "(?i)demo-token-[A-Za-z0-9]{16,}"

[[rate_limit_tool]]
tool          = "messaging.send"
max_calls     = 2
interval_secs = 3600.0
"""


@pytest.fixture
def file(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "policies.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def denied_by(engine: PolicyEngine, tool: str, /, **parameters) -> list[str]:
    return [each.policy for each in engine.check(Action(tool=tool, parameters=parameters), StateStore())]


def test_a_file_of_car_is_read_as_it_is(file) -> None:
    clock = FakeClock()
    engine = PolicyEngine.from_toml(file(CAR), clock=clock)

    assert [each.name for each in engine.policies] == [
        "deny_tool[1]",
        "deny_tool[2]",
        "deny_keyword[1]",
        "deny_keyword[2]",
        "deny_tool_param[1]",
        "allow_tool_param[1]",
        "deny_tool_param_matching[1]",
        "rate_limit_tool[1]",
    ]
    assert denied_by(engine, "deploy") == ["deny_tool[1]"]
    assert denied_by(engine, "sql", query="drop table x") == ["deny_keyword[1]"]
    assert denied_by(engine, "http_request", url="http://169.254.169.254/") == ["deny_tool_param[1]"]
    assert denied_by(engine, "messaging.send", channel="sms") == ["allow_tool_param[1]"]
    assert denied_by(engine, "messaging.send", channel="imessage", body="DEMO-token-" + "a" * 16) == [
        "deny_tool_param_matching[1]"
    ]
    assert denied_by(engine, "messaging.send", channel="imessage") == ["rate_limit_tool[1]"]
    clock.advance(3600)
    assert denied_by(engine, "messaging.send", channel="imessage") == []


def test_what_carpool_adds(file) -> None:
    text = """
    [[require_state]]
    key = "passed"
    value = true
    name = "tests first"
    description = "nothing runs before the tests have"

    [[deny_tool_param]]
    tool = "deploy"
    param = "to"
    equals = "prod"

    [[deny_tool_param]]
    tool = "deploy"
    param = "force"

    [[policy]]
    name = "no_rm"
    rule = "deny_tool_param"
    tool = "shell"
    param = "command"
    contains = "rm -rf"

    [[policy]]
    rule = "rate_limit_tool"
    tool = "send"
    max_calls = 1
    interval_s = 60
    """
    engine = PolicyEngine.from_toml(file(text))
    first = engine.policies[0]

    assert (first.name, first.description) == ("tests first", "nothing runs before the tests have")
    assert engine.unregister("tests first") == 1
    assert denied_by(engine, "deploy", to="prod", force=False) == [
        "deny_tool_param[1]",
        "deny_tool_param[2]",
    ]
    assert denied_by(engine, "shell", command=["rm", "-rf"]) == ["no_rm"]
    assert [denied_by(engine, "send"), denied_by(engine, "send")] == [[], ["policy[2]"]]


def test_a_rule_of_one_argument_takes_tables_too(file) -> None:
    engine = PolicyEngine.from_toml(file('[[deny_tool]]\ntool = "rm"\nname = "no rm"\n[[deny_keyword]]\nword = "x y"'))

    assert denied_by(engine, "rm", p="X  Y") == ["no rm", "deny_keyword[1]"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "deny_tool = []"])
def test_a_file_without_rules_is_no_mistake(file, text: str) -> None:
    assert PolicyEngine.from_toml(file(text)).policies == ()


def test_an_expression_that_does_not_compile_denies_its_tool_and_not_the_file(file) -> None:
    engine = PolicyEngine.from_toml(file('[[deny_tool_param_matching]]\ntool = "http"\nparam = "p"\nmatches = "("'))

    assert denied_by(engine, "http") == ["deny_tool_param_matching[1]"]
    assert denied_by(engine, "other") == []


def test_an_engine_from_a_file_takes_further_policies(file) -> None:
    engine = PolicyEngine.from_toml(file('deny_tool = ["a"]'))
    engine.register("more", lambda action, state: "no" if action.tool == "b" else None)

    assert denied_by(engine, "b") == ["more"]


TABLE = '[[deny_tool_param]]\ntool = "t"\nparam = "p"\n'

MISTAKES = {
    "a top key with a slip": ("deny_tols = ['x']", "unknown key 'deny_tols'; did you mean 'deny_tool'?"),
    "a top key of nothing": ("zzz = 1", "unknown key 'zzz'; known are: policy, deny_tool"),
    "a section": ("[settings]\na = 1", "unknown key 'settings'"),
    "a table that is not in a list": ('[deny_tool_param]\ntool = "t"', "must be a list of tables, [[deny_tool_param]]"),
    "a rule that is no list": ('deny_tool = "x"', "key 'deny_tool' must be a list"),
    "an item that is no text": ("deny_tool = ['a', 5]", "deny_tool, entry 2: must be a text or a table, not a int"),
    "a text for a rule of many": ("deny_tool_param = ['t']", "deny_tool_param, entry 1: must be a table, not a str"),
    "an empty text": ("deny_keyword = ['a', '']", "deny_keyword, entry 2: key word must not be empty"),
    "an empty tool": ("deny_tool = [' ']", "deny_tool, entry 1: key tool must be a name"),
    "a key with a slip": (
        TABLE + 'contain = "x"',
        "deny_tool_param, entry 1: unknown key 'contain'; did you mean 'contains'?",
    ),
    "a key of another rule": (TABLE + 'matches = "x"', "deny_tool_param, entry 1: unknown key 'matches'"),
    "a clock": (
        "[[rate_limit_tool]]\ntool = 't'\nmax_calls = 1\ninterval_s = 1\nclock = 1",
        "rate_limit_tool, entry 1: unknown key 'clock'",
    ),
    "a missing key": ('[[deny_tool_param]]\ntool = "t"', "deny_tool_param, entry 1: missing key 'param'"),
    "the second of two": (TABLE + "[[deny_tool_param]]", "deny_tool_param, entry 2: missing key 'tool'"),
    "a missing interval": ("[[rate_limit_tool]]\ntool = 't'\nmax_calls = 1", "missing key 'interval_s'"),
    "a type": (TABLE + "contains = ['x']", "deny_tool_param, entry 1: key contains must be a text"),
    "a tool that is a number": ('[[deny_tool_param]]\ntool = 5\nparam = "p"', "entry 1: key tool must be a name"),
    "a date": (TABLE + "equals = 2025-01-01", "deny_tool_param, entry 1: key equals is a date, which is not JSON"),
    "not a number": (TABLE + "equals = nan", "deny_tool_param, entry 1: key equals is nan"),
    "a text for a list": ("[[allow_tool_param]]\ntool='t'\nparam='p'\nallow='x'", "entry 1: key allow must be a list"),
    "a truth value": (
        "[[rate_limit_tool]]\ntool='t'\nmax_calls=true\ninterval_secs=1",
        "key max_calls must be a whole",
    ),
    "a fraction": ("[[rate_limit_tool]]\ntool='t'\nmax_calls=1.5\ninterval_secs=1", "key max_calls must be a whole"),
    "no time": ("[[rate_limit_tool]]\ntool='t'\nmax_calls=1\ninterval_secs=0", "key interval_s must be a number"),
    "both names of one key": (
        "[[rate_limit_tool]]\ntool='t'\nmax_calls=1\ninterval_secs=1\ninterval_s=1",
        "keys 'interval_s' and 'interval_secs' are one and the same",
    ),
    "an expression that is none": (
        "[[deny_tool_param_matching]]\ntool='t'\nparam='p'\nmatches=5",
        "key matches must be",
    ),
    "a name": (TABLE + "name = 5", "deny_tool_param, entry 1: key 'name' must be a text"),
    "an empty name": (TABLE + "name = ''", "deny_tool_param, entry 1 (''): key 'name' must be a text"),
    "a description": (TABLE + "name = 'n'\ndescription = 5", "entry 1 ('n'): key 'description' must be a text"),
    "a name twice": (
        TABLE + "name = 'n'\n[[deny_tool]]\ntool = 'x'\nname = 'n'",
        "deny_tool, entry 1 ('n'): key 'name': another entry has the same name",
    ),
    "a policy without a rule": ("[[policy]]\nname = 'n'", "policy, entry 1 ('n'): missing key 'rule'"),
    "a rule with a slip": (
        "[[policy]]\nname = 'n'\nrule = 'deny_keywords'",
        "policy, entry 1 ('n'): key 'rule': unknown rule; did you mean 'deny_keyword'?",
    ),
    "a rule that is no text": ("[[policy]]\nrule = ['deny_tool']", "policy, entry 1: key 'rule': unknown rule"),
    "a rule that is a policy": ("[[policy]]\nrule = 'policy'", "policy, entry 1: key 'rule': unknown rule"),
    "a rule of the module": ("[[policy]]\nrule = 'texts_in'", "policy, entry 1: key 'rule': unknown rule"),
    "a policy that is a text": ("policy = ['x']", "policy, entry 1: must be a table, not a str"),
    "no value": ("deny_tool = ['x']\n\ndeny_keyword =", "is not TOML: Invalid value (at line 3"),
    "no end": ("deny_tool = ['x'\n", "is not TOML: Unclosed array (at line 1, the end of the document)"),
    "a key twice": ("deny_tool = ['x']\ndeny_tool = ['y']", "is not TOML: Cannot overwrite a value (at line 2"),
    "a control character": ("deny_tool = ['x\x00']", "is not TOML: "),
    "JSON": ('{"deny_tool": ["x"]}', "is not TOML: Invalid statement (at line 1, column 1)"),
    "depth": ("deny_tool = " + "[" * 100_000, "nested too deep"),
    "a number of many digits": ("deny_tool = " + "1" * 10_000, "is not TOML: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_and_says_where_it_is(file, mistake: str) -> None:
    text, expected = MISTAKES[mistake]
    path = file(text)

    with pytest.raises(ConfigError) as caught:
        PolicyEngine.from_toml(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"deny_tool = ['\xe9']", "deny_tool = ['x']".encode("utf-16")])
def test_a_file_that_is_not_utf_8_is_refused(file, content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"policies\.toml: is not TOML: it is not UTF-8 at byte"):
        PolicyEngine.from_toml(file(content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: can't be read: No such file"):
        PolicyEngine.from_toml(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        PolicyEngine.from_toml(str(tmp_path))
    with pytest.raises(ConfigError, match="is no name of a file"):
        PolicyEngine.from_toml("a\0b")


def test_a_refusal_does_not_repeat_a_value(file) -> None:
    for text in (
        TABLE + "contains = ['hunter2-canary']",
        "[[allow_tool_param]]\ntool='t'\nparam='p'\nallow='hunter2-canary'",
        "[[rate_limit_tool]]\ntool='t'\nmax_calls='hunter2-canary'\ninterval_secs=1",
    ):
        with pytest.raises(ConfigError) as caught:
            PolicyEngine.from_toml(file(text))
        assert "hunter2-canary" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "[[policy]]",
                "[[deny_tool]]",
                "rule='deny_tool'",
                "tool='t'",
                "name=1",
                "[deny_tool]",
                "x={a=1}",
                "deny_tool=[{}]",
            ]
        ),
        max_size=6,
    ).map("\n".join)
)
def test_whatever_is_in_a_file_it_is_read_or_refused(file, text: str) -> None:
    path = file(text.encode(errors="replace"))
    refused = str(path)
    try:
        PolicyEngine.from_toml(path)
    except ConfigError as error:
        refused = str(error)

    assert refused.startswith(str(path))
