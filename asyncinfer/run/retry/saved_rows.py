"""The answers in the scratch file of a run, during a retry of its failed rows."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.run.scratch_use import remove_finished
from asyncinfer.scratch.file import ScratchFile, joined_lines
from asyncinfer.scratch.format import SavedLine, encode
from asyncinfer.scratch.index import KEY_BYTES, KeyIndex

log = logging.getLogger("asyncinfer")


# The checksum of the rows that a retry saves, which has not read them from the input of the run.
_RETRIED = 0


class SavedRows:
    """The keys of saved rows, end to end, and the positions of their answers.

    Attributes:
        keys: The rows that runs have saved.
        retried_keys: The rows that retries have saved. They may have been corrected, so that the input has other keys.
    """

    def __init__(self) -> None:
        self.keys, self.retried_keys = bytearray(), bytearray()
        self._offsets, self._lengths = array("Q"), array("L")

    def add(self, line: SavedLine) -> None:
        """Record a saved row."""
        keys = self.retried_keys if line.checksum == _RETRIED else self.keys
        keys.extend(line.key)
        self._offsets.append(line.offset)
        self._lengths.append(line.length)

    def spans(self) -> Iterator[tuple[int, int]]:
        """The offset and the length of each answer, in bytes."""
        return zip(self._offsets, self._lengths, strict=True)


async def recover_saved_rows(scratch: ScratchFile) -> SavedRows | None:
    """Open the scratch file of a run for further rows. Returns the rows that it has; None if there is no such file.

    Raises:
        ScratchError: The file cannot be used.
    """
    if not await DISK.run(scratch.path.exists):
        return None
    saved = SavedRows()
    await in_slices(saved.add(line) for line in scratch.recover())
    return saved


async def save_answers(scratch: ScratchFile, answers: Iterable[tuple[bytes, int, bytes]]) -> bytearray:
    """Save the answers to the scratch file of the run, so that the next run of its input does not send these rows.

    Args:
        answers: The key and the occurrence of each row, and its conversation as JSON.

    Returns:
        The keys, end to end.

    Raises:
        ScratchError: The file cannot be written.
    """
    keys = bytearray()

    def lines() -> Iterator[bytes]:
        for key, n, text in answers:
            keys.extend(key)
            yield encode(key, n, _RETRIED, text)

    with closing(joined_lines(lines())) as blocks:
        while block := await DISK.run(lambda: next(blocks, b"")):
            with CancelScope(shield=True):
                await scratch.append(block)
    return keys


async def remove_merged_rows(scratch: ScratchFile, saved: SavedRows, merged: bytearray) -> None:
    """Remove rows from the scratch file whose answers are in the output. Keep the rows of a later, interrupted run.

    Args:
        saved: The rows that the file had before the retry.
        merged: The keys of the rows of the output, end to end.
    """
    index, others = await DISK.run(_compared, saved.keys, merged)
    await remove_finished(scratch, others, lambda key, n: index.find(key, 0) is None)


def _compared(saved: bytearray, merged: bytearray) -> tuple[KeyIndex, int]:
    """Return an index of the merged keys, and how many of the saved keys it does not have. Blocks."""
    index = KeyIndex(merged)
    keys = (bytes(saved[at : at + KEY_BYTES]) for at in range(0, len(saved), KEY_BYTES))
    return index, sum(index.find(key, 0) is None for key in keys)
