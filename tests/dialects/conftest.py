"""The server that the SDK and we both ask."""

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
    """OpenAI's own client: the judge."""
    async with AsyncOpenAI(base_url=api.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(api: Recorder) -> AsyncIterator[AsyncAnthropic]:
    """Anthropic's own client, by the version of the API that takes a temperature: the judge."""
    version = {"anthropic-version": "2023-06-01"}
    url = api.url.removesuffix("/v1")
    async with AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, default_headers=version) as client:
        yield client
