"""`asyncinfer infer` with replicas, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asyncinfer import InferenceConfig
from asyncinfer.engines.registry import build_engine
from tests.cli.conftest import ROOT, environment
from tests.distributed.conftest import RayCluster
from tests.examples.programs import needs_smollm2
from tests.fakes import questions, read_jsonl, write_jsonl
from tests.faults import FaultServer
from tests.test_readme import README

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 24
# A machine with other work loads the model in a minute.
PATIENCE = 240


def command(folder: Path, *more: str) -> list[str]:
    """The command with two replicas of SmolLM2 on a Ray of its own."""
    settings = {
        "input_path": folder / "in.jsonl",
        "output_path": folder / "out.jsonl",
        "generation.max_new_tokens": 24,
        "model.model_max_length": 512,
        "model.model_kwargs": "{n_threads: 1, n_threads_batch: 1, n_parallel: 2}",
        "distributed.backend": "ray",
        "distributed.num_replicas": 2,
        "distributed.address": "local",
        "distributed.resources_per_replica.num_cpus": 0.5,
    }
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "asyncinfer", "infer", "-c", "examples/quickstart.yaml", *options, *more]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, as a shell does."""
    return subprocess.Popen(
        command(folder, *more),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def saved(folder: Path) -> int:
    scratch = folder / "scratch" / "out.jsonl"
    return scratch.read_bytes().count(b"\n") if scratch.exists() else 0


def processes_of(group: int) -> list[str]:
    """The processes of a process group, zombies left aside."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    found = [line.split(None, 2) for line in listed.splitlines()]
    return [args for pgid, state, args in found if int(pgid) == group and not state.startswith("Z")]


@pytest.mark.model
@needs_smollm2
def test_ctrl_c_saves_rows_ends_ray_and_the_next_run_goes_on(ray_environment: None, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(ROWS))
    with start(tmp_path) as process:
        end = time.monotonic() + PATIENCE
        while saved(tmp_path) < 2 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # A terminal sends it to all processes of the group.
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    rows = saved(tmp_path)
    assert 0 < rows < ROWS
    assert "Stopping after the running rows. Press Ctrl-C again to stop now." in err
    assert f"Stopped: {rows} of {ROWS} rows are saved." in err
    assert "--distributed.num_replicas 2" in err, "the command that goes on"
    assert "Traceback" not in err
    assert "(raylet)" not in err
    assert wait_until_empty(process.pid) == []

    with start(tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, ""), err
    assert f"{ROWS} of {ROWS} finished ({rows} resumed)" in err
    assert len(read_jsonl(tmp_path / "out.jsonl")) == ROWS
    assert wait_until_empty(process.pid) == []


def wait_until_empty(group: int) -> list[str]:
    """The processes of a group that are left after some seconds. Ray's agents look now and then whether Ray still runs."""
    end = time.monotonic() + 90
    while (left := processes_of(group)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def test_missing_cluster_ends_the_command_soon_and_without_a_traceback(ray_environment: None, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", questions(2))
    with start(tmp_path, "--distributed.address", "127.0.0.1:1") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) != (0, "")
    assert "distributed.address: cannot use Ray at 127.0.0.1:1" in err
    assert "Traceback" not in err


async def test_three_lines_of_the_readme_make_replicas(
    cluster: RayCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    [sample] = re.findall(r"^```yaml\n(distributed:\n.*?)^```", README, re.DOTALL | re.MULTILINE)
    async with FaultServer() as server:
        remote = f"engine: REMOTE\nmodel: {{model_name: m}}\nremote_params: {{api_url: '{server.url}'}}\n"
        config = InferenceConfig.from_str(remote + sample)
        async with build_engine(config) as engine:
            answers = await engine.ainfer(questions(20))
    assert [answer.text for answer in answers] == [f"answer to question {i}" for i in range(20)]
    assert "room for 2 of 4 replicas at most" in caplog.text
