"""Who takes part, and under which name."""

import pytest

from carpool import Pipeline, Swarm, Vote
from carpool.patterns.members import members_of, renamed

from ..scenes import spec, specs


def test_specs_stay_what_they_are() -> None:
    given = specs("ab")

    assert members_of("vote", given) == given


def test_unnamed_patterns_of_a_kind_are_numbered_in_order() -> None:
    given = [Pipeline(specs("a")), spec("x"), Pipeline(specs("a")), Swarm(specs("a"))]

    assert [member.name for member in members_of("vote", given)] == ["pipeline_1", "x", "pipeline_2", "swarm"]


def test_a_named_pattern_beside_an_unnamed_one_of_its_kind() -> None:
    given = [Pipeline(specs("a"), name="draft"), Pipeline(specs("a"))]

    assert [member.name for member in members_of("vote", given)] == ["draft", "pipeline"]


def test_an_error_names_the_pattern_and_the_double() -> None:
    with pytest.raises(ValueError, match=r"vote: 3 members are called 'a'"):
        members_of("vote", specs("aaab"))


def test_a_spec_that_is_renamed_keeps_its_role() -> None:
    once = renamed(spec("mapper"), "mapper_3")
    twice = renamed(once, "mapper_3_1")

    assert (once.name, once.role) == ("mapper_3", "mapper")
    assert (twice.name, twice.role) == ("mapper_3_1", "mapper")


def test_a_pattern_that_is_renamed_keeps_its_role() -> None:
    again = renamed(Pipeline(specs("a"), name="draft"), "draft_2")

    assert (again.name, again.role) == ("draft_2", "draft")


def test_a_pattern_can_be_a_finalizer() -> None:
    pattern = Vote(specs("ab"), Pipeline(specs("ab")))

    assert pattern.synthesizer.name == "pipeline"
