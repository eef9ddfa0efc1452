"""Which rows wait for which job. Takes about 200 bytes per row."""

from __future__ import annotations

from array import array

from asyncinfer.batch.custom_ids import RowId

_UNREAD = -1
# The number of no job: the row is sent alone, or waits for a job to be made.
NO_JOB = -1


class OpenRows:
    """The rows without an outcome: where they are on disk, and the job that they wait for.

    A row of an earlier run's job is expected before it is read from the input.
    """

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._places, self._jobs = array("q"), array("q")
        self._free: list[int] = []

    def expect(self, row: RowId, job: int) -> None:
        """A job of an earlier run has this row. If several have it, the last one counts."""
        slot = self._slots.get(_packed(row))
        if slot is None:
            self._add(row, _UNREAD, job)
        else:
            self._jobs[slot] = job

    def read(self, row: RowId, place: int) -> int | None:
        """The input has this row. Returns the number of the job that it waits for; None if it must be sent."""
        slot = self._slots.get(_packed(row))
        if slot is None:
            self._add(row, place, NO_JOB)
            return None
        self._places[slot] = place
        return self._jobs[slot]

    def assign(self, row: RowId, job: int) -> None:
        """The row now waits for this job."""
        self._jobs[self._slots[_packed(row)]] = job

    def place(self, row: RowId, job: int) -> int | None:
        """Return where the row is on disk; None if it does not wait for this job, or the input does not have it."""
        slot = self._slots.get(_packed(row))
        if slot is None or self._jobs[slot] != job or self._places[slot] == _UNREAD:
            return None
        return self._places[slot]

    def is_unread(self, row: RowId, job: int) -> bool:
        """Whether the row waits for this job, and has not been read from the input."""
        slot = self._slots.get(_packed(row))
        return slot is not None and self._jobs[slot] == job and self._places[slot] == _UNREAD

    def is_expected(self, row: RowId) -> bool:
        """Whether a job of an earlier run has this row, and it has not been read from the input."""
        slot = self._slots.get(_packed(row))
        return slot is not None and self._places[slot] == _UNREAD

    def forget(self, row: RowId) -> None:
        """The row has its outcome, or the input does not have it."""
        slot = self._slots.pop(_packed(row), None)
        if slot is not None:
            self._free.append(slot)

    def forget_unread(self, row: RowId, job: int) -> None:
        """Forget the row if it waits for this job, and the input does not have it."""
        if self.is_unread(row, job):
            self.forget(row)

    def _add(self, row: RowId, place: int, job: int) -> None:
        if self._free:
            slot = self._free.pop()
            self._places[slot], self._jobs[slot] = place, job
        else:
            slot = len(self._places)
            self._places.append(place)
            self._jobs.append(job)
        self._slots[_packed(row)] = slot


def _packed(row: RowId) -> bytes:
    key, n = row
    return key + n.to_bytes(8).lstrip(b"\0") if n else key
