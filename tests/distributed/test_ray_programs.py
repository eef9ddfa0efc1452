"""Programs that use a Ray cluster at the same time, and programs that end early."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import Process

from tests.distributed.conftest import NODE, RayCluster
from tests.fakes import questions, read_jsonl, write_jsonl
from tests.faults import FaultServer, after

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 40


@asynccontextmanager
async def program(cluster: RayCluster, url: str, output: Path) -> AsyncGenerator[Process]:
    """A program that answers rows with two replicas, each on a node of its own."""
    write_jsonl(output.with_suffix(".in"), questions(ROWS))
    command = [sys.executable, "-m", "asyncinfer", "infer", "--input_path", str(output.with_suffix(".in"))]
    command += ["--output_path", str(output), "--engine", "REMOTE", "--model.model_name", "m"]
    command += ["--remote_params.api_url", url, "--remote_params.num_workers", "4"]
    command += ["--distributed.num_replicas", "2", "--distributed.address", cluster.address]
    command += ["--distributed.resources_per_replica", f"{{num_cpus: 0.1, custom: {{{NODE}: 1}}}}"]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


def replicas_of_the_cluster() -> list[int]:
    """The processes of replicas. Other clusters of the machine have another folder."""
    mark = f"RAY_TMPDIR={os.environ['RAY_TMPDIR']}\0".encode()
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _is_replica(path, mark)]


def _is_replica(path: Path, mark: bytes) -> bool:
    try:
        return b"ray::Replica" in (path / "cmdline").read_bytes() and mark in (path / "environ").read_bytes()
    except OSError:  # It has ended, or belongs to another user.
        return False


def check_output(output: Path) -> None:
    answers = [row["messages"][-1]["content"] for row in read_jsonl(output)]
    assert answers == [f"answer to question {number}" for number in range(ROWS)]


async def test_two_programs_share_a_cluster_that_has_room_for_one(cluster: RayCluster, tmp_path: Path) -> None:
    outputs = [tmp_path / "one.jsonl", tmp_path / "other.jsonl"]
    async with FaultServer(lambda ask: after(0.05)) as server, program(cluster, server.url, outputs[0]) as one:
        async with program(cluster, server.url, outputs[1]) as other:
            with anyio.fail_after(120):
                assert (await one.wait(), await other.wait()) == (0, 0)
        assert len(server.asks) == 2 * ROWS
    for output in outputs:
        check_output(output)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_program_that_ends_early_leaves_no_replica_and_is_resumed(
    cluster: RayCluster, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out.jsonl"
    async with FaultServer(lambda ask: after(0.1)) as server:
        async with program(cluster, server.url, output) as process:
            with anyio.fail_after(60):
                while len(server.asks) < ROWS // 2:
                    await anyio.lowlevel.checkpoint()
            assert replicas_of_the_cluster()
            process.send_signal(number)
            with anyio.fail_after(60):
                assert await process.wait() == (130 if number == signal.SIGTERM else -number)
        with anyio.fail_after(30):
            while replicas_of_the_cluster():
                await anyio.lowlevel.checkpoint()
        before = len(server.asks)
        async with program(cluster, server.url, output) as again:
            with anyio.fail_after(60):
                assert await again.wait() == 0
        assert len(server.asks) - before < ROWS
    check_output(output)
