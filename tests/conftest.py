"""What applies to every test: a home directory of its own, and a check that nothing blocks the event loop."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from tests.block_watch import BlockWatch
from tests.smollm2 import Smollm2, smollm2

# Examples have no deadline, because the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(name="smollm2", scope="session")
def folders_of_smollm2(pytestconfig: pytest.Config) -> Smollm2:
    """Takes a while the first time; needs torch."""
    cache = pytestconfig.cache
    assert cache is not None
    return smollm2(cache.mkdir("smollm2"))


@pytest.fixture(scope="session")
def the_block_watch() -> Iterator[BlockWatch]:
    watch = BlockWatch()
    yield watch
    watch.close()


@pytest.fixture(autouse=True)
def block_watch(the_block_watch: BlockWatch) -> Iterator[BlockWatch]:
    """Fail a test in which the package blocked a running event loop."""
    the_block_watch.on()
    yield the_block_watch
    the_block_watch.off()
    assert not the_block_watch.seen, f"blocked the event loop: {the_block_watch.seen[:5]}"


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths for new folders, in one folder of their own: `mktemp` reads its whole folder, each time."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own cache."""
    path = next(homes)
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture(autouse=True, scope="session")
def certificates() -> Iterator[None]:
    """One certificate in place of the system's: a client of an SDK takes 20 ms to load those, and no test needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Path(__file__).parent / "data" / "ca.pem"))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while the tests are found: nearly all objects stay, and there are more and more of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Keep the items of the session, over ten thousand, out of the collections that tests make."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the extra `heavy` run only if `-m` names them. `-m "not slow"` replaces the `-m` in pyproject.toml."""
    if "heavy" in str(config.option.markexpr):
        return
    heavy = [item for item in items if item.get_closest_marker("heavy")]
    config.hook.pytest_deselected(items=heavy)
    items[:] = [item for item in items if not item.get_closest_marker("heavy")]
