"""Reads the rows of a run: new ones, and saved ones with their answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Collection, Generator, Iterable, MutableMapping, Sequence
from time import perf_counter
from typing import Protocol

from asyncinfer.aio.iterate import iterate
from asyncinfer.aio.limiters import DISK, ROWS
from asyncinfer.aio.tasks import foreign_code
from asyncinfer.errors import InputError, RequestError
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.items import InputItem, changed_error, check_unchanged, item_of
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import InputRow, RejectedRow, Row, SavedRow, with_id
from asyncinfer.run.saved_answers import SavedAnswers
from asyncinfer.run.sources import Source
from asyncinfer.scratch.format import COUNTED_REASONS, SavedLine
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation

_CHUNK_ROWS = 256
_CHUNK_BYTES = 1 << 20
_CHUNK_SECONDS = 0.02
_EVERY = 64


class RowReader(Protocol):
    """Where a run's rows come from."""

    async def read(self, room: int) -> Sequence[InputRow] | None:
        """Read up to `room` more rows. The list may be empty while more rows may come. Returns None at the end."""
        ...


class InputReader:
    """Rows of a source that was validated. Rows whose answer is saved are left out unless `deliver_saved`.

    Args:
        only: The rows to read; None: all.
    """

    def __init__(
        self,
        source: Source,
        validated: ValidatedInput,
        statuses: RowStatusTable,
        saved_answers: SavedAnswers | None,
        *,
        deliver_saved: bool,
        only: Collection[int] | None = None,
    ) -> None:
        self._source, self._validated, self._statuses = source, validated, statuses
        self._saved_answers, self._deliver_saved = saved_answers, deliver_saved
        self._items = source.items()
        self._next, self._only = 0, only
        self._left = len(validated) if deliver_saved else len(validated) - statuses.fresh_count
        if only is not None:
            self._left = len(only)

    async def read(self, room: int) -> list[InputRow] | None:
        return await DISK.run(self._chunk, min(room, _CHUNK_ROWS))

    def close(self) -> None:
        """Close the source."""
        self._items.close()

    def _chunk(self, room: int) -> list[InputRow] | None:
        if not self._left:
            return None
        rows: list[InputRow] = []
        size, deadline = 0, perf_counter() + _CHUNK_SECONDS
        for item in self._items:
            index, self._next = self._next, self._next + 1
            if not self._skip(index, item):
                rows.append(self._row(index, item))
                size += item.size
            if len(rows) >= min(room, self._left) or size > _CHUNK_BYTES or perf_counter() > deadline:
                self._left -= len(rows)
                return rows
        raise changed_error(self._source.name, len(self._validated))

    def _skip(self, index: int, item: InputItem) -> bool:
        check_unchanged(self._source.name, index, item, self._validated.checksums)
        if self._only is not None:
            return index not in self._only
        return self._statuses.saved(index) and not (self._deliver_saved or self._statuses.must_save_again(index))

    def _row(self, index: int, item: InputItem) -> InputRow:
        if (error := self._validated.rejected.get(index)) is not None:
            return RejectedRow(index, error)
        row = Row(index, *self._validated.identity(index), item.checksum, item.size, item)
        if self._saved_answers is not None and self._statuses.saved(index):
            answered = _with_saved(row, self._saved_answers)
            if answered is not row:
                return answered
        if row.is_large:
            row.conversation()
        return row


