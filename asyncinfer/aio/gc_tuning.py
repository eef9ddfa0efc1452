"""Python's garbage collector, while runs are under way and while models are loaded."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

# New objects between two collections. A run makes and drops some hundred for each row in flight, none of them
# in cycles; at Python's own 700 the collector would take a fifth of the processor to find that out.
_IN_A_RUN = (20_000, 0, 0)
# A model brings some million objects, mostly those of imported modules, which stay. To look at them all stops
# every thread for a third of a second; only what is quite new is looked at.
_LOADING = (50_000, 10**6, 10**6)

_lock = threading.Lock()
_asked: list[tuple[int, int, int]] = []
_loads = 0
_before = gc.get_threshold()
_set: tuple[int, ...] | None = None


@contextmanager
def relaxed_gc() -> Generator[None]:
    """Collect less often inside the block; the last of several to end restores what was set before."""
    with _threshold(_IN_A_RUN):
        yield


@contextmanager
def loading() -> Generator[None]:
    """Inside, and later too, let no collection look at all that a model brings, which others would have to wait for."""
    global _loads
    with _lock:
        # Objects that somebody else has put out of the collector's sight stay there.
        ours = _loads > 0 or gc.get_freeze_count() == 0
        _loads += ours
    with _threshold(_LOADING):
        try:
            yield
        finally:
            settle()  # What is new becomes old, without a look at it.
            with _lock:
                _loads -= ours
                if ours and not _loads:
                    gc.unfreeze()


def settle() -> None:
    """What is there now is not looked at until the last `loading` ends, not even when the library collects."""
    with _lock:
        if _loads:
            gc.freeze()


@contextmanager
def _threshold(asked: tuple[int, int, int]) -> Generator[None]:
    with _lock:
        _asked.append(asked)
        _adjust()
    try:
        yield
    finally:
        with _lock:
            _asked.remove(asked)
            _adjust()


def _adjust() -> None:
    """Set the most patient of what is asked, unless somebody else has set something meanwhile or wants no collector."""
    global _before, _set
    now = gc.get_threshold()
    if _set is None:
        _before = now
    if now == (_set or now) and now[0] > 0:
        goal = tuple(max(each) for each in zip(_before, *_asked, strict=True))
        gc.set_threshold(*goal)
        _set = goal
    if not _asked:
        _set = None
