"""A running fake of each batch API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.batch.fakes.apis import SERVERS, Api, running


@pytest.fixture(params=list(SERVERS))
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """The batch API of each provider in turn."""
    async with running(request.param) as api:
        yield api