class IterableReader:
    """Rows of an iterable that can be read once. Each is validated when it is read; an invalid row fails.

    Args:
        saved: The lines of the scratch file that no row has claimed yet.
        saved_answers: None if the run saves nothing.
        finds_originals: Remember the first row of each key, for `original`.
    """

    def __init__(
        self,
        source: Iterable[object] | AsyncIterable[object],
        row_keys: RowKeys,
        statuses: RowStatusTable,
        saved_answers: SavedAnswers | None,
        saved: MutableMapping[tuple[bytes, int], SavedLine],
        previous_output: PreviousOutput,
        *,
        finds_originals: bool = False,
    ) -> None:
        self._items = iterate(source)
        self._row_keys, self._statuses, self._saved_answers = row_keys, statuses, saved_answers
        self._saved, self._previous_output = saved, previous_output
        self._seen: Counter[bytes] = Counter()
        self._originals: dict[bytes, int] | None = {} if finds_originals else None
        self._count = 0
        self._reading = foreign_code("the source")

    async def read(self, room: int) -> list[InputRow] | None:
        end = object()
        with self._reading:
            given = await anext(self._items, end)
        if given is end:
            return None
        index, self._count = self._count, self._count + 1
        return [await ROWS.run(self._row, index, given) if self._heavy(given) else self._row(index, given)]

    def original(self, key: bytes) -> int | None:
        """The first row with this key; None if there was none, or if it is not remembered."""
        return self._originals.get(key) if self._originals is not None else None

    async def aclose(self) -> None:
        """Close the source."""
        await self._items.aclose()

    def _heavy(self, given: object) -> bool:
        """Whether a row needs the disk: saved rows and image files are read off the loop."""
        if self._saved_answers is not None:
            return True
        return isinstance(given, Conversation) and any(not isinstance(m.content, str) for m in given.messages)

    def _row(self, index: int, given: object) -> InputRow:
        try:
            item = item_of(given)
            conversation = item.load()
            key = self._row_keys(conversation)
        except InputError as error:
            return RejectedRow(index, InputError(f"row {index}: {error}"))
        n = self._seen[key]
        self._seen[key] += 1
        if self._originals is not None and not n:
            self._originals[key] = index
        row = Row(index, key, n, item.checksum, item.size, with_id(conversation, key, n))
        return _with_saved(row, self._saved_answers) if self._saved_answers is not None and self._claim(row) else row

    def _claim(self, row: Row) -> bool:
        """Record where the row's answer is saved. Returns whether it is saved."""
        line = self._saved.pop((row.key, row.n), None)
        if line is not None:
            self._statuses.save(row.index, line.offset, line.length, must_save_again=line.checksum != row.checksum)
            return True
        return self._previous_output.claim(row, self._statuses)


def _with_saved(row: Row, saved_answers: SavedAnswers) -> InputRow:
    """A saved row with its answer; the row itself if that cannot be used, so that the row is sent again.

    An answer that cannot be validated stays saved, and its row fails: no other answer would help.
    """
    try:
        finished = saved_answers(row)
    except RequestError as error:
        return RejectedRow(row.index, error)
    return SavedRow(row, finished) if finished is not None else row


class ResumeMatcher:
    """Gives each saved line to the row that it answers.

    Attributes:
        unclaimed: How many lines belong to no row of this input.
    """

    def __init__(self, validated: ValidatedInput, statuses: RowStatusTable) -> None:
        self._validated, self._statuses = validated, statuses
        self.unclaimed = 0
        self._ends = bytearray(len(validated))  # For each row: 0, or 1 + the place of its reason in COUNTED_REASONS.

    @property
    def finish_reasons(self) -> dict[str, int]:
        """How many rows that need not be read have each of `COUNTED_REASONS`."""
        return {reason: self._ends.count(1 + place) for place, reason in enumerate(COUNTED_REASONS)}

    def match(self, lines: Iterable[SavedLine]) -> Generator[None]:
        """Give each line to its row. Blocks; yields every 64 lines."""
        expected = 0
        for count, line in enumerate(lines):
            # Rows are saved nearly in their order.
            row = self._validated.row_of(line.key, line.n, expected)
            if row is None:
                self.unclaimed += 1
            else:
                expected = row + 1
                must_save_again = line.checksum != self._validated.checksums[row]
                self._statuses.save(row, line.offset, line.length, must_save_again=must_save_again)
                reason = None if must_save_again else line.finish_reason
                self._ends[row] = 0 if reason is None else 1 + COUNTED_REASONS.index(reason)
            if count % _EVERY == 0:
                yield
