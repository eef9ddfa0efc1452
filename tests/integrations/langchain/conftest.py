"""What the tests of the LangChain adapter share: a server in a thread of its own, and no tracing over the network."""

from __future__ import annotations

from collections.abc import Iterator

import anyio.from_thread
import pytest

from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
from tests.integrations.obedient_chat import ObedientChat


@pytest.fixture(autouse=True)
def no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """LangSmith sends nothing, whatever the environment says."""
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


@pytest.fixture(scope="module")
def chat() -> Iterator[ObedientChat]:
    """The server. Its thread is its own, because tests of blocking methods hold up theirs."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(ObedientChat()) as server,
    ):
        yield server


@pytest.fixture
def engine(chat: ObedientChat) -> Iterator[RemoteInferenceEngine]:
    """An engine for the server."""
    chat.sent.clear()
    engine = engine_for(chat.url)
    yield engine
    engine.close()


def engine_for(url: str) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(
        ModelParams(model_name="gpt-test"), remote_params=RemoteParams(api_url=url, max_retries=0)
    )
