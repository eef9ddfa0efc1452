"""`asyncinfer infer` with several endpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
import yaml

from tests.cli.conftest import ROOT, environment
from tests.fakes import questions, write_jsonl
from tests.faults import FaultServer, status


@pytest.fixture
def servers() -> Generator[list[FaultServer]]:
    """A server that answers, and one that refuses the key, on the loop of another thread."""
    answering, refusing = FaultServer(), FaultServer(lambda _: status(401, "wrong key"))
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(answering),
        portal.wrap_async_context_manager(refusing),
    ):
        yield [answering, refusing]


def infer(folder: Path, endpoints: list[dict[str, Any]], *args: str) -> subprocess.CompletedProcess[str]:
    write_jsonl(folder / "in.jsonl", questions(20))
    config = {
        "engine": "REMOTE",
        "model": {"model_name": "m"},
        "remote_params": {"endpoints": endpoints},
        "input_path": str(folder / "in.jsonl"),
        "output_path": str(folder / "out.jsonl"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "asyncinfer", "infer", "-c", str(folder / "config.yaml"), *args]
    env = {**environment(), "no_proxy": "*"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_summary_has_a_line_for_each_endpoint(servers: list[FaultServer], tmp_path: Path) -> None:
    done = infer(tmp_path, [{"api_url": server.url, "api_key": "key-1"} for server in servers])
    assert done.returncode == 0, done.stderr
    lines = [line.split(None, 1)[1] for line in done.stderr.splitlines() if line.startswith("endpoint")]
    answering, refusing = servers
    assert lines[0] == f"{answering.url}: 20 rows answered, 20 requests"
    assert lines[1].startswith(f"{refusing.url}: 0 rows answered, ")
    assert lines[1].endswith(" failed; put aside: HTTP 401: wrong key")
    assert f"{refusing.url} is put aside: HTTP 401: wrong key" in done.stderr
    assert "key-1" not in done.stderr


def test_json_summary_has_the_counts_of_each_endpoint(servers: list[FaultServer], tmp_path: Path) -> None:
    done = infer(tmp_path, [{"api_url": server.url} for server in servers], "--log-format", "json")
    summary = json.loads(done.stderr.splitlines()[-1])["summary"]
    assert [(e["endpoint"], e["answered"]) for e in summary["endpoints"]] == [(servers[0].url, 20), (servers[1].url, 0)]
