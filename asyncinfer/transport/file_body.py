"""Reads the body of an upload from its file, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.types.upload import FileBody

# How much of a file is read at once (bytes).
_PIECE = 2**18


async def pieces_of(body: FileBody, progressed: Callable[[], None]) -> AsyncGenerator[bytes]:
    """Yield the body. `progressed` is called whenever the previous piece has been taken.

    Raises:
        OSError: The file cannot be read, or is not as long as it was.
    """
    file = await DISK.run(lambda: body.path.open("rb"))
    try:
        left = body.size - len(body.before) - len(body.after)
        yield body.before
        while left > 0:
            piece = await DISK.run(file.read, min(_PIECE, left))
            if not piece:
                raise OSError(f"{body.path} became shorter while it was uploaded")
            left -= len(piece)
            progressed()
            yield piece
        progressed()
        yield body.after
    finally:
        with CancelScope(shield=True):
            await DISK.run(file.close)
