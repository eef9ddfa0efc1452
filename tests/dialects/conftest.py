"""A recording server, and the SDKs whose requests and answers ours are compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.recorder import Recorder

KEY = "sk-test"


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


@pytest.fixture
async def sdk(api: Recorder) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, as the reference."""
    async with AsyncOpenAI(base_url=api.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(api: Recorder) -> AsyncIterator[AsyncAnthropic]:
    """Anthropic's client, as the reference. It uses the version of the API that accepts a temperature."""
    version = {"anthropic-version": "2023-06-01"}
    url = api.url.removesuffix("/v1")
    async with AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, default_headers=version) as client:
        yield client
