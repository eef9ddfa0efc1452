"""A cache of limited size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """Keeps the values that were used most recently. Safe to use from several threads.

    Args:
        max_size: The maximum number of values.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V], *, keep: bool = True) -> V:
        """Return the value for a key.

        Args:
            make: Makes the value if the cache does not have it.
            keep: Whether the cache may keep a new value.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        if not keep:
            return value
        with self._lock:
            value = self._values.setdefault(key, value)  # Another thread may have made one meanwhile.
            if len(self._values) > self._max_size:
                self._values.popitem(last=False)
        return value
