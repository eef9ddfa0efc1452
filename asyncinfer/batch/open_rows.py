"""The rows without an outcome, and the job that each of them waits for. About 200 bytes of memory per row."""

from __future__ import annotations

from array import array

from asyncinfer.batch.custom_ids import RowId

_UNREAD = -1
# In place of the number of a job: the row is sent as a single request, or waits for a job to be made.
NO_JOB = -1


class OpenRows:
    """The rows without an outcome: the offset of each row in the spill file, and the job that it waits for.

    The rows of an earlier run's jobs are added by `expect`, before the input is read. Each row of the input is added by
    `register`.
    """

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._offsets, self._jobs = array("q"), array("q")
        self._free: list[int] = []

    def expect(self, row_id: RowId, job: int) -> None:
        """Add a row that a job of an earlier run has. If several jobs have it, it waits for the last one."""
        slot = self._slots.get(_packed(row_id))
        if slot is None:
            self._add(row_id, _UNREAD, job)
        else:
            self._jobs[slot] = job

    def register(self, row_id: RowId, offset: int) -> int | None:
        """Add a row of the input, which is stored at this offset.

        Returns:
            The number of the job of an earlier run that the row waits for; None if the row must be sent.
        """
        slot = self._slots.get(_packed(row_id))
        if slot is None:
            self._add(row_id, offset, NO_JOB)
            return None
        self._offsets[slot] = offset
        return self._jobs[slot]

    def assign(self, row_id: RowId, job: int) -> None:
        """Make the row wait for this job."""
        self._jobs[self._slots[_packed(row_id)]] = job

    def offset(self, row_id: RowId, job: int) -> int | None:
        """Return the offset of the row; None if it does not wait for this job, or has not been read from the input."""
        slot = self._slots.get(_packed(row_id))
        if slot is None or self._jobs[slot] != job or self._offsets[slot] == _UNREAD:
            return None
        return self._offsets[slot]

    def is_unread(self, row_id: RowId, job: int) -> bool:
        """Whether the row waits for this job, and has not been read from the input."""
        slot = self._slots.get(_packed(row_id))
        return slot is not None and self._jobs[slot] == job and self._offsets[slot] == _UNREAD

    def is_expected(self, row_id: RowId) -> bool:
        """Whether a job of an earlier run has this row, and it has not been read from the input."""
        slot = self._slots.get(_packed(row_id))
        return slot is not None and self._offsets[slot] == _UNREAD

    def forget(self, row_id: RowId) -> None:
        """Remove a row that has its outcome, or that the input does not have."""
        slot = self._slots.pop(_packed(row_id), None)
        if slot is not None:
            self._free.append(slot)

    def forget_unread(self, row_id: RowId, job: int) -> None:
        """Remove a row that waits for this job, and that has not been read from the input."""
        if self.is_unread(row_id, job):
            self.forget(row_id)

    def _add(self, row_id: RowId, offset: int, job: int) -> None:
        if self._free:
            slot = self._free.pop()
            self._offsets[slot], self._jobs[slot] = offset, job
        else:
            slot = len(self._offsets)
            self._offsets.append(offset)
            self._jobs.append(job)
        self._slots[_packed(row_id)] = slot


def _packed(row_id: RowId) -> bytes:
    key, n = row_id
    return key + n.to_bytes(8).lstrip(b"\0") if n else key
