"""The real server that takes long to start, once for all that ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.smollm2 import smollm2
from tests.vllm_server import VllmServer


@pytest.fixture(scope="session")
def vllm_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    cache = pytestconfig.cache
    assert cache is not None
    server = VllmServer(smollm2(cache.mkdir("smollm2")), tmp_path_factory.mktemp("vllm"))
    server.start()
    yield server
    server.kill()
