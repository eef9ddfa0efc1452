"""What every test lives under: a home of its own, and an eye on whatever blocks the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings

from tests.smollm2 import Smollm2, smollm2

# A busy machine is no failure: no example is timed.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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


@pytest.fixture(name="smollm2", scope="session")
def folders_of_smollm2(pytestconfig: pytest.Config) -> Smollm2:
    """Takes a while the first time; needs torch."""
    cache = pytestconfig.cache
    assert cache is not None
    return smollm2(cache.mkdir("smollm2"))


class BlockWatch:
    """Notes what the package does on a running loop that may block it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._on = False

    def on(self) -> None:
        self.seen.clear()
        self._on = True

    def off(self) -> None:
        self._on = False

    def hear(self, event: str, args: tuple[object, ...]) -> None:
        if not self._on or event not in BLOCKING or asyncio._get_running_loop() is None:
            return
        if (place := _place_in_package(sys._getframe(2))) is not None:
            self.seen.append(f"{event}{args[:1]} from {place}")


_watch = BlockWatch()


def _place_in_package(frame: FrameType | None) -> str | None:
    """The innermost line of the package that led here; None for a lazy import, which happens once."""
    ours = None
    while frame is not None:
        name = frame.f_code.co_filename
        if "importlib" in name:
            return None
        if ours is None and name.startswith(PACKAGE):
            ours = f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ours


sys.addaudithook(_watch.hear)


@pytest.fixture(autouse=True)
def block_watch() -> Iterator[BlockWatch]:
    """Fail a test in which the package touched the disk, slept or started a process on a running loop."""
    _watch.on()
    yield _watch
    _watch.off()
    assert not _watch.seen, f"blocked the event loop: {_watch.seen[:5]}"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    return path
