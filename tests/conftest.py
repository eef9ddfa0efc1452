"""What every test lives under: a home of its own, and an eye on whatever blocks the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

PACKAGE = str(Path(__file__).parent.parent / "asyncinfer")
BLOCKING = frozenset(
    {
        "open",
        "time.sleep",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.truncate",
        "subprocess.Popen",
    }
)
_blocked: list[str] = []


def _watch(event: str, args: tuple[object, ...]) -> None:
    if event not in BLOCKING or asyncio._get_running_loop() is None:
        return
    ours, frame = None, sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "importlib" in name:
            return  # a lazy import, once
        if ours is None and name.startswith(PACKAGE):
            ours = _place(frame)
        frame = frame.f_back
    if ours is not None:
        _blocked.append(f"{event}{args[:1]} from {ours}")


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """Fail a test in which the package touched the disk, slept or started a process on a running loop."""
    _blocked.clear()
    yield
    assert not _blocked, f"blocked the event loop: {_blocked[:5]}"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    return path
