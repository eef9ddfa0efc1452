"""A cache for a slow function that caches failures too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from asyncinfer.errors import RequestError, invalid_request

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SIZE = 64


class Memo(Generic[K, V]):
    """`memo[key]` is `compute(key)`. The 64 most recently used results are cached.

    For a RequestError, only the message is cached: each access raises a new error.
    """

    def __init__(self, compute: Callable[[K], V]) -> None:
        self._compute = compute
        self._outcomes: OrderedDict[K, tuple[V | None, str]] = OrderedDict()

    def __getitem__(self, key: K) -> V:
        if key not in self._outcomes:
            self._outcomes[key] = self._attempt(key)
            if len(self._outcomes) > _SIZE:
                self._outcomes.popitem(last=False)
        self._outcomes.move_to_end(key)
        value, failure = self._outcomes[key]
        if value is None:
            raise invalid_request(failure)
        return value

    def _attempt(self, key: K) -> tuple[V | None, str]:
        try:
            return self._compute(key), ""
        except RequestError as error:
            return None, str(error)
