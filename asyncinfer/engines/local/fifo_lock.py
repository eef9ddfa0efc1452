"""A lock that threads acquire in the order in which they asked for it."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FifoLock:
    """A context manager that is acquired first come, first served. `threading.Lock` may starve a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._acquired = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._acquired:
                self._acquired = True
                return
            own_turn = threading.Lock()
            own_turn.acquire()
            self._waiting.append(own_turn)
        own_turn.acquire()  # Released by the thread before this one, in `__exit__`.

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._acquired = False
