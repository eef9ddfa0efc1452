"""The state of each row, and the position of its saved answer."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_OPEN, _SAVED, _OUTDATED, _IN_OUTPUT, _FAILED = range(5)


class RowStatusTable:
    """The state of each row, and where its answer is saved: 13 bytes per row. Grows as rows are recorded."""

    def __init__(self, rows: int = 0) -> None:
        self._state = bytearray(rows)
        self._offsets = array("Q", bytes(8 * rows))
        self._lengths = array("I", bytes(4 * rows))

    def save(self, row: int, offset: int, length: int, *, must_save_again: bool = False) -> None:
        """Record that the answer of the row is durable.

        Args:
            must_save_again: The id or the metadata of the input row has changed since the answer was saved.
        """
        if row >= len(self._state):
            self._grow(row)
        self._state[row] = _OUTDATED if must_save_again else _SAVED
        self._offsets[row], self._lengths[row] = offset, length

    def mark_in_output(self, row: int, offset: int, length: int) -> None:
        """The row's answer is in a finished output, and must be saved to the scratch file."""
        self.save(row, offset, length)
        self._state[row] = _IN_OUTPUT

    def forget(self, row: int) -> None:
        """The saved answer of the row cannot be used: the row is open again."""
        self._state[row] = _OPEN

    def fail(self, row: int) -> None:
        if row >= len(self._state):
            self._grow(row)
        self._state[row] = _FAILED

    def saved(self, row: int) -> bool:
        return row < len(self._state) and self._state[row] in (_SAVED, _OUTDATED, _IN_OUTPUT)

    def is_done(self, row: int) -> bool:
        """Whether the row has its outcome: it is saved or has failed."""
        return self.saved(row) or (row < len(self._state) and self._state[row] == _FAILED)

    def must_save_again(self, row: int) -> bool:
        """Whether the answer must be saved again."""
        return self._state[row] in (_OUTDATED, _IN_OUTPUT)

    def is_in_output(self, row: int) -> bool:
        return self._state[row] == _IN_OUTPUT

    def is_fresh(self, row: int) -> bool:
        """Whether the row is saved under the id and metadata that the input has, as those in `spans` are."""
        return row < len(self._state) and self._state[row] == _SAVED

    def span(self, row: int) -> tuple[int, int]:
        return self._offsets[row], self._lengths[row]

    def spans(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """The saved answers' spans, in row order. `start` and `stop`: only those of the rows in this range."""
        rows = range(*slice(start, stop).indices(len(self._state)))
        return (self.span(row) for row in rows if self._state[row] == _SAVED)

    def done_count(self, start: int, stop: int) -> int:
        """How many rows in this range have their outcome: they are saved or have failed."""
        return self._state.count(_SAVED, start, stop) + self._state.count(_FAILED, start, stop)

    def next_saved(self, row: int) -> int | None:
        """The first row from `row` on whose answer is in the scratch file; None if there is none."""
        found = self._state.find(_SAVED, row)
        return None if found < 0 else found

    def __len__(self) -> int:
        return len(self._state)

    def all_spans(self) -> Iterator[tuple[int, int]]:
        """The spans of all answers in the scratch file, outdated ones included."""
        return (self.span(row) for row, state in enumerate(self._state) if state in (_SAVED, _OUTDATED))

    @property
    def fresh_count(self) -> int:
        """How many rows are saved under the id and metadata that the input has."""
        return self._state.count(_SAVED)

    @property
    def saved_count(self) -> int:
        return sum(map(self._state.count, (_SAVED, _OUTDATED, _IN_OUTPUT)))

    def _grow(self, row: int) -> None:
        missing = row + 1 - len(self._state)
        self._state.extend(bytes(missing))
        self._offsets.frombytes(bytes(8 * missing))
        self._lengths.frombytes(bytes(4 * missing))
