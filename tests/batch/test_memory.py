"""50,000 rows: memory does not grow with the answers, and the run takes minutes at most."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from asyncinfer import (
    BatchParams,
    Conversation,
    InferenceConfig,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    Role,
)
from tests.batch.conftest import QuickClock
from tests.batch.server import BatchServer, Faults
from tests.conftest import BlockWatch

ROWS = 50_000
PADDING = 1000


def write_rows(path: Path) -> None:
    padding = Message(role=Role.SYSTEM, content="x" * PADDING)
    with path.open("w") as file:
        for i in range(ROWS):
            messages = [padding, Message(role=Role.USER, content=f"question {i}")]
            file.write(Conversation(messages=messages, conversation_id=f"q{i}").to_json() + "\n")


def resident() -> int:
    """The memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
async def test_fifty_thousand_rows_take_little_memory(tmp_path: Path, block_watch: BlockWatch) -> None:
    block_watch.off()
    write_rows(tmp_path / "in.jsonl")
    clock, peak = QuickClock(), 0

    def watch(_: object) -> None:
        nonlocal peak
        peak = max(peak, resident())

    async with BatchServer(Faults(slow_polls=20)) as server:
        before, began, started = resident(), time.monotonic(), clock.now()
        config = InferenceConfig(
            input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"), batch=BatchParams()
        )
        remote = RemoteParams(api_url=server.url)
        async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote, clock=clock) as engine:
            summary = await engine.arun(config, observers=[watch], on_progress=watch)
        took = time.monotonic() - began
        assert summary.completed == ROWS
        assert len(server.jobs) == 1
        assert server.polls <= (clock.now() - started) / 60
        assert set(server.asked.values()) == {1}
    with (tmp_path / "out.jsonl").open() as file:
        assert sum(f'"q{i}"' in line for i, line in enumerate(file)) == ROWS
    grown = peak - before
    print(f"{took:.0f} s, {grown / 2**20:.0f} MiB more at the peak, server included")
    # The input has 55 MB, and the answers as much again. The server's own memory is part of the growth.
    assert grown < 80 * 2**20
    assert took < 300
