"""The prices of models: those that the user sets, or those of the package genai-prices.

genai-prices 0.2.3 (MIT, November 2026) contains the prices of about 45 providers as Python data, so no request is
sent. A provider is found by its id or by the URL of its API, and a model by its name in requests or responses. The
package and its data take about 0.4 s to import and 100 MB of memory. So they are an extra, and are imported in a thread
when the first run needs a price.

Bundled data have no date of their own. The date of a price list is the newest day, up to today, that its data name: as
the start of a price, or as the day on which prices were verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from asyncinfer.config.cost import CostPerMillion
from asyncinfer.errors import MissingDependencyError
from asyncinfer.types.costs import TokenPrice, TokenRates
from asyncinfer.types.usage import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelPrice

_DAY = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")
# The names of prices in `ModelPrice`, in the order of the fields of `TokenRates`.
_RATES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok")
_OWN_PRICES = "cost_per_million"
# The library asks for these counts if there are both cached tokens and tokens of such a kind.
_NO_OVERLAPS = {"cache_audio_read_tokens": 0, "cache_image_read_tokens": 0}


class PricedEndpoint(NamedTuple):
    """An endpoint, with what the price of its answers depends on.

    Args:
        model: The name of the model in requests to it.
        provider: The id of the provider in genai-prices; empty: found by `url`.
        url: The URL of the API.
        own: The prices that the user has set.
    """

    model: str
    provider: str = ""
    url: str = ""
    own: CostPerMillion | None = None


class PriceList:
    """The prices of genai-prices.

    Raises:
        MissingDependencyError: The package is not installed.
    """

    def __init__(self) -> None:
        try:
            from genai_prices.data_snapshot import get_snapshot
        except ImportError:
            raise MissingDependencyError("genai-prices", "prices") from None
        from genai_prices import __version__

        self._data = get_snapshot()
        self.source, self.date = f"genai-prices {__version__}", _date_of(self._data)

    def knows(self, endpoint: PricedEndpoint) -> bool:
        """Whether the list has the provider of an endpoint."""
        try:
            self._data.find_provider(None, endpoint.provider or None, endpoint.url or None)
        except LookupError:
            return False
        return True

    def find(
        self,
        endpoint: PricedEndpoint,
        model: str,
        tier: str | None = None,
        now: datetime | None = None,
        *,
        is_batch: bool = False,
    ) -> TokenPrice | None:
        """The price of a model at an endpoint; None if the list has none.

        Args:
            tier: The service tier that the response reports.
            now: The time of the request. Some prices depend on the day or on the time of the day.
            is_batch: The request is one of a batch job.
        """
        try:
            provider, found = self._data.find_provider_model(
                model, None, endpoint.provider or None, endpoint.url or None
            )
        except LookupError:
            return None
        from genai_prices import Usage

        given = {"service_tier": tier, "processing": "batch" if is_batch else None}
        context = {name: value for name, value in given.items() if value}
        # The public way to the prices that apply: providers that offer the models of others have no prices by tier.
        time = now or datetime.now(UTC)
        found_price = found.calc_price(Usage(), provider, genai_request_timestamp=time, price_context=context)
        return _token_price(found_price.model_price, self.source, self.date)


def own_price(prices: CostPerMillion | None, models: Sequence[str], *, is_batch: bool = False) -> TokenPrice | None:
    """The price that the user has set for the first of these names of a model; None if there is none."""
    if prices is None:
        return None
    chosen = next((prices.models[name] for name in models if name in prices.models), prices)
    if chosen.input is None or chosen.output is None:
        return None
    factor = 1 - chosen.batch_discount if is_batch else 1.0
    cached, written = chosen.cached_input, chosen.cache_write
    rates = TokenRates(
        chosen.input * factor,
        chosen.output * factor,
        cached * factor if cached is not None else None,
        written * factor if written is not None else None,
    )
    return TokenPrice(rates, (), _OWN_PRICES, chosen.as_of.isoformat() if chosen.as_of is not None else None)


def _token_price(price: ModelPrice, source: str, date: str) -> TokenPrice | None:
    """The price in the form of this package; None if it is not a price for the tokens of a chat."""
    if price.input_mtok is None or price.output_mtok is None:
        return None
    starts = sorted({start for name in _RATES for start, _ in _tiers(price, name)})
    tiers = tuple((start, _rates(price, start)) for start in starts)
    outputs = (_rate(price, name, -1) for name in vars(price) if name.startswith("output_") and name.endswith("_mtok"))
    most = max(rate or 0.0 for rate in outputs)
    return TokenPrice(_rates(price, -1), tiers, source, date, most, partial(_detailed_cost, price))


def _detailed_cost(price: ModelPrice, usage: Usage) -> float | None:
    """The cost by the library itself, which prices audio and images apart. None if it refuses the counts."""
    from genai_prices import Usage as ListedUsage

    counts = {**_NO_OVERLAPS, **(usage.details or {})}
    written = usage.cache_creation_tokens or 0
    if "cache_write_1h_tokens" in counts:
        counts["cache_write_5m_tokens"] = written - counts["cache_write_1h_tokens"]
    try:
        found = price.calc_price(
            ListedUsage(
                input_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
                cache_read_tokens=usage.cached_tokens or 0,
                cache_write_tokens=written,
                output_reasoning_tokens=usage.reasoning_tokens or 0,
                **counts,
            )
        )
    except ValueError:
        return None
    return float(found["total_price"])


def _rates(price: ModelPrice, start: int) -> TokenRates:
    """The rates of requests whose prompt is a little longer than `start` tokens."""
    values: Mapping[str, float | None] = {name: _rate(price, name, start) for name in _RATES}
    given, answered, cached, written, reasoning = values.values()
    request = (_rate(price, "requests_kcount", start) or 0.0) / 1000
    return TokenRates(given or 0.0, answered or 0.0, cached, written, reasoning, request)


def _rate(price: ModelPrice, name: str, start: int) -> float | None:
    base = getattr(price, name)
    if base is None:
        return None
    reached = [value for at, value in _tiers(price, name) if at <= start]
    return reached[-1] if reached else float(getattr(base, "base", base))


def _tiers(price: ModelPrice, name: str) -> Iterator[tuple[int, float]]:
    """The tiers of one price, ascending: above how many prompt tokens each begins, and the price."""
    for tier in getattr(getattr(price, name), "tiers", ()):
        yield tier.start, float(tier.price)


def _date_of(data: DataSnapshot) -> str:
    """The day of the price list. Prices that the program has downloaded are as of their download."""
    if data.from_auto_update:
        return data.timestamp.date().isoformat()
    today, newest = datetime.now(UTC).date().isoformat(), ""
    for day in _all_days(data):
        if newest < day <= today:
            newest = day
    return newest


def _all_days(data: DataSnapshot) -> Iterator[str]:
    for provider in data.providers:
        for model in provider.models:
            yield from _DAY.findall(model.price_comments or "")
            prices = model.prices if isinstance(model.prices, list) else []
            for entry in [*prices, *(model.price_variants or ())]:
                start: date | None = getattr(entry.constraint, "start_date", None)
                if start is not None:
                    yield start.isoformat()
