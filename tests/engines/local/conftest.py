"""Fixtures: one vLLM server for all tests that need it, and torch on one thread."""

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
    """Several threads of torch would wait for each other on shared cores."""
    import_module("torch").set_num_threads(1)  # type: ignore[attr-defined]
