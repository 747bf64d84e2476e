"""What a model's tokens cost: prices of your own, else those of the extra package genai-prices; else unknown.

Nothing is fetched: genai-prices brings its prices along, as they stood when it was released.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..types import TokenAccounting

__all__ = ["ModelPrice", "Prices"]

_PICO = 1_000_000_000_000
_SECONDS_FRESH = 900  # some prices depend on the time of day; all of these begin at a quarter of an hour
_PROVIDERS = {"openai-chat": "openai", "openai-responses": "openai"}


class ModelPrice(Struct, frozen=True):
    """US dollars per million tokens. What is read from or written to a cache costs as much as other input, where no
    price of its own is given.

    ``above`` has the prices of long requests, as ``(tokens, price)``: more input than so many tokens, and *all* of the
    request is at that price, as OpenAI, Anthropic and Google have it.

    :raises ValueError: for a price that is negative or no number.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    above: tuple[tuple[int, ModelPrice], ...] = ()

    def __post_init__(self) -> None:
        for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e9:
                raise ValueError(f"{name} must be dollars per million tokens, 0 or more, not {value!r}")

    def cost(self, tokens: TokenAccounting, cache_write_1h_tokens: int = 0) -> float:
        """US dollars for ``tokens``; of its ``cache_write_tokens`` so many are kept for an hour."""
        price = self.at(tokens.input_tokens)
        read, written = tokens.cache_read_tokens, tokens.cache_write_tokens
        plain = max(tokens.input_tokens - read - written, 0)
        long = min(cache_write_1h_tokens, written)
        write_price = price.input if price.cache_write is None else price.cache_write
        long_price = write_price if price.cache_write_1h is None else price.cache_write_1h
        picos = (  # in whole numbers: a sum of floats would drift
            plain * _picos(price.input)
            + read * _picos(price.input if price.cache_read is None else price.cache_read)
            + (written - long) * _picos(write_price)
            + long * _picos(long_price)
            + tokens.output_tokens * _picos(price.output)
        )
        return picos / _PICO

    def costed(self, tokens: TokenAccounting, cache_write_1h_tokens: int = 0) -> TokenAccounting:
        """``tokens`` with what they cost."""
        return replace(tokens, cost_usd=self.cost(tokens, cache_write_1h_tokens))

    def at(self, input_tokens: int) -> ModelPrice:
        """The price of a request with so much input."""
        price = self
        for tokens, higher in self.above:
            if input_tokens > tokens:
                price = higher
        return price

    def most_for_input(self, writes_cache: bool) -> float:
        """Dollars per million tokens of input at most."""
        if not writes_cache:
            return self.input
        return max(self.input, self.cache_write or 0.0, self.cache_write_1h or 0.0)


class Prices:
    """``overrides`` go first: by ``"provider:name"``, or ``"provider:*"`` for all of a provider's models. A model that
    runs at home costs ``ModelPrice(0, 0)``; it is not free of itself, because unknown is not zero."""

    def __init__(self, overrides: Mapping[str, ModelPrice] | None = None) -> None:
        self.overrides = dict(overrides or {})
        self._found: dict[tuple[str, str | None], tuple[float, ModelPrice | None]] = {}

    def of(self, model: str, base_url: str | None, now: datetime) -> ModelPrice | None:
        """The price of ``"provider:name"`` at the time ``now``; ``None`` where nobody knows it.

        With a ``base_url`` it is the price of whoever is known to serve there, never that of the provider whose
        protocol is spoken: a model at home that is called like one of theirs does not cost the same.
        """
        provider, _, name = model.partition(":")
        own = self.overrides.get(model) or self.overrides.get(f"{provider}:*")
        if own is not None:
            return own
        age, price = self._found.get((model, base_url), (-1.0, None))
        quarter = now.timestamp() // _SECONDS_FRESH
        if age != quarter:
            price = _looked_up(_PROVIDERS.get(provider, provider), name, base_url, now)
            self._found[model, base_url] = quarter, price
        return price


def _looked_up(provider: str, name: str, base_url: str | None, now: datetime) -> ModelPrice | None:
    from genai_prices import Usage, calc_price

    place: dict[str, Any] = {"provider_id": provider} if base_url is None else {"provider_api_url": base_url}
    try:
        found = calc_price(Usage(input_tokens=1, output_tokens=1), name, genai_request_timestamp=now, **place)
    except (LookupError, ValueError):
        return None
    return _price_of(found.model_price)


def _price_of(price: Any) -> ModelPrice | None:
    """A price of genai-prices as one of ours; ``None`` where it lacks input or output, which are not free then."""
    values = {ours: getattr(price, theirs) for ours, theirs in _KEYS.items()}
    if values["input"] is None or values["output"] is None:
        return None
    starts = sorted({tier.start for value in values.values() for tier in getattr(value, "tiers", ())})
    above = tuple((start, _at_tier(values, start, ())) for start in starts)
    return _at_tier(values, -1, above)


def _at_tier(values: Mapping[str, Any], start: int, above: tuple[tuple[int, ModelPrice], ...]) -> ModelPrice:
    """The prices that hold above ``start`` tokens."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        base = getattr(value, "base", value)
        for tier in getattr(value, "tiers", ()):
            if tier.start <= start:
                base = tier.price
        found[name] = None if base is None else float(base)
    return ModelPrice(**found, above=above)


def _picos(dollars_per_million: float) -> int:
    """Pico-dollars per token: exact for prices with up to six decimals."""
    return round(dollars_per_million * 1_000_000)


_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
