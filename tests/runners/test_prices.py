"""What tokens cost: by one's own prices, by those of genai-prices, and by nobody's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from carpool import TokenAccounting
from carpool.runners.prices import ModelPrice, Prices

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MILLION = 1_000_000


def tokens(given: int, made: int = 0, read: int = 0, written: int = 0) -> TokenAccounting:
    return TokenAccounting(input_tokens=given, output_tokens=made, cache_read_tokens=read, cache_write_tokens=written)


# One price


def test_input_and_output_have_a_price_each() -> None:
    assert ModelPrice(3, 15).cost(tokens(MILLION, 2 * MILLION)) == 33.0


def test_what_the_cache_gives_and_takes_is_counted_at_its_own_price() -> None:
    price = ModelPrice(3, 15, cache_read=0.3, cache_write=3.75, cache_write_1h=6)

    assert price.cost(tokens(1000, read=600, written=300)) == pytest.approx(
        (100 * 3 + 600 * 0.3 + 300 * 3.75) / MILLION
    )
    assert price.cost(tokens(300, written=300), cache_write_1h_tokens=100) == pytest.approx(
        (200 * 3.75 + 600) / MILLION
    )


def test_a_cache_without_a_price_of_its_own_costs_as_much_as_other_input() -> None:
    assert ModelPrice(2, 0).cost(tokens(1000, read=400, written=400)) == 0.002


def test_a_report_of_more_cached_tokens_than_input_never_lowers_the_cost() -> None:
    assert ModelPrice(2, 0).cost(tokens(100, read=100, written=100)) >= 0.0002


def test_a_long_request_is_all_at_the_higher_price() -> None:
    price = ModelPrice(1, 2, above=((200, ModelPrice(10, 20)), (400, ModelPrice(100, 200))))

    assert price.cost(tokens(200, 100)) == 0.0004
    assert price.cost(tokens(201, 100)) == pytest.approx(0.00401)
    assert price.cost(tokens(401)) == pytest.approx(0.0401)


def test_sums_are_exact_to_the_millionth_of_a_dollar_per_million_tokens() -> None:
    price = ModelPrice(0.15, 0.6)

    assert price.cost(tokens(1)) == 1.5e-7
    assert sum(int(price.cost(tokens(7, 3)) * 1e12) for _ in range(3)) == 3 * (7 * 150_000 + 3 * 600_000)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf")])
def test_a_price_that_can_not_be_meant_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="dollars per million tokens"):
        ModelPrice(1, wrong)


# Whose price


def test_ones_own_price_goes_before_all_others() -> None:
    own = ModelPrice(7, 7)
    prices = Prices({"openai:gpt-5-mini": own, "local:*": ModelPrice(0, 0)})

    assert prices.of("openai:gpt-5-mini", None, NOW) is own
    assert prices.of("openai:gpt-5-mini", "http://127.0.0.1:1/v1", NOW) is own
    assert prices.of("local:whatever", "http://127.0.0.1:1/v1", NOW) == ModelPrice(0, 0)


def test_a_model_that_nobody_knows_has_no_price() -> None:
    pytest.importorskip("genai_prices", reason="needs the extra models")
    prices = Prices()

    assert prices.of("openai:no-such-model", None, NOW) is None
    assert prices.of("no-such-provider:gpt-5-mini", None, NOW) is None
    assert prices.of("no colon", None, NOW) is None


def test_known_prices_come_from_genai_prices_for_each_protocol_of_a_provider() -> None:
    pytest.importorskip("genai_prices", reason="needs the extra models")
    prices = Prices()
    found = prices.of("openai:gpt-5-mini", None, NOW)

    assert found is not None
    assert 0 < found.input < found.output
    assert found.cache_read is not None
    assert found.cache_read < found.input
    assert prices.of("openai-responses:gpt-5-mini", None, NOW) == found
    assert prices.of("openai-chat:gpt-5-mini", None, NOW) == found


def test_it_says_what_genai_prices_says() -> None:
    genai_prices = pytest.importorskip("genai_prices", reason="needs the extra models")
    for model in ("gpt-5-mini", "gpt-4.1", "claude-haiku-4-5", "claude-sonnet-4-6", "claude-haiku-5-5"):
        provider = "anthropic" if model.startswith("claude") else "openai"
        found = Prices().of(f"{provider}:{model}", None, NOW)
        for given, made, read, written in ((1000, 500, 0, 0), (9000, 10, 4000, 2000), (250_000, 9, 200_000, 10_000)):
            usage = genai_prices.Usage(
                input_tokens=given, output_tokens=made, cache_read_tokens=read, cache_write_tokens=written
            )
            theirs = genai_prices.calc_price(usage, model, provider_id=provider, genai_request_timestamp=NOW)
            assert found is not None
            assert found.cost(tokens(given, made, read, written)) == pytest.approx(float(theirs.total_price), rel=1e-9)


def test_a_server_of_ones_own_is_not_as_dear_as_the_provider_whose_protocol_it_speaks() -> None:
    pytest.importorskip("genai_prices", reason="needs the extra models")
    prices = Prices()

    assert prices.of("openai:gpt-5-mini", "http://127.0.0.1:8000/v1", NOW) is None
    assert prices.of("openai:llama-3.3-70b-versatile", "https://api.groq.com/openai/v1", NOW) is not None


def test_a_price_is_looked_up_once_in_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    from carpool.runners import prices as module

    asked: list[str] = []

    def looked_up(provider: str, name: str, base_url: str | None, now: datetime) -> ModelPrice:
        asked.append(name)
        return ModelPrice(1, 1)

    monkeypatch.setattr(module, "_looked_up", looked_up)
    prices = Prices()
    for minutes in (0, 1, 14, 15, 29, 31):
        prices.of("openai:m", None, NOW + timedelta(minutes=minutes))

    assert len(asked) == 3
