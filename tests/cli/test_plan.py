"""``carpool plan``: what a run may start and spend, before anything runs."""

import pytest

from carpool import BudgetLimits, Plan, TokenAccounting
from carpool.cli.plan import verdict

FILES = ("plan", "--task", "What about cats?", "--items", "*.md")
ESTIMATE = ("--estimate", "2k input tokens, 500 output tokens, $0.01")


def test_a_plan_says_how_many_agents_and_what_they_spend_at_worst(typed) -> None:
    ended = typed(*FILES, *ESTIMATE, "--retries", "1", "--budget", "100k tokens, 40 agents")

    assert ended.code == 0
    assert ended.err == ""
    assert ended.out == (
        "plan    map-reduce over 3 items; nothing is read or started\n"
        "starts  4 at least · 8 at most\n"
        "spend   at most 16,000 in · 4,000 out · $0.08\n"
        "budget  100,000 tokens, 40 agents\n"
        "fits    yes, at worst\n"
    )


def test_without_estimates_it_says_for_whom(typed) -> None:
    ended = typed(*FILES, "--budget", "10k tokens")

    assert ended.code == 0
    assert "spend   not known: no estimate for mapper, reducer; give --estimate\n" in ended.out
    assert "fits    can't be said: no estimate for mapper, reducer\n" in ended.out


def test_a_plan_that_does_not_fit_has_an_exit_code_of_its_own(typed) -> None:
    ended = typed(*FILES, *ESTIMATE, "--budget", "3 agents, $0.03")

    assert ended.code == 4
    assert "fits    not at worst: 4 starts at least, of 3; $0.04 at most, of $0.03\n" in ended.out


def test_no_file_is_read_and_no_agent_started(typed, folder) -> None:
    for name in ("one", "two", "three"):
        (folder / f"{name}.md").write_bytes(b"\0")

    assert typed(*FILES, "--runner", "crew:fails").code == 0


@pytest.mark.parametrize(
    ("flags", "starts"),
    [
        (["--pattern", "swarm", "--mode", "debate", "--rounds", "3", "--synthesizer", "s"], "4 at least · 10 at most"),
        (["--pattern", "pipeline"], "3 at least · 3 at most"),
        (["--pattern", "vote", "--max-concurrent", "1"], "2 at least · 3 at most"),
    ],
)
def test_each_pattern_can_be_planned(typed, flags: list[str], starts: str) -> None:
    team = ("--agent", "a", "--agent", "b", "--agent", "c")

    assert f"starts  {starts}\n" in typed("plan", "--task", "x", *team, *flags).out


def test_a_plan_as_json(typed) -> None:
    (line,) = typed(*FILES, *ESTIMATE, "--budget", "3 agents", "--json").lines

    assert (line["kind"], line["fits"], line["reasons"]) == ("plan", False, ["4 starts at least, of 3"])
    assert (line["agents_min"], line["agents_max"], line["spend"]["input_tokens"]) == (4, 4, 8_000)
    assert line["budget"]["max_agents"] == 3


SPEND = TokenAccounting(input_tokens=100, output_tokens=50, cost_usd=1.0)


@pytest.mark.parametrize(
    ("planned", "budget", "fits", "reasons"),
    [
        (Plan(agents_max=9), "", True, []),
        (Plan(agents_max=9), "9 agents", True, []),
        (Plan(agents_max=9), "8 agents", False, ["9 starts at most, of 8"]),
        (Plan(agents_min=9, agents_max=20), "8 agents", False, ["9 starts at least, of 8"]),
        (Plan(agents_max=None), "8 agents", None, ["the number of agents has no bound"]),
        (Plan(agents_min=9, agents_max=None), "8 agents", False, ["9 starts at least, of 8"]),
        (Plan(spend=SPEND), "150 tokens, 100 input tokens, 50 output tokens, $1", True, []),
        (Plan(spend=SPEND), "149 tokens", False, ["150 tokens at most, of 149"]),
        (Plan(spend=SPEND), "99 input tokens", False, ["100 input tokens at most, of 99"]),
        (Plan(spend=SPEND), "49 output tokens", False, ["50 output tokens at most, of 49"]),
        (Plan(spend=SPEND), "$0.99", False, ["$1.00 at most, of $0.99"]),
        (Plan(unestimated=["a", "b"]), "$1", None, ["no estimate for a, b"]),
        (Plan(unestimated=["a"], agents_max=1), "1 agent, 1m", True, []),
        (Plan(agents_max=None, unestimated=["a"]), "1k tokens", None, ["no estimate for a"]),
    ],
)
def test_the_verdict(planned: Plan, budget: str, fits: bool | None, reasons: list[str]) -> None:
    assert verdict(planned, BudgetLimits.parse(budget) if budget else BudgetLimits()) == (fits, reasons)
