"""Collects rows into jobs within the limits of the provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, TypeVarTuple

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi, Codec
from asyncinfer.batch.custom_ids import custom_id, id_of
from asyncinfer.batch.job_state import JobFolder, JobState, as_scratch_error, new_tag
from asyncinfer.batch.job_writer import JobWriter
from asyncinfer.batch.open_rows import NO_JOB, OpenRows
from asyncinfer.batch.spill import Spill
from asyncinfer.config.batch import BatchParams
from asyncinfer.errors import RequestError, invalid_request
from asyncinfer.run.rows import Row
from asyncinfer.types.conversation import Conversation

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Rejected(NamedTuple):
    """A row that cannot be part of a job, and the reason."""

    row: Row
    error: RequestError


class Added(NamedTuple):
    """What became of rows that were added.

    Args:
        jobs: Jobs that are full.
        rejected: Rows that cannot be part of a job.
        online: The offsets of rows that are sent as single requests, because they need other settings than the jobs.
    """

    jobs: list[JobState]
    rejected: list[Rejected]
    online: list[int]


class JobMaker:
    """Makes jobs of rows.

    Args:
        first_number: The number of the first job.
        as_sent: Returns a conversation as its request contains it; None if the request needs settings of its own.
    """

    def __init__(
        self,
        api: BatchApi,
        codec: Codec,
        params: BatchParams,
        folder: JobFolder,
        rows: OpenRows,
        spill: Spill,
        first_number: int,
        as_sent: Callable[[Conversation], Conversation | None],
    ) -> None:
        self._as_sent = as_sent
        self._api, self._codec, self._folder, self._rows, self._spill = api, codec, folder, rows, spill
        limits = api.dialect.limits
        self._most_rows = min(limits.rows, params.max_rows or limits.rows)
        self._most_bytes = min(limits.bytes, params.max_bytes or limits.bytes)
        self._most_line = min(limits.line_bytes or self._most_bytes, self._most_bytes)
        self._next = first_number
        # By the number of jobs that their rows were in before.
        self._writers: dict[int, JobWriter] = {}

    async def add_new(self, rows: Sequence[Row]) -> Added:
        """Add rows of the input. Rows that a job of an earlier run has are not added to a job again."""
        return await self._run(self._add_new, rows)

    async def add_expected(self, rows: Sequence[Row]) -> list[Row]:
        """Register the rows of the input that a job of an earlier run has. Returns the others."""
        return await self._run(self._add_expected, rows)

    async def add_again(self, offsets: Sequence[int], attempt: int) -> Added:
        """Add the rows at these offsets of the spill file, which were in `attempt` jobs before."""
        return await self._run(self._add_again, offsets, attempt)

    async def finish(self, attempt: int) -> JobState | None:
        """Return the last job of rows that were in `attempt` jobs before; None if there are no such rows."""
        return await self._run(self._finish, attempt)

    def close(self) -> None:
        """Close the files of jobs that are not sent."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function that writes files. Raises ScratchError if the disk is full, or another error occurs."""
        with as_scratch_error(self._folder.path):
            return await DISK.run(function, *args)

    def _finish(self, attempt: int) -> JobState | None:
        writer = self._writers.pop(attempt, None)
        return None if writer is None else writer.seal()

    def _add_new(self, rows: Sequence[Row]) -> Added:
        added = Added([], [], [])
        for row in rows:
            offset = self._spill.add(row)
            if self._rows.register(id_of(row), offset) is None:
                self._add(row, offset, 0, added)
        return added

    def _add_expected(self, rows: Sequence[Row]) -> list[Row]:
        others: list[Row] = []
        for row in rows:
            if self._rows.is_expected(id_of(row)):
                self._rows.register(id_of(row), self._spill.add(row))
            else:
                others.append(row)
        return others

    def _add_again(self, offsets: Sequence[int], attempt: int) -> Added:
        added = Added([], [], [])
        for offset in offsets:
            self._add(self._spill.row(offset), offset, attempt, added)
        return added

    def _add(self, row: Row, offset: int, attempt: int, added: Added) -> None:
        conversation = self._as_sent(row.conversation())
        if conversation is None:
            self._rows.assign(id_of(row), NO_JOB)
            added.online.append(offset)
            return
        try:
            line = self._line(row, conversation)
        except RequestError as error:
            added.rejected.append(Rejected(row, error))
            return
        writer = self._writer(attempt, line, added)
        writer.add(line, id_of(row))
        self._rows.assign(id_of(row), writer.job.number)

    def _line(self, row: Row, conversation: Conversation) -> bytes:
        line = self._api.line(custom_id(id_of(row)), self._codec.encode(conversation))
        if len(line) > self._most_line:
            raise invalid_request(
                f"its request has {len(line):,} bytes; in a batch job, it may have {self._most_line:,}. Shorten it, or "
                "send it without `batch`"
            )
        return line

    def _writer(self, attempt: int, line: bytes, added: Added) -> JobWriter:
        """Return a writer that has room for a line. A job without room is full, and is added to `added`."""
        writer = self._writers.get(attempt)
        if writer is not None and not writer.has_room(line, self._most_rows, self._most_bytes):
            added.jobs.append(self._writers.pop(attempt).seal())
            writer = None
        if writer is None:
            writer = self._writers[attempt] = self._new_writer(attempt)
        return writer

    def _new_writer(self, attempt: int) -> JobWriter:
        number, self._next = self._next, self._next + 1
        job = JobState(new_tag(), number, attempt, 0, 0, self._api.window, self._api.target, 0.0)
        return JobWriter(self._folder, job, self._api.dialect.separator)
