"""The prices of models, judged by genai-prices itself."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest
from genai_prices import Usage as ListedUsage
from genai_prices import calc_price, extract_usage
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import MissingDependencyError, Usage
from asyncinfer.config import CostPerMillion
from asyncinfer.dialects.anthropic import messages as anthropic
from asyncinfer.dialects.bedrock import response as bedrock_response
from asyncinfer.dialects.google import pieces as gemini_pieces
from asyncinfer.dialects.openai import response as openai_response
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
    price = PriceList().find(PricedEndpoint(name, provider), name, tier or None, NOW, is_batch=batch)
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
    batch = listed.find(endpoint, "gpt-4o-mini", None, NOW, is_batch=True)
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


# Responses of each family of providers: the tokens that this package reads, and those that the library extracts.

CASES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "OpenAI, cached and reasoning": (
        "openai",
        "chat",
        "gpt-5",
        {
            "prompt_tokens": 2_000,
            "completion_tokens": 900,
            "total_tokens": 2_900,
            "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 640, "audio_tokens": 0},
        },
    ),
    "OpenAI, audio": (
        "openai",
        "chat",
        "gpt-audio",
        {
            "prompt_tokens": 500,
            "completion_tokens": 400,
            "total_tokens": 900,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 300},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 350},
        },
    ),
    "OpenAI, Responses API": (
        "openai",
        "responses",
        "gpt-5",
        {
            "input_tokens": 2_000,
            "output_tokens": 900,
            "total_tokens": 2_900,
            "input_tokens_details": {"cached_tokens": 1_024},
            "output_tokens_details": {"reasoning_tokens": 640},
        },
    ),
    "Anthropic, caches of both lifetimes and searches": (
        "anthropic",
        "default",
        "claude-sonnet-4-5",
        {
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_read_input_tokens": 2_000,
            "cache_creation_input_tokens": 1_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
            "server_tool_use": {"web_search_requests": 3},
        },
    ),
    "Bedrock, caches of both lifetimes": (
        "aws",
        "default",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        {
            "inputTokens": 100,
            "outputTokens": 50,
            "totalTokens": 3_150,
            "cacheReadInputTokens": 2_000,
            "cacheWriteInputTokens": 1_000,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 400}, {"ttl": "1h", "inputTokens": 600}],
        },
    ),
    "Gemini, thoughts and a long cached prompt": (
        "google",
        "default",
        "gemini-2.5-pro",
        {
            "promptTokenCount": 300_000,
            "candidatesTokenCount": 100,
            "thoughtsTokenCount": 400,
            "totalTokenCount": 300_500,
            "cachedContentTokenCount": 200_000,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 300_000}],
        },
    ),
    "Gemini, audio": (
        "google",
        "default",
        "gemini-2.5-flash",
        {
            "promptTokenCount": 1_000,
            "candidatesTokenCount": 100,
            "totalTokenCount": 1_100,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 200},
                {"modality": "AUDIO", "tokenCount": 800},
            ],
        },
    ),
    "Gemini, image": (
        "google",
        "default",
        "gemini-2.5-flash-image",
        {
            "promptTokenCount": 10,
            "candidatesTokenCount": 1_290,
            "totalTokenCount": 1_300,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
        },
    ),
    "DeepSeek": (
        "deepseek",
        "chat",
        "deepseek-chat",
        {
            "prompt_tokens": 2_000,
            "completion_tokens": 900,
            "total_tokens": 2_900,
            "prompt_cache_hit_tokens": 1_024,
            "prompt_cache_miss_tokens": 976,
            "prompt_tokens_details": {"cached_tokens": 1_024},
        },
    ),
    "xAI, whose completion tokens leave out those of the reasoning": (
        "x-ai",
        "chat",
        "grok-4.3",
        {
            "prompt_tokens": 2_000,
            "completion_tokens": 100,
            "total_tokens": 2_900,
            "prompt_tokens_details": {"cached_tokens": 1_024, "text_tokens": 2_000, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 800, "audio_tokens": 0},
        },
    ),
    "Mistral": (
        "mistral",
        "default",
        "mistral-large-latest",
        {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29},
    ),
    "Groq": (
        "groq",
        "default",
        "openai/gpt-oss-120b",
        {
            "prompt_tokens": 2_000,
            "completion_tokens": 900,
            "total_tokens": 2_900,
            "prompt_tokens_details": {"cached_tokens": 1_024},
            "completion_tokens_details": {"reasoning_tokens": 640},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_cost_of_a_response_is_that_of_the_library(case: str, listed: PriceList) -> None:
    provider, flavor, model, counts = CASES[case]
    name = "usageMetadata" if provider == "google" else "usage"
    body = {"model": model, "modelVersion": model, name: counts}
    readers = {"google": gemini_pieces.usage_of, "anthropic": anthropic.usage_of, "aws": bedrock_response.usage_of}
    usage = readers.get(provider, openai_response.usage_of)(body)
    price = listed.find(PricedEndpoint(model, provider), model, None, NOW)
    assert usage is not None
    assert price is not None
    extracted = extract_usage(body, provider_id=provider, api_flavor=flavor)
    theirs = calc_price(extracted.usage, model, provider_id=provider, genai_request_timestamp=NOW)
    assert float(theirs.total_price) > 0
    assert price.cost(usage) == pytest.approx(float(theirs.total_price), rel=1e-9, abs=1e-11)
    assert price.cost(usage) <= price.bound(usage.prompt_tokens, usage.completion_tokens) + 0.05  # The searches.


def test_counts_that_contradict_each_other_are_priced_without_details(listed: PriceList) -> None:
    price = listed.find(PricedEndpoint("gemini-2.5-flash", "google"), "gemini-2.5-flash", None, NOW)
    assert price is not None
    usage = Usage(10, 10, 20, details={"input_audio_tokens": 500})
    assert price.cost(usage) == price.cost(Usage(10, 10, 20))
