"""Whole files with every table, and the same with one thing in them changed."""

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

EVERYTHING: dict[str, Any] = {
    "$schema": "team.schema.json",
    "task": "x",
    "budget": {"max_agents": 5, "max_cost_usd": 0.5},
    "runner": {
        "model": {
            "model": "openai:x",
            "base_url": {"openai": "http://x"},
            "api_key_env": "KEY",
            "settings": {"temperature": 0.5},
            "prices": {"x": {"input": 1, "output": 2.5, "above": [{"tokens": 5, "price": {"input": 1, "output": 2}}]}},
            "rate_limits_by": {"openai": {"in_flight": 5}},
        }
    },
    "agents": {
        "ann": {"system_prompt": "x", "estimate": "5 input tokens", "tools": ["ls"], "metadata": {"a": [1, None]}},
        "team": {"pattern": "swarm", "agents": ["ann"], "workspaces": {"directory": {"base": "x"}}},
        "fleet": {"pattern": "fleet", "agents": [{"agent": "ann", "mission": "x"}]},
        "map": {
            "pattern": "map_reduce",
            "mapper": "ann",
            "reducer": "ann",
            "items": ["a", {"text": "b", "label": "c"}],
        },
        "delegator": {"pattern": "delegator", "main": "ann", "specialists": {"bob": "ann"}},
    },
    "team": {
        "pattern": "vote",
        "agents": ["ann", {"name": "bob", "system_prompt": "y"}, {"pattern": "pipeline", "stages": ["ann"]}],
    },
    "tools": {
        "functions": ["m:f", {"function": "m:g", "tier": "read_only"}],
        "commands": {"ls": {"argv": ["ls"], "parameters": {"type": "object"}, "success_codes": [0, 1]}},
        "mcp": {"files": {"command": "npx", "args": ["x"]}, "web": {"url": "http://x", "only": ["a"]}},
    },
    "policies": {
        "deny_tool": ["a", {"tool": "b", "name": "c"}],
        "deny_tool_param": [{"tool": "a", "param": "b", "equals": None}, {"tool": "a", "param": "b", "contains": 5}],
        "allow_tool_param": [{"tool": "a", "param": "b", "allow": [1, "a"]}],
        "rate_limit_tool": [{"tool": "a", "max_calls": 1, "interval_secs": 1.5}],
        "require_state": [{"key": "a", "value": {"b": 1}}],
    },
    "granted_tier": "read_only",
}
COMMAND = {
    "command": {
        "argv": ["x", ["--model", "{model}"], "{task}"],
        "output": {"json_lines": {"answer": "a", "where": {"b": 1}, "usage": {"cost_usd": 0.5, "input_tokens": ["a"]}}},
    }
}

VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 2.0, 1.5, "", "x", "vote", "agent", [], ["x"], [1], {}, {"x": 1}]
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    if isinstance(value, list):
        inside = list(enumerate(value))
    return [place, *(each for key, inner in inside for each in places(inner, (*place, key)))]


@st.composite
def spoilt(draw: Any) -> Any:
    """A whole file with one thing in it changed: a value, a key that is gone, a key too many."""
    document = deepcopy(EVERYTHING | ({"runner": COMMAND} if draw(st.booleans()) else {}))
    *way, last = draw(st.sampled_from(places(document)[1:]))
    around: Any = document
    for each in way:
        around = around[each]
    change = draw(st.sampled_from(["value", "gone", "new"]))
    if change == "value":
        around[last] = draw(VALUES)
    elif change == "gone":
        del around[last]
    elif isinstance(around, dict):
        around[draw(st.sampled_from(["pattern", "name", "budget", "agents", "x", ""]))] = draw(VALUES)
    else:
        around.append(draw(VALUES))
    return document
