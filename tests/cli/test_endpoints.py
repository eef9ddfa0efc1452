"""`asyncinfer infer` with several endpoints."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
import yaml

from tests.cli.conftest import Completed, environment, run_command
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


def infer(folder: Path, endpoints: list[dict[str, Any]], *args: str) -> Completed:
    write_jsonl(folder / "in.jsonl", questions(20))
    config = {
        "engine": "REMOTE",
        "model": {"model_name": "m"},
        "remote_params": {"endpoints": endpoints},
        "input_path": str(folder / "in.jsonl"),
        "output_path": str(folder / "out.jsonl"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = ["infer", "-c", str(folder / "config.yaml"), *args]
    return run_command(command, {**environment(), "no_proxy": "*"}, scripted=False)


def test_summary_has_a_line_for_each_endpoint(servers: list[FaultServer], tmp_path: Path) -> None:
    done = infer(tmp_path, [{"api_url": server.url, "api_key": "key-1"} for server in servers])
    assert done.code == 0, done.err
    lines = [line.split(None, 1)[1] for line in done.err.splitlines() if line.startswith("endpoint")]
    answering, refusing = servers
    assert lines[0] == f"{answering.url}: 20 rows answered, 20 requests"
    assert lines[1].startswith(f"{refusing.url}: 0 rows answered, ")
    assert lines[1].endswith(" failed; put aside: HTTP 401: wrong key")
    assert f"{refusing.url} is put aside: HTTP 401: wrong key" in done.err
    assert "key-1" not in done.err


def test_json_summary_has_the_counts_of_each_endpoint(servers: list[FaultServer], tmp_path: Path) -> None:
    done = infer(tmp_path, [{"api_url": server.url} for server in servers], "--log-format", "json")
    summary = json.loads(done.err.splitlines()[-1])["summary"]
    assert [(e["endpoint"], e["answered"]) for e in summary["endpoints"]] == [(servers[0].url, 20), (servers[1].url, 0)]
