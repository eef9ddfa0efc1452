"""Reads small files named on the command line, including pipes of a shell (`-c <(...)`)."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

from asyncinfer.types.paths import NotAFileError, open_regular

_WAIT_SECONDS = 10.0
MAX_BYTES = 16 * 2**20  # the default limit of `read_small`
_BLOCK = 1 << 16


def read_small(path: Path, wait: float = _WAIT_SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the bytes of a file, or of a pipe until its writers close it. Blocks.

    Args:
        wait: The longest time without new data from a pipe, in seconds.
        max_bytes: The largest size.

    Raises:
        OSError: The file cannot be read, is a device or a socket, is too large (EFBIG), or nobody writes to the pipe.
    """
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
    except NotAFileError:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        if not path.is_fifo():
            raise
        data = _read_pipe(path, wait, max_bytes)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 20} MiB")
    return data


def _read_pipe(path: Path, wait: float, max_bytes: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        parts: list[bytes] = []
        while sum(map(len, parts)) <= max_bytes:
            if not poll.poll(wait * 1000):
                raise OSError(errno.ETIMEDOUT, f"nothing was written to the pipe within {wait:.0f} seconds")
            if not (part := os.read(fd, _BLOCK)):
                break
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
