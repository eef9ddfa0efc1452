"""The task of a run that saves answers: it writes and syncs all that wait, with aiofiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio

from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import spans

R = TypeVar("R")


class ScratchWriter(Generic[R]):
    """Groups records into durable writes.

    `saved(record, offset, length)` is called on the loop once the record's line is on disk; the span is
    that of its conversation in the file. The queue is bounded by its callers' window of open rows.
    """

    def __init__(self, file: ScratchFile, saved: Callable[[R, int, int], None]) -> None:
        self._file, self._saved = file, saved
        self._records: list[R] = []
        self._lines: list[bytes] = []
        self._wake = anyio.Event()
        self._closed = False

    def put(self, record: R, line: bytes) -> None:
        """Hand over a record with the line that saves it; never waits."""
        self._records.append(record)
        self._lines.append(line)
        self._wake.set()

    def close(self) -> None:
        """Let `run` return once all that was put is saved."""
        self._closed = True
        self._wake.set()

    async def run(self) -> None:
        """Save until closed. Cancellation does not stop it: what was put is saved, or the disk refused.

        Raises:
            ScratchError: the disk refused; nothing of that batch was saved.
        """
        with anyio.CancelScope(shield=True):
            while self._records or not self._closed:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._records:
                    records, self._records = self._records, []
                    lines, self._lines = self._lines, []
                    offset = await self._file.append(b"".join(lines))
                    for record, span in zip(records, spans(lines, offset), strict=True):
                        self._saved(record, *span)
