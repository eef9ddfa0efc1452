"""Reads the body of an upload from its file, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.types.upload import FileBody

# How much of a file is read at once (bytes).
_PIECE = 2**18


class FilePieces(AsyncIterator[bytes]):
    """The pieces of a body. The HTTP library may stop in the middle, when the server answers early.

    Args:
        progressed: Called when the previous piece has been taken.
    """

    def __init__(self, body: FileBody, file: BinaryIO, progressed: Callable[[], None]) -> None:
        self._body, self._file, self._progressed = body, file, progressed
        self._left = body.size - len(body.before) - len(body.after)
        self._ends = [body.after, body.before]  # What is still to be sent around the file.

    async def __anext__(self) -> bytes:
        self._progressed()
        if len(self._ends) == 2 and (before := self._ends.pop()):
            return before
        if self._left:
            return await self._read()
        if self._ends and (after := self._ends.pop()):
            return after
        raise StopAsyncIteration

    async def _read(self) -> bytes:
        piece = await DISK.run(self._file.read, min(_PIECE, self._left))
        if not piece:
            raise OSError(f"{self._body.path} became shorter while it was uploaded")
        self._left -= len(piece)
        return piece


@asynccontextmanager
async def pieces_of(body: FileBody, progressed: Callable[[], None]) -> AsyncGenerator[FilePieces]:
    """The pieces of a body, with its file open.

    Raises:
        OSError: The file cannot be read, or is not as long as it was.
    """
    file = await DISK.run(lambda: body.path.open("rb"))
    try:
        yield FilePieces(body, file, progressed)
    finally:
        with CancelScope(shield=True):
            await DISK.run(file.close)
