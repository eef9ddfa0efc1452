"""The prices of tokens, and the cost of a run. All amounts are in US dollars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncinfer.types.short_repr import ShortRepr
from asyncinfer.types.usage import Usage

_MILLION = 1_000_000
# A cost is rounded to this many decimal places: a millionth of a millionth of a dollar.
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class TokenRates:
    """US dollars per million tokens.

    Args:
        cached_input: For prompt tokens that the provider read from its cache; None: as `input`.
        cache_write: For prompt tokens that the provider wrote to its cache; None: as `input`.
        reasoning: For reasoning tokens; None: as `output`.
        request: US dollars for each request, in addition to its tokens.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    request: float = 0.0

    def cost(self, usage: Usage) -> float:
        """What one request costs that used these tokens."""
        cost = usage.prompt_tokens * self.input + usage.completion_tokens * self.output
        if usage.cached_tokens and self.cached_input is not None:
            cost += usage.cached_tokens * (self.cached_input - self.input)
        if usage.cache_creation_tokens and self.cache_write is not None:
            cost += usage.cache_creation_tokens * (self.cache_write - self.input)
        if usage.reasoning_tokens and self.reasoning is not None:
            cost += usage.reasoning_tokens * (self.reasoning - self.output)
        return round(max(cost, 0.0) / _MILLION + self.request, _DECIMALS)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The price of the tokens of one model.

    Args:
        rates: The rates for short prompts.
        tiers: The rates for all tokens of a request whose prompt has more tokens than the first number, ascending.
        source: Where the price comes from.
        date: The day of that price list, as `2026-11-30`; None if it is unknown.
        most_output: US dollars per million tokens of an answer of the dearest kind, such as those of images.
        detailed: Returns what a request costs whose usage has `details`; None if it cannot.
    """

    rates: TokenRates
    tiers: tuple[tuple[int, TokenRates], ...] = ()
    source: str = ""
    date: str | None = None
    most_output: float = 0.0
    detailed: Callable[[Usage], float | None] | None = field(default=None, compare=False, repr=False)

    def cost(self, usage: Usage) -> float:
        """What one request costs that used these tokens, in US dollars."""
        if usage.details and self.detailed is not None and (cost := self.detailed(usage)) is not None:
            return round(cost, _DECIMALS)
        rates = self.rates
        for start, above in self.tiers:
            if usage.prompt_tokens > start:
                rates = above
        return rates.cost(usage)

    def bound(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The most that a request with at most these tokens costs, in US dollars."""
        reached = [self.rates, *(rates for start, rates in self.tiers if prompt_tokens > start)]
        input = max(max(rates.input, rates.cached_input or 0.0, rates.cache_write or 0.0) for rates in reached)
        output = max(self.most_output, *(max(rates.output, rates.reasoning or 0.0) for rates in reached))
        return (prompt_tokens * input + completion_tokens * output) / _MILLION + self.rates.request


@dataclass(frozen=True, repr=False)
class RunCost(ShortRepr):
    """What a run costs.

    Args:
        usd: US dollars for the answers whose price is known, and for failed attempts that reported their tokens.
        unpriced: The number of answers whose price is unknown. They are not part of `usd`.
        source: Where the prices come from.
        date: The day of the price list, as `2026-11-30`; None if it is unknown.
        unknown: Why prices are unknown; None if all are known.
    """

    usd: float = 0.0
    unpriced: int = 0
    source: str = ""
    date: str | None = None
    unknown: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return all values; those that are unknown are None."""
        values = {"usd": round(self.usd, 6), "unpriced": self.unpriced, "source": self.source}
        return {**values, "date": self.date, "unknown": self.unknown}

    @property
    def text(self) -> str:
        """The cost for a person, such as `$1.25`."""
        if self.unpriced and not self.usd:
            return f"unknown: {self.unknown}"
        without = f", without {self.unpriced:,} answers: {self.unknown}" if self.unpriced else ""
        return usd_text(self.usd) + without

    @property
    def price_list(self) -> str:
        """The name and the date of the price list, such as ` (prices: genai-prices 0.2.3, 2026-11-30)`."""
        if not self.source or (self.unpriced and not self.usd):
            return ""
        return f" (prices: {self.source}{f', {self.date}' if self.date is not None else ''})"


def usd_text(usd: float) -> str:
    """An amount of US dollars for a person: two decimal places, or enough to show three digits of a small amount."""
    if usd >= 1 or not usd:
        return f"${usd:,.2f}"
    text = f"{usd:.3g}"
    return f"${float(text):.12f}".rstrip("0") if "e" in text else f"${text}"
