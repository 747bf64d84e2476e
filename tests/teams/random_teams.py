"""Teams at random, of all patterns, with all options, in one another."""

from typing import Any

from hypothesis import strategies as st

from carpool import (
    AdversarialReview,
    Advisor,
    AgentSpec,
    BudgetLimits,
    Delegator,
    Fleet,
    Item,
    MapReduce,
    Pattern,
    Pipeline,
    SpawnSubtask,
    Supervisor,
    Swarm,
    TokenAccounting,
    Tournament,
    Vote,
)

NAMES = st.sampled_from(["ann", "bob", "cy", "no", "012", "a b", "1e3", "vote", "vote_1", "x.y", "é", "~"])
TEXTS = st.sampled_from(
    ["", "Be brief.", "no", "1:30", "a\nb\n", "  two\n\n lines ", "ü: {x} # y", "12", "null", "'\"\\"]
)
COUNTS = st.integers(1, 9) | st.none()
AMOUNTS = st.floats(0, 1e6, allow_nan=False)
FLAGS = st.booleans()


def optional(strategy: Any) -> Any:
    return st.none() | strategy


LIMITS = optional(
    st.builds(
        BudgetLimits,
        max_input_tokens=COUNTS,
        max_total_tokens=COUNTS,
        max_cost_usd=optional(AMOUNTS),
        max_agents=COUNTS,
        max_seconds=optional(AMOUNTS),
        max_depth=COUNTS,
        unpriced=st.sampled_from(["refuse", "allow"]),
    )
)
ESTIMATES = optional(
    st.builds(
        TokenAccounting,
        input_tokens=st.integers(0, 10**6),
        output_tokens=st.integers(0, 10**6),
        cost_usd=AMOUNTS,
        priced=FLAGS,
    )
)
METADATA = st.dictionaries(
    TEXTS, st.recursive(TEXTS | st.integers() | FLAGS, lambda each: st.lists(each, max_size=2)), max_size=2
)


def specs(tools: Any = None) -> Any:
    return st.builds(
        AgentSpec,
        NAMES,
        TEXTS,
        tools=st.lists(NAMES, max_size=2) if tools is None else tools,
        max_turns=st.integers(1, 20),
        metadata=METADATA,
        cache_control=FLAGS,
        model=optional(TEXTS),
        timeout_s=optional(st.floats(0.1, 1e6)),
        retries=st.integers(0, 3),
        estimate=ESTIMATES,
        budget=LIMITS,
        role=optional(TEXTS),
    )


COMMON = {"name": optional(NAMES), "budget": LIMITS, "quote_limit": COUNTS}


def made(pattern: type[Pattern[Any]], *args: Any, **options: Any) -> Any:
    """Instances of ``pattern``; what its constructor refuses, two of one name for instance, is left out."""

    @st.composite
    def one(draw: Any) -> Pattern[Any]:
        positional = [draw(each) for each in args]
        named = {key: draw(value) for key, value in (options | COMMON).items()}
        try:
            return pattern(*positional, **named)
        except ValueError:
            from hypothesis import reject

            reject()

    return one()


def several(members: Any, least: int = 1) -> Any:
    return st.lists(members, min_size=least, max_size=3, unique_by=lambda each: (type(each), each.name))


def patterns_of(members: Any) -> Any:
    """Patterns whose members are ``members``."""
    items = optional(st.lists(TEXTS | st.builds(Item, text=TEXTS, label=TEXTS), max_size=3))
    map_reduces = st.builds(
        lambda pattern, given: pattern if given is None else pattern.over(items=given),
        made(
            MapReduce,
            members,
            members,
            max_concurrent=st.integers(1, 9),
            fan_in=optional(st.integers(2, 9)),
            reduce_chars=optional(st.integers(2, 9)),
            reserve_for_finalizer=optional(FLAGS),
        ),
        items,
    )
    return st.one_of(
        made(
            Swarm,
            several(members),
            mode=st.sampled_from(["parallel", "sequential", "debate"]),
            synthesizer=optional(members),
            rounds=st.integers(1, 5),
            max_concurrent=COUNTS,
            reserve_for_finalizer=optional(FLAGS),
        ),
        made(Swarm, several(specs()), isolated=FLAGS),
        made(Pipeline, several(members), on_failure=st.sampled_from(["stop", "continue"])),
        made(Supervisor, several(members), members, max_rounds=st.integers(1, 5)),
        made(Delegator, specs(), st.dictionaries(NAMES, members, min_size=1, max_size=3), max_delegations=COUNTS),
        made(
            SpawnSubtask,
            specs(),
            subagent_prompt=TEXTS,
            subagent_max_turns=st.integers(1, 20),
            max_subtasks=COUNTS,
            max_depth=st.integers(1, 3),
        ),
        map_reduces,
        made(
            Vote,
            several(members),
            synthesizer=optional(members),
            max_concurrent=COUNTS,
            quorum=optional(st.just(1)),
            stop_when_decided=FLAGS,
            reserve_for_finalizer=optional(FLAGS),
        ),
        made(Tournament, several(members), members, both_orders=FLAGS, max_concurrent=COUNTS),
        made(
            AdversarialReview,
            members,
            st.lists(st.sampled_from("abc"), min_size=1, unique=True),
            fail_on_blockers=FLAGS,
        ),
        made(Advisor, specs(st.just([])), st.integers(1, 5), optional(specs())),
        made(
            Fleet,
            several(members).flatmap(
                lambda each: st.tuples(*(st.tuples(st.just(one), TEXTS) for one in each)).map(list)
            ),
            agent_timeout_s=optional(st.floats(0.1, 1e6)),
            max_concurrent=COUNTS,
        ),
    )


MEMBERS = st.recursive(specs(), patterns_of, max_leaves=12)
TEAMS = patterns_of(MEMBERS)
