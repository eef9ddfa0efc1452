"""The price of each answer: which model at which endpoint gave it, and what its tokens cost there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from asyncinfer.config import CostPerMillion
from asyncinfer.errors import MissingDependencyError
from asyncinfer.providers.prices import PricedEndpoint, PriceList, own_price
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.costs import TokenPrice
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer")

# Prices that depend on the time of the day are looked up again after this time (seconds).
_PRICE_SECONDS = 600.0
# The most prices that are kept. Rows may name any model.
_MOST_KEPT = 1_000
_NO_METADATA: Mapping[str, Any] = {}


class PriceKey(NamedTuple):
    """What a price depends on.

    Args:
        endpoint: The name of the endpoint; None if there is only one.
        requested_model: The model that the row asks for; None: that of the endpoint.
        response_model: The model that answered, as the response says.
        tier: The service tier, as the response says.
        is_batch: The answer is from a batch job.
    """

    endpoint: str | None
    requested_model: str | None = None
    response_model: str | None = None
    tier: str | None = None
    is_batch: bool = False


class Pricing:
    """The prices of the answers to all calls with the same settings. Thread-safe.

    Args:
        endpoints: What each endpoint is, by its name. The name is None if there is only one.
        own: The prices that the user has set for all endpoints.
        now: Returns the seconds of a monotonic clock.

    Attributes:
        is_loaded: Whether `load` was called.
        is_priced: Whether answers should have a price. Known once it is loaded.
        latest_price: The price of the latest answer whose cost was computed; None if there is none.
        has_reported: Whether answers have reported their cost, although they have a price.
    """

    def __init__(
        self, endpoints: Mapping[str | None, PricedEndpoint], own: CostPerMillion | None, now: Callable[[], float]
    ) -> None:
        self._endpoints, self._own, self._now = endpoints, own, now
        self._lock = threading.Lock()
        self._listed = [one for one in endpoints.values() if self._own_of(one) is None and (one.provider or one.url)]
        self.is_loaded = not self._listed
        self.is_priced = any(self._own_of(endpoint) is not None for endpoint in endpoints.values())
        self.latest_price: TokenPrice | None = None
        self.has_reported = False
        self._list: PriceList | None = None
        self._missing: str | None = None
        self._prices: dict[PriceKey, TokenPrice | None] = {}
        self._looked_up = now()
        self._warned: set[str] = set()

    def load(self) -> None:
        """Load the price list, if it is needed. Blocks."""
        with self._lock:
            if self.is_loaded:
                return
            try:
                self._list = PriceList()
            except MissingDependencyError as error:
                self._missing = str(error)
            self.is_priced = self.is_priced or any(map(self._should_be_listed, self._listed))
            self.is_loaded = True

    @property
    def has_prices(self) -> bool:
        """Whether answers may have a price: one that the user has set, or one of the price list."""
        return self.is_priced or bool(self._listed)

    @property
    def endpoints(self) -> Mapping[str | None, PricedEndpoint]:
        """What each endpoint is, by its name."""
        return self._endpoints

    def priced(
        self,
        usage: Usage | None,
        endpoint: str | None,
        requested_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        is_batch: bool = False,
    ) -> Usage | None:
        """The usage of one request, with its cost. A cost that the response reports is kept.

        Args:
            endpoint: The name of the endpoint.
            requested_model: The model that the row asks for; None: that of the endpoint.
            metadata: The metadata of the answer.
            is_batch: The answer is from a batch job.
        """
        if usage is None or not self.is_priced:
            return usage
        if usage.cost is not None:
            self.has_reported = True
            return usage
        known = metadata or _NO_METADATA
        key = PriceKey(endpoint, requested_model, known.get("response_model"), known.get("service_tier"), is_batch)
        price = self.price(key)
        if price is None:
            self._log_once(self.why_unknown(key))
            return usage
        self.latest_price = price
        return replace(usage, cost=price.cost(usage))

    def price(self, key: PriceKey) -> TokenPrice | None:
        """The price of an answer; None if it is unknown."""
        if self._now() - self._looked_up > _PRICE_SECONDS or len(self._prices) > _MOST_KEPT:
            self._prices, self._looked_up = {}, self._now()
        try:
            return self._prices[key]
        except KeyError:
            price = self._prices[key] = self._look_up(key)
            return price

    def why_unknown(self, key: PriceKey) -> str:
        """Why the price of an answer is unknown."""
        requested_model = key.requested_model or self._endpoint(key.endpoint).model
        names = " or ".join(repr(name) for name in dict.fromkeys((key.response_model, requested_model)) if name)
        return f"no price of {names} is known{self.why_not_listed()}"

    def why_not_listed(self) -> str:
        """Why there is no price list, in brackets; empty if there is one, or if none is needed."""
        return f" ({self._missing})" if self._missing is not None else ""

    def _log_once(self, unknown: str) -> None:
        """Log why a price is unknown: as a warning, if the price list should have it."""
        if unknown not in self._warned and len(self._warned) < _MOST_KEPT:
            self._warned.add(unknown)
            level = logging.INFO if self._list is None else logging.WARNING
            log.log(level, "%s; its answers are not part of the cost. cost_per_million sets a price", unknown)

    def _look_up(self, key: PriceKey) -> TokenPrice | None:
        endpoint = self._endpoint(key.endpoint)
        models = [model for model in (key.response_model, key.requested_model or endpoint.model) if model]
        found = own_price(self._own_of(endpoint), models, is_batch=key.is_batch)
        price_list = self._list
        if found is None and price_list is not None:
            listed = (price_list.find(endpoint, model, key.tier, is_batch=key.is_batch) for model in models)
            found = next((price for price in listed if price is not None), None)
        return found

    def _should_be_listed(self, endpoint: PricedEndpoint) -> bool:
        """Whether the answers of an endpoint should have a price."""
        if self._list is None:
            return bool(endpoint.provider)
        return self._list.knows(endpoint)

    def _endpoint(self, name: str | None) -> PricedEndpoint:
        return self._endpoints.get(name) or next(iter(self._endpoints.values()))

    def _own_of(self, endpoint: PricedEndpoint) -> CostPerMillion | None:
        return endpoint.own or self._own


def model_of(conversation: Conversation) -> str | None:
    """Return the model that a row asks for; None if it asks for none."""
    name = conversation.model_name
    return name if isinstance(name, str) else None
