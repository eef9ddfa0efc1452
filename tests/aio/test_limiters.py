"""The package works while the application blocks all worker threads of anyio and asyncio."""

from __future__ import annotations

import ast
import asyncio
import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import asyncinfer
from asyncinfer import (
    Conversation,
    InferenceConfig,
    InferenceEngineType,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
)
from asyncinfer.aio.limiters import ThreadLimit
from asyncinfer.cli.run_file import run_file
from asyncinfer.engines.registry import ENGINES, EngineEntry
from asyncinfer.transport.resolver import OwnThreadsResolver
from tests.engines.local.test_engine import CountingEngine
from tests.fakes import FakeEngine, answer_to, question, questions, read_jsonl, write_jsonl
from tests.faults import FaultServer

PACKAGE = Path(asyncinfer.__file__).parent
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf50"
    "0f0003860180fa45d4e30000000049454e44ae426082"
)


@asynccontextmanager
async def busy_application() -> AsyncGenerator[None]:
    """Block every token of anyio's default limiter and every thread of the loop's default executor."""
    release, started = threading.Event(), threading.Semaphore(0)

    def block() -> None:
        started.release()
        release.wait()

    loop = asyncio.get_running_loop()
    # The largest size of a default executor is 32.
    executor = [loop.run_in_executor(None, block) for _ in range(64)]
    async with anyio.create_task_group() as tasks:
        limiter = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(limiter.total_tokens)):
            tasks.start_soon(anyio.to_thread.run_sync, block)
        await anyio.wait_all_tasks_blocked()
        assert not limiter.available_tokens
        try:
            with anyio.fail_after(60):
                yield
        finally:
            release.set()
    await asyncio.gather(*executor)


class TestBusyApplication:
    async def test_run_with_output_and_progress_completes_in_a_busy_application(self, tmp_path: Path) -> None:
        async with busy_application():
            config = InferenceConfig(
                input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(20))),
                output_path=str(tmp_path / "out.jsonl"),
            )
            result = await FakeEngine().ainfer_partial(
                inference_config=config, progress_path=tmp_path / "progress.json"
            )
            assert len(result.successful) == len(read_jsonl(tmp_path / "out.jsonl")) == 20

    async def test_iteration_with_output_completes_in_a_busy_application(self, tmp_path: Path) -> None:
        async with busy_application():
            config = InferenceConfig(output_path=str(tmp_path / "out.jsonl"))
            assert len([pair async for pair in FakeEngine().ainfer_iter(questions(20), config)]) == 20

    async def test_command_line_run_completes_in_a_busy_application(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with busy_application():
            entry = EngineEntry(InferenceEngineType.REMOTE, "tests.cli.scripted:ScriptedEngine")
            monkeypatch.setitem(ENGINES, InferenceEngineType.REMOTE, entry)
            config = InferenceConfig(
                model=ModelParams(model_name="m"),
                engine=InferenceEngineType.REMOTE,
                input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(3))),
                output_path=str(tmp_path / "out.jsonl"),
            )
            assert await run_file(config) == 0
            assert len(read_jsonl(tmp_path / "out.jsonl")) == 3

    async def test_remote_engine_resolves_names_and_reads_image_files_in_a_busy_application(
        self, tmp_path: Path
    ) -> None:
        async with busy_application():
            picture = tmp_path / "pixel.png"
            picture.write_bytes(PIXEL)
            content = [{"type": "image_path", "content": str(picture)}, {"type": "text", "content": "What is it?"}]
            conversation = Conversation.from_dict({"messages": [{"role": "user", "content": content}]})
            async with FaultServer() as server:
                url = server.url.replace("127.0.0.1", "localhost")
                remote = RemoteParams(api_url=url, api_key="none")  # pyright: ignore[reportArgumentType]
                async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
                    assert len(await engine.ainfer([conversation, question("a")])) == 2

    async def test_local_engine_answers_and_closes_in_a_busy_application(self) -> None:
        async with busy_application():
            async with CountingEngine() as engine:
                (answered,) = await engine.ainfer([question("2")])
            assert answered.messages[-1].content == "1 2 "

    async def test_blocking_twins_complete_in_a_busy_application(self) -> None:
        async with busy_application():
            engine = FakeEngine()
            assert len(engine.infer(questions(3))) == 3
            assert "".join(delta.content for delta in engine.stream(question("a"))) == answer_to("a")
            engine.close()


async def test_thread_limit_bounds_concurrent_calls() -> None:
    limit, running, peak, lock = ThreadLimit("test", 2), 0, 0, threading.Lock()
    full = threading.Barrier(2)

    def work() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        full.wait(60)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(limit.run, work)
    assert peak == 2


def test_thread_limit_works_on_one_loop_after_another() -> None:
    limit = ThreadLimit("test", 1)
    assert [asyncio.run(limit.run(lambda: 7)) for _ in range(2)] == [7, 7]


async def test_resolver_finds_the_same_addresses_as_the_system() -> None:
    found = await OwnThreadsResolver().resolve("localhost", 80, socket.AF_UNSPEC)
    expected = {entry[4][0] for entry in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    assert {entry["host"] for entry in found} <= expected
    assert all(entry["port"] == 80 for entry in found)
    with pytest.raises(OSError, match=r"."):
        await OwnThreadsResolver().resolve("no-such-host.invalid", 80)


def test_no_other_module_uses_the_threads_of_the_application() -> None:
    forbidden = {"to_thread", "run_in_executor", "set_default_executor", "ThreadPoolExecutor", "ThreadedResolver"}
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and (node.attr in forbidden or _is_lookup_of_a_loop(node)))
        or (isinstance(node, ast.Name) and node.id in forbidden)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in forbidden for alias in node.names))
    }
    # `helper_thread` has a separate thread.
    assert users == {"aio/limiters.py", "engines/local/helper_thread.py"}


def _is_lookup_of_a_loop(node: ast.Attribute) -> bool:
    """Whether this is `getaddrinfo` of an event loop, which uses its default executor."""
    return node.attr == "getaddrinfo" and not (isinstance(node.value, ast.Name) and node.value.id == "socket")
