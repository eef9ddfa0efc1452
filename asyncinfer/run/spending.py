"""What a run spends: the sum of the costs of its attempts, and the limits on it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from asyncinfer.config import GenerationParams
from asyncinfer.errors import ConfigError
from asyncinfer.run.budget import Amount, Budget, SpendingLimits, token_bound, tokens_of
from asyncinfer.run.pricing import PriceKey, Pricing, model_of
from asyncinfer.run.rows import Row
from asyncinfer.scratch.spent import SpentLine
from asyncinfer.types.answer import DUPLICATE_OF, FROM_CACHE, Completion, saved_usage
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.costs import RunCost
from asyncinfer.types.usage import Usage

_EVERY = 64
_REPORTED = "the responses of the provider"


def _is_sent_alone(conversation: Conversation) -> bool:
    return True


class Spending:
    """Adds up what the attempts of a run cost.

    Args:
        pricing: The prices of the answers.
        generation_of: Returns the settings in effect for a conversation.
        limits: The limits on the whole job.

    Attributes:
        budget: The limits; None if there are none.
    """

    def __init__(
        self, pricing: Pricing, generation_of: Callable[[Conversation], GenerationParams], limits: SpendingLimits
    ) -> None:
        self._pricing, self._generation_of = pricing, generation_of
        self._max_cost = limits.max_cost
        self.budget = Budget(limits, self._bound) if any(limit is not None for limit in limits) else None
        self._is_sent_alone: Callable[[Conversation], bool] = _is_sent_alone
        self._usd, self._unpriced = 0.0, 0
        self._has_cost = False
        self._unknown: str | None = None
        self._counted: set[int] = set()

    def prepare(
        self, is_sent_alone: Callable[[Conversation], bool] = _is_sent_alone, *, is_batch: bool = False
    ) -> None:
        """Load the price list, if it is needed. Blocks.

        Args:
            is_sent_alone: Whether a row may be sent as a single request. By default, all are. Batch jobs have prices of
                their own.
            is_batch: Rows are sent in batch jobs.

        Raises:
            ConfigError: There is a limit on the cost, and the price of a model is unknown.
        """
        self._is_sent_alone = is_sent_alone
        self._pricing.load()
        if self._max_cost is not None:
            self._check_prices(is_batch=False)
            if is_batch:
                self._check_prices(is_batch=True)

    def answered(self, row: Row, completion: Completion) -> None:
        """Count an answer. Its usage is that of its last attempt."""
        usage = completion.usage
        cost = usage.cost if usage is not None else None
        if cost is not None:
            self._add(cost)
        elif self._pricing.is_priced:
            self._unpriced += 1
            self._unknown = self._unknown or self._why_unknown(row, completion)
        if self.budget is not None:
            is_known = usage is not None and (cost is not None or self._max_cost is None)
            self.budget.settle(row.index, Amount(tokens_of(usage), cost or 0.0) if usage and is_known else None)

    def failed(self, index: int) -> None:
        """A row failed. What its attempts cost, as far as that is known, was counted with each of them."""
        if self.budget is not None:
            self.budget.settle(index, Amount())

    def attempt_failed(self, usage: Usage) -> bool:
        """Count what a failed attempt used. Returns whether the limits leave room for another attempt."""
        if usage.cost is not None:
            self._add(usage.cost)
        if self.budget is None:
            return True
        self.budget.spend(Amount(tokens_of(usage), usage.cost or 0.0))
        return self.budget.is_within()

    def count_saved(self, answers: Iterable[Conversation]) -> Generator[None]:
        """Count what earlier runs of this job paid for the answers that are saved. Yields now and then."""
        assert self.budget is not None, "saved answers count only towards a limit"
        for number, answer in enumerate(answers):
            self.budget.spend(self._paid(answer))
            if number % _EVERY == 0:
                yield

    def count_spent(self, lines: Iterable[SpentLine]) -> Generator[None]:
        """Count what earlier runs of this job paid for attempts without an answer, each once. Yields now and then."""
        assert self.budget is not None, "it counts only towards a limit"
        for number, line in enumerate(lines):
            if line.number not in self._counted:
                self._counted.add(line.number)
                self.budget.spend(self._spent(line.usage))
            if number % _EVERY == 0:
                yield

    def total(self) -> RunCost | None:
        """What this run cost so far; None if its answers have no price."""
        pricing, price = self._pricing, self._pricing.latest_price
        if not pricing.is_priced and not self._has_cost:
            return None
        sources = [price.source] if price is not None else []
        if pricing.has_reported or (self._has_cost and price is None):
            sources.append(_REPORTED)
        date, unknown = price.date if price is not None else None, self._unknown if self._unpriced else None
        return RunCost(self._usd, self._unpriced, " and ".join(sources), date, unknown)

    def _add(self, cost: float) -> None:
        self._usd += cost
        self._has_cost = True

    def _check_prices(self, *, is_batch: bool) -> None:
        for name, endpoint in self._pricing.endpoints.items():
            if self._pricing.price(PriceKey(name, is_batch=is_batch)) is None:
                where = f" at {name}" if name is not None else ""
                where += " in batch jobs" if is_batch else ""
                raise ConfigError(
                    f"max_cost: the price of {endpoint.model!r}{where} is unknown{self._pricing.why_not_listed()}; set "
                    "cost_per_million"
                )

    def _why_unknown(self, row: Row, completion: Completion) -> str:
        if completion.usage is None:
            return "the responses do not say how many tokens they used"
        metadata = completion.metadata or {}
        key = PriceKey(completion.endpoint, model_of(row.conversation()), metadata.get("response_model"))
        return self._pricing.why_unknown(key)

    def _bound(self, row: Row) -> Amount:
        """The most that the request for a row uses, at the endpoint that costs most.

        Raises:
            ConfigError: There is a limit on the cost, and the price of the model that the row asks for is unknown.
        """
        return self._bound_of(row.conversation(), f"row {row.index}")

    def _bound_of(self, conversation: Conversation, where: str) -> Amount:
        bound = token_bound(conversation, self._generation_of(conversation))
        if self._max_cost is None:
            return Amount(sum(bound))
        asked, is_batch = model_of(conversation), not self._is_sent_alone(conversation)
        prices = [self._pricing.price(PriceKey(name, asked, is_batch=is_batch)) for name in self._pricing.endpoints]
        if None in prices:
            what = "whose price in batch jobs is unknown" if is_batch else "whose price is unknown"
            raise ConfigError(f"max_cost: {where} asks for the model {asked!r}, {what}; set cost_per_million.models")
        return Amount(sum(bound), max(price.bound(*bound) for price in prices if price is not None))

    def _spent(self, usage: Usage) -> Amount:
        """What attempts without an answer cost. If that is unknown, the endpoint that costs most is assumed."""
        if usage.cost is not None or self._max_cost is None:
            return Amount(tokens_of(usage), usage.cost or 0.0)
        prices = (self._pricing.price(PriceKey(name)) for name in self._pricing.endpoints)
        costs = (price.bound(usage.prompt_tokens, usage.completion_tokens) for price in prices if price is not None)
        return Amount(tokens_of(usage), max(costs, default=0.0))

    def _paid(self, answer: Conversation) -> Amount:
        """What a saved answer cost. If it does not say that, it counts as the most that its request may have cost."""
        metadata = answer.metadata
        if DUPLICATE_OF in metadata or FROM_CACHE in metadata:
            return Amount()
        usage = saved_usage(answer)
        if usage is not None and (usage.cost is not None or self._max_cost is None):
            return Amount(tokens_of(usage), usage.cost or 0.0)
        asked = answer.model_copy(update={"messages": answer.messages[:-1]})
        most = self._bound_of(asked, f"the saved row {answer.conversation_id}")
        if usage is None:
            return most
        is_batch = metadata.get("service_tier") == "batch"
        priced = self._pricing.priced(usage, None, model_of(answer), metadata, is_batch=is_batch)
        known = priced.cost if priced is not None else None
        return Amount(tokens_of(usage), known if known is not None else most.usd)
