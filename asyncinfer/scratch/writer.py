"""The task of a run that saves answers. It writes and syncs all waiting answers at once, with aiofiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import spans

R = TypeVar("R")


class ScratchWriter(Generic[R]):
    """Groups records into durable writes.

    The number of waiting records is bounded by the callers, which have a limited number of open rows.

    Args:
        file: The scratch file.
        saved: `saved(record, offset, length)` is called on the event loop as soon as the line of the record is on disk.
            `offset` and `length` are the position of its conversation in the file.
    """

    def __init__(self, file: ScratchFile, saved: Callable[[R, int, int], None]) -> None:
        self._file, self._saved = file, saved
        self._records: list[R] = []
        self._lines: list[bytes] = []
        self._notes: list[bytes] = []
        self._wake = anyio.Event()
        self._closed = False

    def put(self, record: R, line: bytes) -> None:
        """Add a record with the line that saves it. Never waits."""
        self._records.append(record)
        self._lines.append(line)
        self._wake.set()

    def note(self, line: bytes) -> None:
        """Add a line that saves no record. Never waits."""
        self._notes.append(line)
        self._wake.set()

    def close(self) -> None:
        """Let `run` return when everything that was added is saved."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Save records until `close` is called. A cancellation does not stop it.

        Raises:
            ScratchError: The records cannot be written. No record of the batch was saved.
        """
        with anyio.CancelScope(shield=True):
            while self._records or self._notes or not self._closed:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._records or self._notes:
                    records, self._records = self._records, []
                    lines, self._lines = self._lines, []
                    notes, self._notes = self._notes, []
                    offset = await self._file.append(b"".join(lines + notes))
                    for record, span in zip(records, spans(lines, offset), strict=True):
                        self._saved(record, *span)
