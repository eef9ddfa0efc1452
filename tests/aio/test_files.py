"""aiofiles on the threads of this package."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from asyncinfer import InferenceConfig
from asyncinfer.aio.files import async_file
from tests.conftest import BlockWatch
from tests.fakes import FakeEngine, questions, read_jsonl, write_jsonl


class RefusingExecutor(ThreadPoolExecutor):
    """The threads of an application, which nobody else may use."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise AssertionError(f"{fn} was passed to the threads of the application")


@pytest.fixture(autouse=True)
async def threads_of_the_application() -> None:
    asyncio.get_running_loop().set_default_executor(RefusingExecutor())


@pytest.fixture
def path(tmp_path: Path, block_watch: BlockWatch) -> Path:
    block_watch.off()  # The tests open and close files.
    return tmp_path / "file"


async def test_a_file_is_written_and_read_in_the_threads_of_the_package(path: Path) -> None:
    file = async_file(FileIO(path, "w+"))
    assert await file.write(b"some text") == 9
    await file.seek(5)
    assert await file.read() == b"text"
    await file.close()
    assert path.read_bytes() == b"some text"


async def test_an_error_of_the_file_is_raised(path: Path) -> None:
    path.touch()
    file = async_file(FileIO(path, "r"))
    with pytest.raises(OSError, match="not open for writing"):
        await file.write(b"text")
    await file.close()


async def test_a_cancelled_call_is_finished_by_its_thread(path: Path) -> None:
    loop, released = asyncio.get_running_loop(), Event()
    started, written = asyncio.Event(), asyncio.Event()

    class Slow(FileIO):
        def write(self, data: Any, /) -> int:
            loop.call_soon_threadsafe(started.set)
            released.wait()
            size = super().write(data)
            loop.call_soon_threadsafe(written.set)
            return size

    with Slow(path, "w") as slow:
        writing = asyncio.create_task(async_file(slow).write(b"text"))
        await started.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        released.set()
        await written.wait()
    assert path.read_bytes() == b"text"


async def test_a_run_leaves_the_threads_of_the_application_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(5))
    files = {name: str(tmp_path / file) for name, file in FILES.items()}
    await FakeEngine().arun(InferenceConfig(**files))
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 5
    assert (tmp_path / "progress.json").exists()


FILES = {"input_path": "in.jsonl", "output_path": "out.jsonl", "progress_path": "progress.json"}
