"""What each rule refuses and lets through, and attempts to get past it."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.actions import Action, ActionType
from carpool.policy import (
    PolicyEngine,
    allow_tool_param,
    deny_keyword,
    deny_tool,
    deny_tool_param,
    deny_tool_param_matching,
    require_state,
)
from carpool.policy.texts import folded, plain
from carpool.state import OverlayState, StateStore

SECRET = "hunter2-canary"

texts = st.text(st.characters(exclude_categories=("Cs",)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def reason(check, action: Action, state: StateStore | None = None) -> str | None:
    """What an engine with only this check says."""
    engine = PolicyEngine()
    engine.register("p", check)
    found = engine.check(action, state or StateStore())
    return found[0].reason if found else None


def call(tool: str = "shell", /, **parameters) -> Action:
    return Action(tool=tool, parameters=parameters)


# deny_tool


def test_a_denied_tool_is_refused_whatever_its_parameters() -> None:
    assert reason(deny_tool("shell"), call(command="ls"))
    assert reason(deny_tool("shell"), call())


@pytest.mark.parametrize("kind", ActionType)
def test_a_denied_tool_is_refused_whatever_the_action_calls_itself(kind: ActionType) -> None:
    assert reason(deny_tool("shell"), Action(type=kind, tool="shell"))


@pytest.mark.parametrize("tool", ["shells", "Shell", "shell ", "", None])
def test_a_rule_governs_the_tool_of_exactly_its_name(tool) -> None:
    # A tool is called by its exact name: none of these would call the shell.
    assert reason(deny_tool("shell"), Action(tool=tool)) is None


# deny_tool_param


def test_a_param_is_denied_by_its_presence() -> None:
    check = deny_tool_param("shell", "force")

    assert reason(check, call(force=None))
    assert reason(check, call(force=False))
    assert reason(check, call(other=1)) is None
    assert reason(check, call("other", force=True)) is None


@pytest.mark.parametrize(
    ("equals", "value"),
    [
        ("prod", "prod"),
        (1, 1),
        (1, 1.0),  # a tool that takes the one takes the other
        (1.0, 1),
        (1, True),
        (True, 1),
        (0, False),
        (None, None),
        ([1, "a"], [1, "a"]),
        ([1], [1.0]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (10**30, 10**30),
    ],
)
def test_a_param_that_equals_is_denied(equals, value) -> None:
    assert reason(deny_tool_param("t", "p", equals=equals), call("t", p=value))


@pytest.mark.parametrize(
    ("equals", "value"), [("prod", "prod2"), ("prod", "Prod"), (1, "1"), (None, 0), (None, ""), ([1], 1), (1, 2)]
)
def test_a_param_that_differs_is_not_denied_by_equals(equals, value) -> None:
    assert reason(deny_tool_param("t", "p", equals=equals), call("t", p=value)) is None


PAST_CONTAINS = [
    "rm -rf /",
    "sudo rm -rf /",
    "xargs rm -rf",
    "sh -c 'rm -rf /'",
    "env A=1 rm -rf /",
    "ls; rm -rf /",
    "ls && rm -rf /",
    "ls\nrm -rf /",
    "$(rm -rf /)",
    "`rm -rf /`",
    "RM -RF /",
    "Rm -rF /",
    "rm  -rf /",
    "rm\t-rf /",
    "rm\n-rf /",
    "rm \t \n -rf /",
    "rm\u00a0-rf /",
    "rm\u2003-rf /",
    "rm\u3000-rf /",
    "rm\u2028-rf /",
    "rm\x0b-rf /",
    "rm\x85-rf /",
    "ｒｍ －ｒｆ /",
    "𝐫𝐦 -𝐫𝐟 /",
    "𝓇𝓂 -𝓇𝒻 /",
    "ⓡⓜ -rf /",
    "r\u200bm -rf /",
    "r\u200dm -rf /",
    "rm\u2060 -rf /",
    "rm \u200b -rf /",
    "r\u00adm -rf /",
    "\ufeffrm -rf /",
    "r\u202em -rf /",
    "r\u2066m\u2069 -rf /",
    "r\x00m -rf /",
    "r\x1bm -rf /",
    "r\ufe0fm -rf /",
    "r\U000e0001m -rf /",
    "r\U000e0141m -rf /",
    "r\u034fm -rf /",
    "r\u3164m -rf /",
    "r\u115fm -rf /",
    ["rm", "-rf", "/"],
    ["sudo", "rm", "-rf", "/"],
    ["rm ", " -rf"],
    ["RM", "-RF"],
    ["sh", "-c", "rm -rf /"],
    [["rm"], ["-rf"]],
    ["ls", ["rm", ["-rf"]]],
    {"argv": ["rm", "-rf"]},
    {"argv": {"rest": ["rm", "-rf"]}},
    {"rm -rf": 1},
    {"deep": [{"er": {"rm -rf": None}}]},
    [None, "rm", None, "-rf"],
]


@pytest.mark.parametrize("value", PAST_CONTAINS, ids=ascii)
def test_a_param_that_contains_is_denied_however_it_is_written(value) -> None:
    assert reason(deny_tool_param("shell", "command", contains="rm -rf"), call(command=value))
    assert reason(deny_keyword("rm -rf"), call(anything=value))


@pytest.mark.parametrize("value", PAST_CONTAINS, ids=ascii)
def test_it_makes_no_difference_how_the_rule_is_written(value) -> None:
    assert reason(deny_tool_param("shell", "command", contains="ＲＭ\u200b \t-rF"), call(command=value))


@pytest.mark.parametrize("value", ["rm -r f", "farm rf", "", [], {}, None, True, 5, ["-rf", "rm"], "firm - rf"])
def test_a_param_that_does_not_contain_is_let_through(value) -> None:
    assert reason(deny_tool_param("shell", "command", contains="rm -rf"), call(command=value)) is None


@pytest.mark.parametrize(
    "value",
    [
        "cm0gLXJm",  # base64
        "r''m -rf",
        "r\\m -rf",
        "$'\\x72m' -rf",
        "rm%20-rf",
        "\u0433m -rf",  # a Cyrillic letter in the place of the r
        "rm -fr",
        "rm -r -f",
    ],
)
def test_what_only_a_shell_or_an_eye_makes_the_same_is_not_seen(value: str) -> None:
    """The limit that docs/policies.md speaks of: a list of bad texts is no wall."""
    assert reason(deny_tool_param("shell", "command", contains="rm -rf"), call(command=value)) is None


@pytest.mark.parametrize(
    ("contains", "value"), [(22, [80, 22]), (22, 22), (22, {"ports": [22.0]}), (True, [True]), (1.5, [[1.5]])]
)
def test_a_number_is_contained_as_an_item(contains, value) -> None:
    assert reason(deny_tool_param("t", "p", contains=contains), call("t", p=value))


def test_a_number_is_not_contained_in_the_digits_of_another() -> None:
    assert reason(deny_tool_param("t", "p", contains=22), call("t", p=[220, "22"])) is None


@pytest.mark.parametrize("value", [169254, 169254.0, [0, 169254], "x169254x"])
def test_a_text_is_found_in_the_digits_of_a_number(value) -> None:
    assert reason(deny_tool_param("t", "p", contains="169254"), call("t", p=value))


def test_with_both_either_is_enough() -> None:
    check = deny_tool_param("t", "p", equals="exactly", contains="part")

    assert reason(check, call("t", p="exactly"))
    assert reason(check, call("t", p="a part of it"))
    assert reason(check, call("t", p="neither")) is None


def test_what_a_rule_was_given_may_change_afterwards() -> None:
    bad, good = ["bad"], ["good"]
    denies, allows = deny_tool_param("t", "p", equals=bad), allow_tool_param("t", "p", good)
    bad.clear()
    good.append("bad")

    assert reason(denies, call("t", p=["bad"]))
    assert reason(allows, call("t", p="bad"))


# deny_keyword


@pytest.mark.parametrize(
    "parameters",
    [
        {"q": "DROP TABLE users"},
        {"q": "drop table users"},
        {"q": "select 1; Drop\n  Table users"},
        {"q": "undroP TABLEs"},
        {"q": "ＤＲＯＰ ＴＡＢＬＥ"},
        {"q": "DROP\u00a0TABLE"},
        {"q": "DR\u200bOP TA\u00adBLE"},
        {"drop table": 1},
        {"a": {"b": [{"c": ["x", "drop table y"]}]}},
        {"a": {"drop table": {}}},
        {"a": [["drop", "table"]]},
    ],
)
def test_a_keyword_is_found_anywhere_in_the_parameters(parameters) -> None:
    assert reason(deny_keyword("DROP TABLE"), Action(tool="any", parameters=parameters))


@pytest.mark.parametrize(
    ("word", "text"), [("straße", "STRASSE"), ("ﬁre", "FIRE"), ("é", "e\u0301"), ("İ", "i̇"), ("ς", "Σ")]
)
def test_a_keyword_is_found_in_any_case_of_any_script(word: str, text: str) -> None:
    assert reason(deny_keyword(word), call(p=text))
    assert reason(deny_keyword(text), call(p=word))


@pytest.mark.parametrize("kind", ActionType)
def test_a_keyword_is_refused_in_every_kind_of_action(kind: ActionType) -> None:
    assert reason(deny_keyword("secret"), Action(type=kind, parameters={"key": "k", "value": "Secret"}))


def test_a_keyword_does_not_get_into_the_state_as_an_effect() -> None:
    assert reason(deny_keyword("secret"), Action(tool="t", expected_effects={"k": ["a secret"]}))
    assert reason(deny_keyword("secret"), Action(tool="t", expected_effects={"secret": 1}))


def test_a_keyword_of_digits_is_found_in_numbers() -> None:
    assert reason(deny_keyword("4111"), call(card=41110000))


def test_other_words_are_let_through() -> None:
    assert reason(deny_keyword("DROP TABLE"), call(q="SELECT * FROM tables_dropped", n=None)) is None


@given(word=texts.filter(lambda text: folded(text).strip()), before=texts, after=texts)
def test_whatever_the_keyword_and_whatever_is_around_it_it_is_found(word: str, before: str, after: str) -> None:
    check = deny_keyword(word)

    assert check(Action(parameters={"p": before + word + after}), None)  # type: ignore[arg-type]


@given(value=json_values)
def test_no_json_value_upsets_a_rule(value) -> None:
    action = Action(tool="t", parameters={"p": value})
    checks = [
        deny_keyword("\U0001f697 not in there"),
        deny_tool_param("t", "p", contains="\U0001f697 not in there"),
        deny_tool_param("t", "p", equals="\U0001f697 not in there"),
        deny_tool_param_matching("t", "p", "\U0001f697 not in there"),
        allow_tool_param("t", "p", [value]),
    ]

    assert [reason(check, action) for check in checks] == [None] * len(checks)


# allow_tool_param


@pytest.mark.parametrize("value", ["imessage", 1, None, ["a", "b"], {"x": 1}])
def test_a_listed_value_is_allowed(value) -> None:
    assert (
        reason(allow_tool_param("send", "to", ["imessage", 1, None, ["a", "b"], {"x": 1}]), call("send", to=value))
        is None
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"To": "ok"},
        {"to ": "ok"},
        {"to": ""},
        {"to": "OK"},
        {"to": "ok "},
        {"to": " ok"},
        {"to": "ok\n"},
        {"to": "ok\x00"},
        {"to": "ｏｋ"},
        {"to": "o\u200bk"},
        {"to": "ok,evil"},
        {"to": ["ok"]},
        {"to": ["ok", "evil"]},
        {"to": {"ok": "evil"}},
        {"to": None},
        {"to": True},
        {"to": 1.0},
        {"to": "1"},
        {"to": [1]},
        {"to": float("nan")},
    ],
)
def test_everything_else_is_refused(parameters) -> None:
    assert reason(allow_tool_param("send", "to", ["ok", 1]), Action(tool="send", parameters=parameters))


def test_an_empty_list_refuses_every_call_of_its_tool_and_of_no_other() -> None:
    check = allow_tool_param("send", "to", [])

    assert reason(check, call("send", to="x"))
    assert reason(check, call("send"))
    assert reason(check, call("other")) is None


def test_two_lists_must_both_allow() -> None:
    engine = PolicyEngine()
    engine.register("a", allow_tool_param("send", "to", ["x", "y"]))
    engine.register("b", allow_tool_param("send", "to", ["y", "z"]))

    assert not engine.check(call("send", to="y"), StateStore())
    assert engine.check(call("send", to="x"), StateStore())


# deny_tool_param_matching


@pytest.mark.parametrize(
    "value",
    [
        "sk-" + "a" * 20,
        "the key is sk-" + "A1" * 12 + ", use it",
        "line one\nsk-" + "b" * 20,
        "sk-" + "a" * 10 + "\u200b" + "a" * 10,
        "ｓｋ－" + "ａ" * 20,
        ["x", "sk-" + "a" * 20],
        {"headers": {"auth": "Bearer sk-" + "a" * 30}},
        {"sk-" + "a" * 20: 1},
    ],
    ids=ascii,
)
def test_an_expression_is_found_anywhere_in_the_parameter(value) -> None:
    assert reason(deny_tool_param_matching("http", "body", "sk-[A-Za-z0-9]{20,}"), call("http", body=value))


@pytest.mark.parametrize(
    "action",
    [
        call("http", body="sk-short"),
        call("http"),
        call("http", other="sk-" + "a" * 20),
        call("x", body="sk-" + "a" * 20),
    ],
)
def test_what_does_not_match_or_is_not_there_is_let_through(action: Action) -> None:
    assert reason(deny_tool_param_matching("http", "body", "sk-[A-Za-z0-9]{20,}"), action) is None


def test_anchors_mean_the_whole_value() -> None:
    check = deny_tool_param_matching("t", "p", "^x$")

    assert reason(check, call("t", p="x"))
    assert reason(check, call("t", p="xx")) is None


def test_numbers_are_matched_as_they_are_written() -> None:
    assert reason(deny_tool_param_matching("pay", "amount", r"^\d{4,}"), call("pay", amount=10_000))


@pytest.mark.parametrize("pattern", ["(", "[", "*", "(?P<x", "a{2,1}", "\\", "(?<=a+)b", "(?i", "x" + "(" * 5_000])
def test_an_expression_that_does_not_compile_denies_the_tool(pattern: str) -> None:
    check = deny_tool_param_matching("http", "body", pattern)

    assert "does not compile" in (reason(check, call("http")) or "")
    assert reason(check, call("http", body="x"))
    assert reason(check, call("other", body="x")) is None
    assert "does not compile" in check.problem  # type: ignore[attr-defined]


# require_state


@pytest.mark.parametrize("value", [None, False, 0, "", "x", 1, True, [], {"a": [1]}])
def test_the_required_value_lets_everything_through(value) -> None:
    assert reason(require_state("k", value), call(), StateStore({"k": value})) is None


@pytest.mark.parametrize("found", [1, "true", False, None, [True], 1.0, "yes"])
def test_another_value_refuses_even_if_it_is_as_good_as_true(found) -> None:
    assert reason(require_state("passed", True), call(), StateStore({"passed": found}))


def test_a_key_that_is_not_there_is_not_null() -> None:
    assert reason(require_state("k", None), call(), StateStore())


def test_an_agent_does_not_help_itself_to_the_required_state() -> None:
    write = Action(type=ActionType.STATE_WRITE, parameters={"key": "passed", "value": True})

    assert reason(require_state("passed", True), write, StateStore())


def test_a_layer_over_the_state_is_read_as_it_is_seen() -> None:
    layer = OverlayState(StateStore({"k": 1}), "a")
    layer.delete("k", actor="a")

    assert reason(require_state("k", 1), call(), layer)


# All of them


TELLING = [
    (deny_tool("t"), call("t", p=SECRET)),
    (deny_tool_param("t", "p"), call("t", p=SECRET)),
    (deny_tool_param("t", "p", equals=SECRET), call("t", p=SECRET)),
    (deny_tool_param("t", "p", contains=SECRET), call("t", p=[SECRET])),
    (allow_tool_param("t", "p", ["other"]), call("t", p=SECRET)),
    (allow_tool_param("t", "p", [SECRET]), call("t", p="other")),
    (deny_keyword(SECRET), call("t", p=SECRET)),
    (deny_keyword("canary"), call("t", **{SECRET: SECRET})),
    (deny_keyword("canary"), Action(expected_effects={SECRET: SECRET})),
    (deny_tool_param_matching("t", "p", "hunter2.*"), call("t", p=SECRET)),
    (require_state("k", SECRET), call("t", p=1)),
    (require_state("k", 1), call("t", p=1)),
    (deny_tool("t"), call("t", p={SECRET: float("nan")})),
    (deny_tool("x"), Action(tool="t", parameters={"p": {SECRET: object(), 5: SECRET}})),
]


@pytest.mark.parametrize(("check", "action"), TELLING, ids=[str(place) for place in range(len(TELLING))])
def test_no_text_repeats_the_value(check, action: Action) -> None:
    said = reason(check, action, StateStore({"k": SECRET[::-1]}))

    assert said
    assert SECRET not in said
    assert SECRET[::-1] not in said


NOT_MEANT = [
    (lambda: deny_tool(""), "tool"),
    (lambda: deny_tool(" "), "tool"),
    (lambda: deny_tool(None), "tool"),
    (lambda: deny_tool(["a"]), "tool"),
    (lambda: deny_tool_param("t", ""), "param"),
    (lambda: deny_tool_param("t", "p", equals=float("nan")), "equals"),
    (lambda: deny_tool_param("t", "p", equals=object()), "equals"),
    (lambda: deny_tool_param("t", "p", contains=""), "contains"),
    (lambda: deny_tool_param("t", "p", contains="\u200b"), "contains"),
    (lambda: deny_tool_param("t", "p", contains=" \t"), "contains"),
    (lambda: deny_tool_param("t", "p", contains=None), "contains"),
    (lambda: deny_tool_param("t", "p", contains=["a"]), "contains"),
    (lambda: allow_tool_param("t", "p", "abc"), "allow"),
    (lambda: allow_tool_param("t", "p", {"a": 1}), "allow"),
    (lambda: allow_tool_param("t", "p", None), "allow"),
    (lambda: allow_tool_param("t", "p", [object()]), "allow"),
    (lambda: deny_keyword(""), "word"),
    (lambda: deny_keyword(" "), "word"),
    (lambda: deny_keyword(5), "word"),
    (lambda: deny_tool_param_matching("t", "p", None), "matches"),
    (lambda: require_state("", 1), "key"),
    (lambda: require_state("k", {1, 2}), "value"),
]


@pytest.mark.parametrize(("make", "names"), NOT_MEANT, ids=[str(place) for place in range(len(NOT_MEANT))])
def test_a_rule_that_can_not_be_meant_is_refused_by_argument(make, names: str) -> None:
    with pytest.raises(ValueError, match=rf"^{names}\b"):
        make()


# Folding


@given(text=texts)
def test_what_is_plain_already_stays_as_it_is(text: str) -> None:
    assert plain(plain(text)) == plain(text)


def test_every_format_character_of_unicode_is_invisible() -> None:
    kept = [f"{code:x}" for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf" and plain(chr(code))]

    assert kept == []


def test_every_white_space_is_a_blank() -> None:
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]

    assert {plain(f"a{space}b") for space in spaces} == {"a b"}
    assert all(re.fullmatch(r"\s", space) for space in spaces)


def test_a_large_value_is_searched_in_no_time_that_matters() -> None:
    action = call(command=["ä " * 100_000] * 5)

    assert reason(deny_keyword("not in there"), action) is None
