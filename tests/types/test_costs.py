"""The cost of tokens, and its text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.types.costs import RunCost, TokenPrice, TokenRates, usd_text
from asyncinfer.types.usage import Usage

RATES = TokenRates(input=2.0, output=8.0, cached_input=0.5, cache_write=2.5)


def test_tokens_are_priced_by_their_kind() -> None:
    usage = Usage(1_000, 500, 1_500, cached_tokens=400, cache_creation_tokens=100)
    assert RATES.cost(usage) == pytest.approx((500 * 2 + 400 * 0.5 + 100 * 2.5 + 500 * 8) / 1e6)


def test_tokens_without_a_rate_of_their_own_cost_as_much_as_the_others() -> None:
    usage = Usage(1_000, 500, 1_500, cached_tokens=400, cache_creation_tokens=100, reasoning_tokens=300)
    assert TokenRates(2.0, 8.0).cost(usage) == pytest.approx((1_000 * 2 + 500 * 8) / 1e6)


def test_reasoning_may_have_a_rate_of_its_own() -> None:
    usage = Usage(0, 500, 500, reasoning_tokens=300)
    assert TokenRates(2.0, 8.0, reasoning=3.0).cost(usage) == pytest.approx((200 * 8 + 300 * 3) / 1e6)


def test_each_request_may_cost_something() -> None:
    assert TokenRates(0.0, 0.0, request=0.01).cost(Usage(1, 1, 2)) == pytest.approx(0.01)


def test_long_prompt_has_the_rates_of_its_tier_for_all_tokens() -> None:
    price = TokenPrice(RATES, ((200_000, TokenRates(4.0, 12.0)),))
    assert price.cost(Usage(200_000, 0, 200_000)) == pytest.approx(0.4)
    assert price.cost(Usage(200_001, 0, 200_001)) == pytest.approx(200_001 * 4 / 1e6)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_no_usage_costs_more_than_the_bound(
    prompt: int, answer: int, cached: float, written: float, reasoned: float, tiered: bool
) -> None:
    price = TokenPrice(RATES, ((200_000, TokenRates(4.0, 12.0, 1.0, 6.0)),) if tiered else ())
    read = int(prompt * cached)
    usage = Usage(prompt, answer, prompt + answer, read, int((prompt - read) * written), int(answer * reasoned))
    assert price.cost(usage) <= price.bound(prompt, answer) + 1e-9


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (1.005, "$1.00"),
        (1234.5, "$1,234.50"),
        (0.5, "$0.5"),
        (0.012345, "$0.0123"),
        (1.5e-7, "$0.00000015"),
    ],
)
def test_amount_is_shown_with_as_many_digits_as_it_needs(usd: float, text: str) -> None:
    assert usd_text(usd) == text


def test_unknown_prices_are_not_shown_as_zero() -> None:
    assert RunCost(0.0, 3, unknown="no price of 'x' is known").text == "unknown: no price of 'x' is known"
    partly = RunCost(1.5, 3, "prices", "2026-11-01", "no price of 'x' is known")
    assert partly.text == "$1.50, without 3 answers: no price of 'x' is known"
    assert partly.price_list == " (prices: prices, 2026-11-01)"
