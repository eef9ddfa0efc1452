"""Runs of batch jobs against a local server, with a clock that jumps over waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asyncinfer import BatchParams, InferenceConfig, ModelParams, RemoteInferenceEngine, RemoteParams, RunSummary, Stop
from tests.batch.server import BatchServer, Faults
from tests.conftest import BlockWatch
from tests.fakes import answer_to, questions, read_jsonl, write_jsonl


class QuickClock:
    """Real time, except that waits end soon. `slept` is the sum of the waits that were skipped."""

    def __init__(self) -> None:
        self._offset = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return time.monotonic() + self._offset

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        def due() -> None:
            self._offset += max(0.0, seconds - 0.002)
            self.waits.append(seconds)
            callback()

        return asyncio.get_running_loop().call_later(min(seconds, 0.002), due).cancel


class BatchJob(NamedTuple):
    """A run of batch jobs in a folder."""

    folder: Path
    server: BatchServer
    clock: QuickClock

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    def write_input(self, rows: int) -> None:
        write_jsonl(self.folder / "in.jsonl", questions(rows))

    def engine(self, **remote: Any) -> RemoteInferenceEngine:
        params = RemoteParams(api_url=self.server.url, **remote)
        return RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params, clock=self.clock)

    def config(self, **batch: Any) -> InferenceConfig:
        return InferenceConfig(
            input_path=str(self.folder / "in.jsonl"), output_path=str(self.output), batch=BatchParams(**batch)
        )

    async def run(self, stop: Stop | None = None, **batch: Any) -> RunSummary:
        async with self.engine() as engine:
            return await engine.arun(self.config(**batch), stop=stop, relax_gc=False)

    def answers(self) -> list[str]:
        """The answers in the output, in its order."""
        return [row["messages"][-1]["content"] for row in read_jsonl(self.output)]

    def check_output(self, rows: int) -> None:
        """Every row has its answer, in the order of the input, and nothing is left over."""
        assert self.answers() == [answer_to(f"question {i}") for i in range(rows)]
        assert sorted(path.name for path in self.folder.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def server(faults: Faults, block_watch: BlockWatch) -> AsyncIterator[BatchServer]:
    block_watch.off()  # The server reads files on the loop of the test.
    async with BatchServer(faults) as server:
        yield server


@pytest.fixture
def job(tmp_path: Path, server: BatchServer) -> BatchJob:
    return BatchJob(tmp_path, server, QuickClock())
