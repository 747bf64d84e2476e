"""What both commands are told on the command line: one set of flags, read into values where they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token

from ..quantities import parse_limits
from ..types import BudgetLimits, TokenAccounting

__all__ = ["AddBudget", "Budget", "Estimate", "Flags"]

PatternName = Literal[
    "map-reduce",
    "swarm",
    "pipeline",
    "vote",
    "supervisor",
    "delegator",
    "spawn-subtask",
    "tournament",
    "adversarial-review",
    "advisor",
    "fleet",
]


def _budget(_: Any, tokens: Sequence[Token]) -> BudgetLimits:
    return BudgetLimits.parse(tokens[0].value)


def _estimate(_: Any, tokens: Sequence[Token]) -> TokenAccounting | None:
    from ..teams.amounts import estimate_of  # as in a team file

    return estimate_of(tokens[0].value)


def _duration(_: Any, tokens: Sequence[Token]) -> float:
    text = tokens[0].value.strip()
    try:
        amount = float(text) if text.replace(".", "", 1).isdigit() else parse_limits(text)["max_seconds"]
    except (ValueError, KeyError):
        raise ValueError(f"can't read {text!r}; write for example 30s, 2m or 1h30m") from None
    if not amount > 0:
        raise ValueError(f"must be more than nothing, not {text!r}")
    return float(amount)


def _at_least(least: int) -> Callable[[Any, Sequence[Token]], int]:
    def whole_number(_: Any, tokens: Sequence[Token]) -> int:
        text = tokens[0].value
        number = int(text) if text.removeprefix("-").isdecimal() else None
        if number is None or number < least:
            raise ValueError(f"must be a whole number, {least} or more, not {text!r}")
        return number

    return whole_number


_WHAT = Group("What to do", sort_key=1)
_WHO = Group("Who does it", sort_key=2)
_LIMITS = Group("How much of it", sort_key=3)
_OUTPUT = Group("What is printed", sort_key=4)


def _one(read: Callable[[Any, Sequence[Token]], Any], metavar: str, group: Group, about: str) -> Parameter:
    """One value, read by ``read``, whose :class:`ValueError` becomes the message."""
    return Parameter(
        converter=read,
        n_tokens=1,
        accepts_keys=False,
        allow_leading_hyphen=True,  # "-5 tokens" is a bad amount, and no option
        metavar=metavar,
        group=group,
        help=about,
    )


Budget = Annotated[
    BudgetLimits | None,
    _one(_budget, "LIMITS", _LIMITS, "Limits for all agents together: '200k tokens, $2.50, 40 agents, 10m'."),
]
Estimate = Annotated[
    TokenAccounting | None,
    _one(
        _estimate,
        "AMOUNT",
        _LIMITS,
        "The most that one start should spend: '2k input tokens, 500 output tokens, $0.01'. It is held while "
        "an agent runs; true estimates keep a limit from ever being crossed.",
    ),
]
AddBudget = Annotated[
    BudgetLimits | None,
    _one(
        _budget, "LIMITS", _LIMITS, "So much more than before: '50k tokens, $1'. A limit that was not set stays unset."
    ),
]
"""For ``carpool resume``."""


@Parameter(name="*", show_default=False, negative="")
@dataclass(frozen=True, kw_only=True)
class Flags:
    """Each as it was given; ``None`` or empty where it was not."""

    pattern: Annotated[
        PatternName | None,
        Parameter(
            metavar="NAME",
            show_choices=False,
            group=_WHAT,
            help="map-reduce (the default): one agent for each item, then one for all answers. "
            "swarm: all agents on one task. pipeline: each agent works on the answer before it. "
            "vote: the answer that most agents give. supervisor: until the agent of that name approves. tournament: "
            "the agent called judge compares answers. adversarial-review: the reviewer checks the task by each "
            "--criterion. delegator: main may ask the others. spawn-subtask: main makes up its own helpers. advisor: "
            "the executor may ask the advisor. fleet: each agent does what its prompt says.",
        ),
    ] = None
    task: Annotated[str | None, Parameter(metavar="TEXT", group=_WHAT, help="What the agents are asked.")] = None
    items: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="PATH...",
            consume_multiple=True,
            json_list=False,
            group=_WHAT,
            help="Files, folders and globs like 'docs/**/*.md'; each file is an item of the map-reduce. "
            "With - every line of standard input is one. May be repeated.",
        ),
    ] = ()

    runner: Annotated[
        str | None,
        Parameter(
            metavar="NAME",
            group=_WHO,
            help="extractive (the default): picks the best sentences, offline, free; no language model. "
            "Or module:attribute, a runner of your own, looked for in this folder too.",
        ),
    ] = None
    model: Annotated[
        str | None,
        Parameter(
            metavar="PROVIDER:NAME",
            group=_WHO,
            help="Agents are calls of this language model: openai:…, openai-responses:…, anthropic:…. The key is "
            "OPENAI_API_KEY or ANTHROPIC_API_KEY.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            group=_WHO,
            help="--model: where a server is that speaks the provider's protocol.",
        ),
    ] = None
    command: Annotated[
        str | None,
        Parameter(
            metavar="COMMAND",
            group=_WHO,
            help="Agents are starts of this command: the task on its standard input, the answer on its standard "
            "output. No shell reads it.",
        ),
    ] = None
    record: Annotated[
        str | None,
        Parameter(
            metavar="FILE", group=_WHO, help="Keep every call of an agent in this cassette, and repeat those in it."
        ),
    ] = None
    replay: Annotated[
        str | None,
        Parameter(metavar="FILE", group=_WHO, help="Repeat the calls in this cassette; nothing is asked of anybody."),
    ] = None
    agent: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="NAME[=PROMPT]",
            json_list=False,
            group=_WHO,
            help="An agent, and its system prompt; repeat it for each. In map-reduce only mapper and reducer "
            "have prompts to set.",
        ),
    ] = ()
    synthesizer: Annotated[
        str | None,
        Parameter(metavar="NAME[=PROMPT]", group=_WHO, help="swarm, vote: who makes one answer of all in the end."),
    ] = None
    mode: Annotated[
        Literal["parallel", "sequential", "debate"] | None,
        Parameter(
            metavar="NAME",
            show_choices=False,
            group=_WHO,
            help="swarm: parallel (the default); sequential, each shown the answers before it; or debate, in rounds.",
        ),
    ] = None
    rounds: Annotated[
        int | None, _one(_at_least(1), "N", _WHO, "swarm in debate (2), supervisor (3): rounds at most.")
    ] = None
    criterion: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="TEXT",
            json_list=False,
            group=_WHO,
            help="adversarial-review: what the work is judged by; repeat it for each.",
        ),
    ] = ()
    max_uses: Annotated[
        int | None, _one(_at_least(1), "N", _WHO, "advisor: how often the executor may ask at most (3).")
    ] = None
    quorum: Annotated[
        int | None, _one(_at_least(1), "N", _WHO, "vote: with fewer votes than this there is no winner.")
    ] = None
    fan_in: Annotated[
        int | None, _one(_at_least(2), "N", _WHO, "map-reduce: answers that one reducer takes; the rest in groups.")
    ] = None
    reduce_chars: Annotated[
        int | None, _one(_at_least(2), "N", _WHO, "map-reduce: characters that one reducer takes.")
    ] = None

    budget: Budget = None
    estimate: Estimate = None
    max_concurrent: Annotated[
        int | None, _one(_at_least(1), "N", _LIMITS, "Agents at work at a time (map-reduce: 5; else all).")
    ] = None
    timeout: Annotated[float | None, _one(_duration, "TIME", _LIMITS, "Time for one start of an agent: 30s, 2m.")] = (
        None
    )
    retries: Annotated[
        int | None,
        _one(_at_least(0), "N", _LIMITS, "Further starts of an agent that fails (0)."),
    ] = None

    json: Annotated[
        bool, Parameter(group=_OUTPUT, help="JSON lines on stdout: every event, and the result as the last line.")
    ] = False
    lines: Annotated[
        bool, Parameter(group=_OUTPUT, help="On a terminal too, a line for each event instead of a live view.")
    ] = False
    quiet: Annotated[bool, Parameter(group=_OUTPUT, help="Only the answer; with --json only the result.")] = False
