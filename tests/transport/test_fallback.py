"""A version of aiohttp that lacks what the pooled transport needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

import asyncinfer
from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.engines.local.image_fetch import ImageFetcher
from asyncinfer.transport import compat, default
from asyncinfer.transport.fallback import FallbackTransport
from asyncinfer.transport.pooled import PooledTransport
from tests.fakes import answer_to, question
from tests.faults import FaultServer
from tests.file_server import FileServer

PACKAGE = Path(asyncinfer.__file__).parent


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    caches = (compat.missing, default._warn)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def engine_at(url: str) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=url))


def test_installed_aiohttp_has_what_the_pooled_transport_needs(caplog: pytest.LogCaptureFixture) -> None:
    assert compat.missing() == ()
    assert isinstance(default.default_transport(), PooledTransport)
    assert not caplog.records


async def test_engine_falls_back_to_a_session_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(ResponseHandler, "start_timeout")
    async with FaultServer() as server:
        engine, other = engine_at(server.url), engine_at(server.url)
        assert isinstance(engine._transport, FallbackTransport)
        assert isinstance(other._transport, FallbackTransport)
        monkeypatch.undo()  # The session of this aiohttp needs what was deleted.
        async with engine:
            assert (await engine.agenerate(question("a"))).messages[-1].content == answer_to("a")
            assert await engine.alist_models() == ["chatty", "text-embedding-x"]
        await server.until(lambda: not server.open_connections)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("asyncinfer", "WARNING")
    assert f"aiohttp {aiohttp.__version__} lacks aiohttp.client_proto.ResponseHandler.start_timeout" in record.message


def test_changed_parameters_of_aiohttp_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiohttp.BaseConnector, "connect", lambda self, request: None)
    assert compat.missing() == ("aiohttp.BaseConnector.connect",)


async def test_images_are_fetched_by_the_fallback_from_public_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "missing", lambda: ("aiohttp.BaseConnector.connect",))
    with FileServer({"/a.png": b"an image"}) as server:
        async with ImageFetcher() as fetcher:
            with pytest.raises(asyncinfer.RequestError, match="its address is not public"):
                await fetcher.fetch(f"{server.url}/a.png")
        assert not server.asked
        async with ImageFetcher(allow_private=True) as fetcher:
            assert await fetcher.fetch(f"{server.url}/a.png") == b"an image"


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "compat.py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_compat_imports_internals_of_aiohttp(path: Path) -> None:
    """Type annotations may name them."""
    source = path.read_text()
    if "aiohttp." not in source:
        return  # Parsing all files would take seconds.
    tree = ast.parse(source)
    for_types = {
        inner
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for inner in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in for_types and (node.module or "").startswith("aiohttp."):
            assert node.module == "aiohttp.abc"
