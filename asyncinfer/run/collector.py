"""Python's garbage collector, while runs are under way."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

# New objects between two collections. A run makes and drops some hundred for each row in flight, none of them
# in cycles; at Python's own 700 the collector would take a fifth of the processor to find that out.
_NEW_OBJECTS = 20_000

_lock = threading.Lock()
_runs = 0
_before = gc.get_threshold()


@contextmanager
def seldom_collecting() -> Generator[None]:
    """Collect less often inside the block; the last of several to end restores what was set before."""
    global _runs, _before
    with _lock:
        _runs += 1
        if _runs == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _NEW_OBJECTS:
                gc.set_threshold(_NEW_OBJECTS, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if _runs == 0 and gc.get_threshold() == (_NEW_OBJECTS, *_before[1:]):
                gc.set_threshold(*_before)
