"""Writes rows into the file of a job. It blocks."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from pathlib import Path

from asyncinfer.batch.custom_ids import RowId
from asyncinfer.batch.job_state import RECORD, JobFolder, JobState
from asyncinfer.scratch import disk

_BUFFER = 1 << 18


class JobWriter:
    """The file of a job that gets rows.

    Args:
        job: The job. Its size and its number of rows are set by `seal`.
    """

    def __init__(self, folder: JobFolder, job: JobState, separator: bytes) -> None:
        self.job, self._separator = job, separator
        folder.make()
        self._requests = _new_file(folder.requests_path(job))
        self._ids = _new_file(folder.ids_path(job))
        self.rows = self.size = 0

    def has_room(self, line: bytes, most_rows: int, most_bytes: int) -> bool:
        """Whether a job within these limits has room for another line."""
        return self.rows < most_rows and self.size + len(self._separator) + len(line) <= most_bytes

    def add(self, line: bytes, row_id: RowId) -> None:
        """Add a row."""
        if self.rows:
            line = self._separator + line
        self._requests.write(line)
        self._ids.write(RECORD.pack(*row_id))
        self.rows += 1
        self.size += len(line)

    def seal(self) -> JobState:
        """Make the files durable, and return the job. No row can be added after this."""
        try:
            for file in (self._requests, self._ids):
                file.flush()
                disk.sync(file.fileno())
        finally:
            self.close()
        self.job.rows, self.job.size, self.job.created = self.rows, self.size, time.time()
        return self.job

    def close(self) -> None:
        """Close the files."""
        for file in (self._requests, self._ids):
            with suppress(OSError):  # The disk may be full. What counts was flushed by `seal`.
                file.close()


def _new_file(path: Path) -> io.BufferedWriter:
    return io.BufferedWriter(disk.Raw(disk.open_for_writing(path, os.O_TRUNC)), _BUFFER)
