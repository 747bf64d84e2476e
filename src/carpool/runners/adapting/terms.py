"""What holds for all model calls of a runner: prices, limits, and how often a call is tried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from weakref import WeakKeyDictionary

from ...budget import Lease
from ...budget.book import Book
from ...clock import new_id
from ...errors import ModelError
from ..model.calls_in_flight import CallsInFlight
from ..model.failures import with_wait
from ..prices import ModelPrice, Prices
from .request import Request

__all__ = ["Terms"]

_FIRST_PAUSE_S = 0.5  # doubles with every attempt
_LONGEST_PAUSE_S = 30.0


class Terms:
    """One object serves any number of agents, event loops and threads.

    - ``prices``: before those of genai-prices (``Prices``); without that package there are no others
    - ``max_output_tokens``: of one call, where the agent sets none
    - ``input_margin``: what estimates of input are multiplied by before they are reserved
    - ``retries``: further attempts at a call, after a failure that may pass
    - ``longest_retry_wait_s``: asked to wait for longer, it gives up

    :raises ValueError: for a number that can't be meant.
    """

    def __init__(
        self,
        prices: Mapping[str, ModelPrice] | None,
        *,
        max_output_tokens: int,
        input_margin: float,
        retries: int = 0,
        longest_retry_wait_s: float = 0.0,
    ) -> None:
        if max_output_tokens < 1 or not input_margin >= 1 or retries < 0:
            raise ValueError(
                "max_output_tokens must be above 0, input_margin 1 or more, retries 0 or more; not "
                f"{max_output_tokens!r}, {input_margin!r}, {retries!r}"
            )
        self._prices = Prices(prices)
        self._without_genai_prices = False
        self._max_output_tokens = max_output_tokens
        self._input_margin = input_margin
        self._retries = retries
        self._longest_retry_wait_s = longest_retry_wait_s
        self._in_flight: WeakKeyDictionary[Book, CallsInFlight] = WeakKeyDictionary()

    def request(self, model: str, base_url: str | None, most: int | None, now: datetime, *, clamps: bool) -> Request:
        """A call of ``model`` at ``base_url`` that may generate ``most``, before anything is added to it."""
        price = self._price(model, base_url, now)
        return Request(model, price, self._input_margin, most or self._max_output_tokens, clamps=clamps)

    def _price(self, model: str, base_url: str | None, now: datetime) -> ModelPrice | None:
        if self._without_genai_prices and model not in self._prices.overrides:
            return None
        try:
            return self._prices.of(model, base_url, now)
        except ImportError:
            self._without_genai_prices = True  # looking for it again would take longer than the rest
            return None

    def calls_in_flight(self, lease: Lease | None) -> CallsInFlight:
        """Those on the budget of ``lease``."""
        if lease is None:
            return CallsInFlight()
        return self._in_flight.setdefault(lease.purse.book, CallsInFlight())

    def final(self, failure: ModelError) -> ModelError:
        """``failure`` as it is told when there is no further attempt."""
        return with_wait(failure, self._longest_retry_wait_s)

    def wait_s(self, failure: ModelError, attempt: int) -> float | None:
        """Seconds until the next attempt; ``None`` when there is to be none."""
        asked = failure.retry_after_s or 0.0
        if failure.kind != "transient" or attempt > self._retries or asked > self._longest_retry_wait_s:
            return None
        pause = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
        return max(asked, pause * int(new_id(4), 16) / 0xFFFF)  # full jitter, but never earlier than asked
