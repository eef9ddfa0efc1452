"""Remembers the outcomes of a slow function, failures too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from asyncinfer.errors import RequestError
from asyncinfer.types.results import unanswerable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SIZE = 64


class Memo(Generic[K, V]):
    """`memo[key]` is `compute(key)`, computed once while the key is among the last 64 used.

    A RequestError is remembered by its message, and raised anew each time.
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
            raise unanswerable(failure)
        return value

    def _attempt(self, key: K) -> tuple[V | None, str]:
        try:
            return self._compute(key), ""
        except RequestError as error:
            return None, str(error)
