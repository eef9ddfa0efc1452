"""The server that stands in for the API of a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.recorder import Recorder


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api
