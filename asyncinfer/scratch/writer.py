"""The one task that saves: it drains what waits, and writes and syncs it in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
from anyio import to_thread

from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import spans

R = TypeVar("R")


class ScratchWriter(Generic[R]):
    """Groups records into durable writes.

    `encode` makes a record's line, in a worker thread. `saved(record, offset, length)` is called on
    the loop once the line is on disk; the span is that of its conversation in the file. The queue is
    bounded by its callers' window of open rows.
    """

    def __init__(
        self,
        file: ScratchFile | None,
        encode: Callable[[R], bytes],
        saved: Callable[[R, int, int], None],
    ) -> None:
        self._file, self._encode, self._saved = file, encode, saved
        self._waiting: list[R] = []
        self._wake = anyio.Event()
        self._closed = False

    def put(self, record: R) -> None:
        """Hand over a record; never waits."""
        self._waiting.append(record)
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
            while self._waiting or not self._closed:
                await self._wake.wait()
                self._wake = anyio.Event()
                while self._waiting:
                    batch, self._waiting = self._waiting, []
                    saved = await to_thread.run_sync(self._save, batch)
                    for record, (offset, length) in zip(batch, saved, strict=True):
                        self._saved(record, offset, length)

    def _save(self, batch: list[R]) -> list[tuple[int, int]]:
        if self._file is None:
            return [(0, 0)] * len(batch)
        lines = [self._encode(record) for record in batch]
        return list(spans(lines, self._file.append(b"".join(lines))))
