"""What a run spends: the cost of each answer, their sum, and the limits on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, cast

from asyncinfer.config import CostPerMillion, GenerationParams
from asyncinfer.errors import ConfigError, MissingDependencyError
from asyncinfer.providers.prices import PricedEndpoint, PriceList, own_price
from asyncinfer.run.budget import Amount, Budget, SpendingLimits, token_bound, tokens_of
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import COST, Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.costs import RunCost, TokenPrice
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer")

_EVERY = 64
_NOTHING = Amount()
# Prices that depend on the time of the day are looked up again after this time (seconds).
_PRICE_SECONDS = 600.0


class Spending:
    """Prices the answers of a run, and adds their costs up.

    Args:
        endpoints: What each endpoint is, by its name. The name is None if there is only one.
        own: The prices that the user has set for all endpoints.
        generation_of: Returns the settings in effect for a conversation.
        limits: The limits on the whole job.
        now: Returns the seconds of a monotonic clock.

    Attributes:
        budget: The limits; None if there are none.
    """

    def __init__(
        self,
        endpoints: Mapping[str | None, PricedEndpoint],
        own: CostPerMillion | None,
        generation_of: Callable[[Conversation], GenerationParams],
        limits: SpendingLimits,
        now: Callable[[], float],
    ) -> None:
        self._endpoints, self._own, self._generation_of, self._now = endpoints, own, generation_of, now
        self._is_batch = False
        self._list: PriceList | None = None
        self._missing: str | None = None
        self._prices: dict[tuple[str | None, str | None, str | None, str | None], TokenPrice | None] = {}
        self._looked_up = now()
        self._max_cost = limits.max_cost
        self.budget = Budget(limits, self._bound) if any(limits) else None
        self._is_priced = False
        self._usd, self._unpriced = 0.0, 0
        # What failed attempts at open rows cost, by row. The usage of a later answer to the row includes them.
        self._failed: dict[int, Amount] = {}
        self._last: TokenPrice | None = None
        self._unknown: str | None = None

    def prepare(self, *, is_batch: bool = False) -> bool:
        """Load the price list, if it is needed. Blocks.

        Args:
            is_batch: The requests are those of batch jobs, which have prices of their own.

        Returns:
            Whether there is anything to count: answers have a price, or there is a limit.

        Raises:
            ConfigError: There is a limit on the cost, and the price of a model is unknown.
        """
        self._is_batch = is_batch
        listed = [one for one in self._endpoints.values() if self._own_of(one) is None and (one.provider or one.url)]
        if listed:
            self._load()
        if self._max_cost is not None:
            self._check_prices()
        has_own = any(self._own_of(endpoint) is not None for endpoint in self._endpoints.values())
        self._is_priced = has_own or any(map(self._is_listed, listed))
        return self._is_priced or self.budget is not None

    def answered(self, row: Row, completion: Completion) -> float | None:
        """Count an answer, and write its cost to its metadata. Returns the cost in US dollars, if it is known."""
        counted = self._failed.pop(row.index, _NOTHING) if self._failed else _NOTHING
        cost = self._cost_of(row, completion) if self._is_priced else None
        self._usd += (cost or counted.usd) - counted.usd
        if self.budget is not None:
            usage = completion.usage
            is_known = usage is not None and (cost is not None or self._max_cost is None)
            used = Amount(tokens_of(usage), cost or 0.0).minus(counted) if usage and is_known else None
            self.budget.settle(row.index, used)
        return cost

    def failed(self, index: int) -> None:
        """A row failed. What its attempts cost, as far as that is known, was counted with each of them."""
        self._failed.pop(index, None)
        if self.budget is not None:
            self.budget.settle(index, Amount())

    def attempt_failed(self, row: Row, usage: Usage, endpoint: str | None) -> bool:
        """Count the tokens that failed attempts used. Returns whether the limits leave room for another attempt.

        Args:
            usage: The tokens of all failed attempts at the row so far.
        """
        price = self._price(endpoint, _model_of(row), None, None) if self._is_priced else None
        total = Amount(tokens_of(usage), price.cost(usage) if price is not None else 0.0)
        new = total.minus(self._failed.get(row.index, _NOTHING))
        self._failed[row.index] = total
        self._usd += new.usd
        if self.budget is None:
            return True
        self.budget.spend(new)
        return self.budget.is_within()

    def count_saved(self, answers: Iterable[Conversation]) -> Generator[None]:
        """Count what earlier runs of this job paid for the answers that are saved. Yields now and then."""
        assert self.budget is not None, "saved answers count only towards a limit"
        for number, answer in enumerate(answers):
            self.budget.spend(_paid(answer.metadata))
            if number % _EVERY == 0:
                yield

    def total(self) -> RunCost | None:
        """What this run cost so far; None if its answers have no price."""
        if not self._is_priced:
            return None
        source, date = (self._last.source, self._last.date) if self._last is not None else ("", None)
        return RunCost(self._usd, self._unpriced, source, date, self._unknown if self._unpriced else None)

    # Prices

    def _load(self) -> None:
        try:
            self._list = PriceList(is_batch=self._is_batch)
        except MissingDependencyError as error:
            self._missing = str(error)

    def _check_prices(self) -> None:
        for name, endpoint in self._endpoints.items():
            if self._price(name, None, None, None) is None:
                where = f" at {name}" if name is not None else ""
                raise ConfigError(
                    f"max_cost: the price of {endpoint.model!r}{where} is unknown{self._why()}; set cost_per_million"
                )

    def _is_listed(self, endpoint: PricedEndpoint) -> bool:
        """Whether the answers of an endpoint should have a price."""
        if self._list is None:
            return bool(endpoint.provider)
        return self._list.knows(endpoint)

    def _cost_of(self, row: Row, completion: Completion) -> float | None:
        usage, described = completion.usage, completion.metadata or {}
        answered, tier = described.get("response_model"), described.get("service_tier")
        price = self._price(completion.endpoint, _model_of(row), answered, tier) if usage is not None else None
        if usage is None or price is None:
            self._unpriced += 1
            self._unknown = self._unknown or self._why_unknown(row, completion)
            return None
        cost = price.cost(usage)
        completion.metadata = {**described, COST: cost}
        return cost

    def _price(self, name: str | None, asked: str | None, answered: str | None, tier: str | None) -> TokenPrice | None:
        """The price of an answer.

        Args:
            name: The name of the endpoint.
            asked: The model that the row asks for; None: that of the endpoint.
            answered: The model that answered, as the response says.
            tier: The service tier, as the response says.
        """
        if self._now() - self._looked_up > _PRICE_SECONDS:
            self._prices.clear()
            self._looked_up = self._now()
        key = (name, asked, answered, tier)
        try:
            return self._prices[key]
        except KeyError:
            price = self._prices[key] = self._look_up(*key)
            return price

    def _look_up(
        self, name: str | None, asked: str | None, answered: str | None, tier: str | None
    ) -> TokenPrice | None:
        endpoint = self._endpoint(name)
        models = [given for given in (answered, asked or endpoint.model) if given]
        found = own_price(self._own_of(endpoint), models, is_batch=self._is_batch)
        price_list = self._list
        if found is None and price_list is not None:
            listed = (price_list.find(endpoint, given, tier) for given in models)
            found = next((price for price in listed if price is not None), None)
        if found is not None:
            self._last = found
        return found

    def _why_unknown(self, row: Row, completion: Completion) -> str:
        """Why the cost of an answer is unknown. Logs it: as a warning, if the price list should have the price."""
        if completion.usage is None:
            return "the responses do not say how many tokens they used"
        asked = _model_of(row) or self._endpoint(completion.endpoint).model
        answered = (completion.metadata or {}).get("response_model")
        names = " or ".join(repr(name) for name in dict.fromkeys((answered, asked)) if name)
        unknown = f"no price of {names} is known{self._why()}"
        level = logging.INFO if self._list is None else logging.WARNING
        log.log(level, "%s; its answers are not part of the cost. cost_per_million sets a price", unknown)
        return unknown

    def _why(self) -> str:
        return f" ({self._missing})" if self._missing is not None else ""

    def _endpoint(self, name: str | None) -> PricedEndpoint:
        return self._endpoints.get(name) or next(iter(self._endpoints.values()))

    def _own_of(self, endpoint: PricedEndpoint) -> CostPerMillion | None:
        return endpoint.own or self._own

    def _bound(self, row: Row) -> Amount:
        """The most that the request for a row uses, at the endpoint that costs most.

        Raises:
            ConfigError: There is a limit on the cost, and the price of the model that the row asks for is unknown.
        """
        conversation = row.conversation()
        bound = token_bound(conversation, self._generation_of(conversation))
        if self._max_cost is None:
            return Amount(sum(bound))
        prices = [self._price(name, _model_of(row), None, None) for name in self._endpoints]
        if None in prices:
            raise ConfigError(
                f"max_cost: the price of {_model_of(row)!r} is unknown, which row {row.index} asks for; set "
                "cost_per_million.models"
            )
        return Amount(sum(bound), max(price.bound(*bound) for price in prices if price is not None))


def _model_of(row: Row) -> str | None:
    """The model that a row asks for; None if it asks for none."""
    name = row.conversation().model_name
    return name if isinstance(name, str) else None


def _paid(metadata: Mapping[str, Any]) -> Amount:
    """What a saved answer cost, as its metadata say."""
    usage, cost = metadata.get("usage"), metadata.get(COST)
    counts = cast(Mapping[str, object], usage if isinstance(usage, dict) else {})
    prompt, answer, total = (
        _number(counts.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    return Amount(tokens_of(Usage(int(prompt), int(answer), int(total))), _number(cost))


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
