"""The server that the SDK and we both ask."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
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
