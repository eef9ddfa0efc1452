"""The transports under test. Tests of what all transports promise take `transport`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from asyncinfer.transport import proxies, session, timeouts
from asyncinfer.transport.base import Transport
from asyncinfer.transport.fallback import FallbackTransport
from asyncinfer.transport.pooled import PooledTransport
from asyncinfer.transport.session import SessionTransport


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxies except those that a test sets, and no cached settings of other tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    caches = (proxies.proxy_for, timeouts.connect_timeout, session._timeout)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(params=["pooled", "session", "fallback"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Each transport."""
    async with made(request.param) as transport:
        yield transport


@pytest.fixture(params=["pooled", "fallback"])
async def own(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """Each transport that opens its own connections. With a session of the user, that is the session's task."""
    async with made(request.param) as transport:
        yield transport


@pytest.fixture
async def pooled() -> AsyncIterator[Transport]:
    async with made("pooled") as transport:
        yield transport


@asynccontextmanager
async def made(kind: str) -> AsyncGenerator[Transport]:
    if kind == "session":
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as given:
            transport = SessionTransport(given)
            yield transport
            await transport.aclose()
            assert not given.closed
    else:
        transport = PooledTransport() if kind == "pooled" else FallbackTransport()
        yield transport
        await transport.aclose()
