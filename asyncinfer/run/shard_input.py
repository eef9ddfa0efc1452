"""Reads the rows of the input for the shards of an output of rows."""

from __future__ import annotations

from collections.abc import Sequence

from asyncinfer.run.input_cursor import InputCursor
from asyncinfer.run.sources import Source


class ShardInput:
    """The rows of the input for shards, which are complete in any order.

    Two cursors read the input forwards. The first serves shards in input order; the second serves a shard that
    completes after a later one. The second may restart only while it has read no more rows than are done. For n rows,
    the first reads at most n and the second at most 2n.

    Args:
        checksums: The checksum of each row of the input, from the first reading.
    """

    def __init__(self, source: Source, checksums: Sequence[int]) -> None:
        self._first, self._second = (InputCursor(source, checksums) for _ in range(2))

    def is_late(self, rows: range) -> bool:
        """Whether the first cursor has passed these rows."""
        return rows.start < self._first.position

    def rows_needed(self, rows: range) -> int:
        """How many rows of the input must be done before the second cursor may read these rows. It never decreases."""
        return self._second.rows_read + self._second.cost(rows)

    def cursor(self, rows: range) -> InputCursor:
        """The cursor that reads these rows."""
        return self._second if self.is_late(rows) else self._first

    def close(self) -> None:
        """Close the input. Blocks."""
        self._first.close()
        self._second.close()
