"""Reads ranges of the rows of an input, mostly in their order."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from asyncinfer.run.items import InputItem, changed_error, check_unchanged
from asyncinfer.run.sources import Source

_EVERY = 64  # rows


class InputCursor:
    """Reads an input forwards. Going back restarts at its first row. Blocks.

    Args:
        checksums: The checksum of each row, from the first reading.
        not_written: The part of the error message that says what is not written.

    Attributes:
        position: The row that is read next.
        rows_read: How many rows were read in all, also those that were only passed.
    """

    def __init__(self, source: Source, checksums: Sequence[int], not_written: str = "") -> None:
        self._source, self._checksums, self._not_written = source, checksums, not_written
        self._items: Generator[InputItem] | None = None
        self.position = self.rows_read = 0

    def cost(self, rows: range) -> int:
        """How many rows must be read to reach the end of `rows`."""
        return rows.stop - (self.position if rows.start >= self.position else 0)

    def go_to(self, row: int) -> Generator[None]:
        """Let this row be the next one. Yields every 64 rows. Raises as `take`."""
        if row < self.position:
            self.close()
        while self.position < row:
            self._next()
            if self.position % _EVERY == 0:
                yield

    def take(self, count: int) -> Generator[tuple[int, InputItem]]:
        """The next rows, with their places in the input.

        Raises:
            InputError: The input has changed, or cannot be read.
        """
        for _ in range(count):
            yield self.position, self._next()

    def close(self) -> None:
        """Close the source. The first row is the next one."""
        items, self._items, self.position = self._items, None, 0
        if items is not None:
            items.close()

    def _next(self) -> InputItem:
        self._items = self._items or self._source.items()
        item = next(self._items, None)
        if item is None:
            raise changed_error(self._source.name, self.position, self._not_written)
        self.rows_read += 1
        check_unchanged(self._source.name, self.position, item, self._checksums, self._not_written)
        self.position += 1
        return item
