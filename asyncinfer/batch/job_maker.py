"""Collects rows into jobs within the limits of the provider."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, TypeVarTuple

from asyncinfer.aio.limiters import DISK
from asyncinfer.batch.api import BatchApi, Codec
from asyncinfer.batch.custom_ids import RowId, custom_id
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


class Unsent(NamedTuple):
    """A row that cannot be part of a job."""

    row: Row
    error: RequestError


class Added(NamedTuple):
    """What became of rows that were added.

    Args:
        jobs: Jobs that are full.
        unsent: Rows that cannot be part of a job.
        alone: Where rows are stored whose requests need other settings than those of the jobs.
    """

    jobs: list[JobState]
    unsent: list[Unsent]
    alone: list[int]


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
        self.most_rows = min(limits.rows, params.max_rows or limits.rows)
        self._most_bytes = min(limits.bytes, params.max_bytes or limits.bytes)
        self._most_line = min(limits.line_bytes or self._most_bytes, self._most_bytes)
        self._next = first_number
        # One for each number of attempts.
        self._writers: dict[int, JobWriter] = {}

    async def add_new(self, rows: Sequence[Row]) -> Added:
        """Add rows of the input. Rows that a job of an earlier run has are only noted."""
        return await self._run(self._add_new, rows)

    async def add_expected(self, rows: Sequence[Row]) -> list[Row]:
        """Note the rows of the input that a job of an earlier run has. Returns the others."""
        return await self._run(self._add_expected, rows)

    async def add_again(self, places: Sequence[int], attempt: int) -> Added:
        """Add rows that are stored at these places, and that were in `attempt` jobs before."""
        return await self._run(self._add_again, places, attempt)

    async def finish(self, attempt: int) -> JobState | None:
        """Return the last job of rows that were in `attempt` jobs before; None if there are no such rows."""
        writer = self._writers.pop(attempt, None)
        return None if writer is None else await self._run(writer.seal)

    def close(self) -> None:
        """Close the files of jobs that are not sent."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a function that writes files. Raises ScratchError if the disk is full, or another error occurs."""
        with as_scratch_error(self._folder.path):
            return await DISK.run(function, *args)

    def _add_new(self, rows: Sequence[Row]) -> Added:
        added = Added([], [], [])
        for row in rows:
            place = self._spill.add(row)
            if self._rows.read((row.key, row.n), place) is None:
                self._add(row, place, 0, added)
        return added

    def _add_expected(self, rows: Sequence[Row]) -> list[Row]:
        others: list[Row] = []
        for row in rows:
            row_id: RowId = (row.key, row.n)
            if self._rows.is_expected(row_id):
                self._rows.read(row_id, self._spill.add(row))
            else:
                others.append(row)
        return others

    def _add_again(self, places: Sequence[int], attempt: int) -> Added:
        added = Added([], [], [])
        for place in places:
            self._add(self._spill.row(place), place, attempt, added)
        return added

    def _add(self, row: Row, place: int, attempt: int, added: Added) -> None:
        row_id: RowId = (row.key, row.n)
        asked = self._as_sent(row.conversation())
        if asked is None:
            self._rows.assign(row_id, NO_JOB)
            added.alone.append(place)
            return
        try:
            line = self._api.line(custom_id(row_id), self._codec.encode(asked))
            if len(line) > self._most_line:
                raise invalid_request(
                    f"its request has {len(line):,} bytes; in a batch job, it may have {self._most_line:,}"
                )
        except RequestError as error:
            added.unsent.append(Unsent(row, error))
            return
        writer = self._writers.get(attempt)
        if writer is not None and not writer.has_room(line, self.most_rows, self._most_bytes):
            added.jobs.append(self._writers.pop(attempt).seal())
            writer = None
        if writer is None:
            writer = self._writers[attempt] = self._new_writer(attempt)
        writer.add(line, row_id)
        self._rows.assign(row_id, writer.job.number)

    def _new_writer(self, attempt: int) -> JobWriter:
        number, self._next = self._next, self._next + 1
        job = JobState(new_tag(), number, attempt, 0, 0, self._api.window, self._api.target, 0.0)
        return JobWriter(self._folder, job, self._api.dialect.separator)
