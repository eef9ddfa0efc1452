"""A folder with a job in it, and the command line to run it with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes import questions, write_jsonl

ROOT = Path(__file__).parents[2]


@dataclass
class Job:
    """Rows in `in.jsonl`, a configuration in `config.yaml`, answers in `out.jsonl`.

    `kept`: the questions that were durable when the last run was killed.
    """

    folder: Path
    rows: int = 10
    kept: set[str] = field(default_factory=set[str])

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
        return self.folder / "asked.log"

    def asked(self) -> list[str]:
        """The questions that the engine was asked, over all runs."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def configure(self, *, workers: int = 4, output: bool = True, **script: Any) -> None:
        """Write the configuration; `script` is what the engine does from now on."""
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

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Begin `asyncinfer infer -c config.yaml *args`."""
        command = [sys.executable, "-m", "tests.cli.scripted", "infer", "-c", str(self.folder / "config.yaml"), *args]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        return subprocess.Popen(command, cwd=ROOT, env=self.environment(), **{**pipes, **options})

    def run(self, *args: str, input: str | None = None) -> Ran:
        """Run it to its end."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.start(*args, stdin=stdin) as process:
            out, err = process.communicate(input, timeout=60)
        return Ran(process.returncode, out, err)


@dataclass
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """The child's environment: a plain terminal 200 columns wide, and no colours forced."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return {**kept, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)
