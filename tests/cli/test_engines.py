"""`asyncinfer engines`, and the version."""

from __future__ import annotations

import subprocess
import sys

from asyncinfer.engines.registry import ENGINES
from tests.cli.conftest import environment


def asyncinfer(*args: str) -> str:
    command = [sys.executable, "-m", "asyncinfer", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout


def test_lists_every_engine() -> None:
    shown = asyncinfer("engines")
    for name, entry in ENGINES.items():
        assert name.name in shown
        assert entry.extra is None or entry.extra in shown
    assert "temperature" in shown
    assert "\x1b" not in shown


def test_version() -> None:
    assert asyncinfer("--version").strip()[0].isdigit()
