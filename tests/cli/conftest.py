"""A job in a folder, and the command line that runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.fork_server import ForkServer
from tests.fakes import questions, write_jsonl

ROOT = Path(__file__).parents[2]


@dataclass
class Job:
    """A folder with rows in `in.jsonl`, a configuration in `config.yaml` and answers in `out.jsonl`.

    Attributes:
        durable: The questions whose answers were on disk when the last run was killed.
    """

    folder: Path
    rows: int = 10
    durable: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        write_jsonl(self.folder / "in.jsonl", questions(self.rows))
        self.configure()

    @property
    def output(self) -> Path:
        return self.folder / "out.jsonl"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch" / "out.jsonl"

    @property
    def log(self) -> Path:
        return self.folder / "requests.log"

    def requests(self) -> list[str]:
        """Return the questions that were sent to the engine, in all runs."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def configure(self, *, workers: int = 4, output: bool = True, **script: Any) -> None:
        """Write the configuration. `script` sets what the engine does from now on."""
        self.script = script
        config = {
            "engine": "REMOTE",
            "model": {"model_name": "scripted"},
            "remote_params": {"num_workers": workers},
            "input_path": str(self.folder / "in.jsonl"),
            **({"output_path": str(self.output)} if output else {}),
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def environment(self) -> dict[str, str]:
        return {**environment(), "SCRIPT": json.dumps({"log": str(self.log), **self.script})}

    def start(self, *args: str, command: str = "infer", **options: Any) -> subprocess.Popen[str]:
        """Start `asyncinfer <command> -c config.yaml *args`."""
        program = [sys.executable, "-m", "tests.cli.scripted", command, "-c", str(self.folder / "config.yaml"), *args]
        pipes: dict[str, Any] = {
            "env": self.environment(),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            # The tests may run under nohup, which ignores SIGHUP; a child inherits that.
            "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        }
        return subprocess.Popen(program, cwd=ROOT, **{**pipes, **options})

    def run(self, *args: str, input: str | None = None) -> Completed:
        """Run `asyncinfer infer -c config.yaml *args`, and wait for its end."""
        command = ["infer", "-c", str(self.folder / "config.yaml"), *args]
        return run_command(command, self.environment(), (input or "").encode())


@dataclass
class Completed:
    """The exit code of a command, and what it printed."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """Return the environment of the command: a terminal with 200 columns, and no forced colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return {**kept, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


@cache
def fork_server() -> ForkServer:
    return ForkServer(environment())


@pytest.fixture(autouse=True, scope="session")
def end_of_fork_server() -> Iterator[None]:
    yield
    if fork_server.cache_info().currsize:
        fork_server().close()


def run_command(
    args: Sequence[str], variables: Mapping[str, str], input: bytes = b"", *, scripted: bool = True
) -> Completed:
    """Run the command line with these arguments and environment variables, and wait for its end.

    `scripted`: With the scripted engine. False: with the real ones.
    """
    code, out, err = fork_server().run([*args], variables, input, scripted=scripted)
    return Completed(code, out.decode(), err.decode())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)
