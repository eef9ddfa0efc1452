"""The prices of models, judged by genai-prices itself."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import MissingDependencyError, Usage
from asyncinfer.config import CostPerMillion
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.prices import PricedEndpoint, PriceList, own_price

MODELS = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def listed() -> PriceList:
    return PriceList()


@settings(max_examples=300)
@given(st.sampled_from(MODELS), st.integers(1, 400_000), st.integers(1, 50_000), st.data())
def test_costs_are_those_of_the_library(model: tuple[str, str], prompt: int, answer: int, data: st.DataObject) -> None:
    provider, name = model
    tier = data.draw(st.sampled_from(["", "flex", "priority"]))
    batch = data.draw(st.booleans())
    cached = data.draw(st.integers(0, prompt))
    written, reasoned = data.draw(st.integers(0, prompt - cached)), data.draw(st.integers(0, answer))
    price = PriceList(is_batch=batch).find(PricedEndpoint(name, provider), name, tier or None, NOW)
    if price is None:  # Its unit is not a token, as for models of speech.
        return
    usage = ListedUsage(
        input_tokens=prompt,
        output_tokens=answer,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_reasoning_tokens=reasoned,
    )
    context = {"service_tier": tier} if tier else {}
    context |= {"processing": "batch"} if batch else {}
    theirs = calc_price(usage, name, provider_id=provider, genai_request_timestamp=NOW, price_context=context)
    ours = price.cost(Usage(prompt, answer, prompt + answer, cached, written, reasoned))
    assert ours == pytest.approx(float(theirs.total_price), rel=1e-9, abs=1e-11)


def test_every_provider_id_of_the_catalog_is_known(listed: PriceList) -> None:
    priced = {provider.prices for provider in CATALOG.values() if provider.prices}
    assert len(priced) > 10
    assert all(listed.knows(PricedEndpoint("", provider)) for provider in priced)


def test_batch_jobs_have_prices_of_their_own(listed: PriceList) -> None:
    usage, endpoint = Usage(1000, 1000, 2000), PricedEndpoint("gpt-4o-mini", "openai")
    alone = listed.find(endpoint, "gpt-4o-mini", None, NOW)
    batch = PriceList(is_batch=True).find(endpoint, "gpt-4o-mini", None, NOW)
    assert alone is not None
    assert batch is not None
    assert batch.cost(usage) == pytest.approx(alone.cost(usage) / 2)


def test_provider_is_found_by_the_url_of_its_api(listed: PriceList) -> None:
    assert listed.find(PricedEndpoint("sonar", url="https://api.perplexity.ai/chat/completions"), "sonar") is not None
    assert not listed.knows(PricedEndpoint("my-model", url="https://gpu.example.com/v1/chat/completions"))


def test_unknown_model_has_no_price(listed: PriceList) -> None:
    assert listed.find(PricedEndpoint("no-such-model", "openai"), "no-such-model") is None


def test_date_is_the_newest_day_that_the_data_name(listed: PriceList) -> None:
    assert "2026-01-01" < listed.date <= datetime.now(UTC).date().isoformat()


def test_downloaded_prices_are_of_the_day_of_the_download() -> None:
    day = datetime(2026, 11, 3)  # genai-prices uses times without a zone.
    set_custom_snapshot(DataSnapshot(get_snapshot().providers, from_auto_update=True, timestamp=day))
    try:
        assert PriceList().date == "2026-11-03"
    finally:
        set_custom_snapshot(None)


def test_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(MissingDependencyError, match=r"asyncinfer\[prices\]"):
        PriceList()


def test_own_prices_are_chosen_by_the_name_of_the_model() -> None:
    prices = CostPerMillion(
        input=1, output=2, as_of=date(2026, 11, 1), models={"big": CostPerMillion(input=10, output=20)}
    )
    small, big = own_price(prices, ["other"]), own_price(prices, ["big-2026", "big"])
    assert small is not None
    assert big is not None
    assert (small.rates.input, big.rates.input) == (1, 10)
    assert (small.source, small.date) == ("cost_per_million", "2026-11-01")


def test_own_prices_of_single_models_leave_the_others_to_the_list() -> None:
    prices = CostPerMillion(models={"big": CostPerMillion(input=10, output=20)})
    assert own_price(prices, ["other"]) is None
    assert own_price(None, ["other"]) is None


def test_batch_discount_reduces_own_prices() -> None:
    price = own_price(CostPerMillion(input=1, output=2, cached_input=0.5, batch_discount=0.5), ["m"], is_batch=True)
    assert price is not None
    assert (price.rates.input, price.rates.output, price.rates.cached_input) == (0.5, 1.0, 0.25)
