"""The real server that takes long to start, once for all that ask it; and torch on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.smollm2 import Smollm2
from tests.vllm_server import VllmServer


@pytest.fixture(scope="session")
def vllm_server(smollm2: Smollm2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    server = VllmServer(smollm2, tmp_path_factory.mktemp("vllm"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def one_torch_thread() -> None:
    """Several wait for each other where the cores are shared."""
    import_module("torch").set_num_threads(1)  # type: ignore[attr-defined]
