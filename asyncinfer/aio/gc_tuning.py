"""Settings of Python's garbage collector during runs and while models are loaded. They apply to the whole process."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

# The thresholds of `gc.set_threshold`: how many new objects start a collection of the youngest generation, and how many
# collections of one generation start one of the next.
#
# A run creates and drops some hundred objects for each row in flight, and none of them in cycles. With Python's default
# of 700 new objects, the collector would take 20 % of the CPU time and find nothing.
_DURING_RUN = (20_000, 0, 0)
# Loading a model creates about a million objects that stay, mostly of imported modules. A full collection would stop
# every thread for 0.3 s, so only the youngest generation is collected.
_WHILE_LOADING = (50_000, 10**6, 10**6)

_lock = threading.Lock()
_requests: list[tuple[int, int, int]] = []
_loads = 0
_original = gc.get_threshold()
# The thresholds that this module has set; None if it has set none.
_current: tuple[int, ...] | None = None


@contextmanager
def relaxed_gc() -> Generator[None]:
    """Collect less often inside the block. The last block that ends restores the original thresholds."""
    with _threshold(_DURING_RUN):
        yield


@contextmanager
def loading() -> Generator[None]:
    """Inside the block, a model is loaded. No collection scans all its objects, neither inside the block nor later."""
    global _loads
    with _lock:
        # If other code has frozen objects, they must stay frozen.
        freezes = _loads > 0 or gc.get_freeze_count() == 0
        _loads += freezes
    with _threshold(_WHILE_LOADING):
        try:
            yield
        finally:
            settle()  # Moves all new objects to the oldest generation, without a scan.
            with _lock:
                _loads -= freezes
                if freezes and not _loads:
                    gc.unfreeze()


def settle() -> None:
    """Keep the objects that exist now out of all collections, until the last `loading` block ends. Without such a
    block, does nothing.
    """
    with _lock:
        if _loads:
            gc.freeze()


@contextmanager
def _threshold(requested: tuple[int, int, int]) -> Generator[None]:
    with _lock:
        _requests.append(requested)
        _adjust()
    try:
        yield
    finally:
        with _lock:
            _requests.remove(requested)
            _adjust()


def _adjust() -> None:
    """Set the highest thresholds of all requests. Does nothing if other code has changed the thresholds or has switched
    the collector off.
    """
    global _original, _current
    now = gc.get_threshold()
    if _current is None:
        _original = now
    if now == (_current or now) and now[0] > 0:
        highest = tuple(max(values) for values in zip(_original, *_requests, strict=True))
        gc.set_threshold(*highest)
        _current = highest
    if not _requests:
        _current = None
