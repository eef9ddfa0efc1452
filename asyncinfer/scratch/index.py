"""Find a row by its identity among millions, in about 28 bytes a row."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import islice
from operator import eq
from struct import Struct

KEY_BYTES = 16
_PREFIX = Struct("=Q8x").unpack


class KeyIndex:
    """An index over keys laid end to end: `find(key, n)` is the row that holds `key` for the n-th time.

    Sorted arrays of key prefixes take a third of a dict's memory. Sorting is stable, so equal keys
    stand in row order, and an occurrence is an offset into their stretch.
    """

    def __init__(self, keys: bytes | bytearray) -> None:
        self._keys = keys
        prefixes = array("Q", memoryview(keys).cast("Q")[::2])
        self._order = array("I", sorted(range(len(prefixes)), key=prefixes.__getitem__))
        self._prefixes = array("Q", map(prefixes.__getitem__, self._order))

    def __len__(self) -> int:
        return len(self._order)

    def key(self, row: int) -> bytes:
        return bytes(self._keys[row * KEY_BYTES : (row + 1) * KEY_BYTES])

    def find(self, key: bytes, n: int) -> int | None:
        """The row whose identity is `(key, n)`, or None."""
        (prefix,) = _PREFIX(key)
        at = bisect_left(self._prefixes, prefix) + n
        if at >= len(self._prefixes) or self._prefixes[at] != prefix:
            return None
        row = self._order[at]
        # Two keys with one 64-bit prefix would be taken for each other without this look.
        return row if self._keys.startswith(key, row * KEY_BYTES) else None

    def occurrences(self) -> array[int] | None:
        """For each row, how often its key came before it; None where every key is new."""
        if not has_repeats(self._prefixes):
            return None
        counts = array("I", bytes(4 * len(self)))
        for at in range(1, len(self)):
            if self._prefixes[at] == self._prefixes[at - 1]:
                counts[self._order[at]] = counts[self._order[at - 1]] + 1
        return counts


def has_repeats(ordered: array[int]) -> bool:
    """Whether two neighbours of a sorted array are equal."""
    return any(map(eq, ordered, islice(ordered, 1, None)))
