"""Each tier includes the ones before it, and what is no tier grants nothing."""

import itertools

import pytest

from carpool.policy import TIERS, lower_tier, tier_allows

PAIRS = list(itertools.product(TIERS, TIERS))


def test_the_order_of_the_tiers() -> None:
    assert TIERS == ("read_only", "sandbox_edit", "full_access")


@pytest.mark.parametrize(("granted", "needed"), PAIRS)
def test_a_tier_allows_itself_and_what_is_below(granted, needed) -> None:
    assert tier_allows(granted, needed) == (TIERS.index(needed) <= TIERS.index(granted))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_child_never_has_more_than_its_parent(one, other) -> None:
    lower = lower_tier(one, other)

    assert lower in (one, other)
    assert tier_allows(one, lower)
    assert tier_allows(other, lower)


@pytest.mark.parametrize("tier", ["", "FULL_ACCESS", "full_access ", "root", "full", None, 2, True, []])
def test_what_is_no_tier_is_an_error_on_either_side(tier) -> None:
    for ask in (lambda: tier_allows(tier, "read_only"), lambda: tier_allows("full_access", tier)):
        with pytest.raises(ValueError, match="a tier is one of read_only, sandbox_edit, full_access"):
            ask()
    with pytest.raises(ValueError, match="a tier is one of"):
        lower_tier("read_only", tier)
