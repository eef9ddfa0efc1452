"""The file operations that saved rows depend on, with one function for each. All of them block.

Callers use the module's name (`disk.write(...)`), because tests replace these functions with functions that fail, or
that kill the process, at the n-th operation.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OPERATIONS = (
    "make_folder",
    "lock",
    "unlock",
    "open_for_writing",
    "set_mode",
    "truncate",
    "write",
    "sync",
    "replace",
    "remove",
    "sync_folder",
    "remove_folder",
)
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700


def make_folder(path: Path, *, private: bool = False) -> None:
    """Create a folder and its parents. `private`: only this user may access the folder."""
    path.mkdir(mode=_PRIVATE_FOLDER if private else 0o777, parents=True, exist_ok=True)


def lock(lock: FileLock) -> None:
    """Take a lock without waiting.

    Raises:
        filelock.Timeout: Another process or run holds the lock.
    """
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, str(error)) from None


def unlock(lock: FileLock) -> None:
    lock.release()


def open_for_writing(path: Path, flags: int = 0, mode: int = _PRIVATE_FILE) -> int:
    """Open a file for reading and writing, and create it if it is missing. Returns its descriptor.

    Does not wait, not even if the file is a pipe.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | flags, mode)


def set_mode(fd: int, mode: int) -> None:
    os.fchmod(fd, mode)


def truncate(fd: int, size: int) -> None:
    os.ftruncate(fd, size)


def write(fd: int, data: ReadableBuffer) -> int:
    """Write the beginning of `data`. Returns how many bytes were written."""
    return os.write(fd, data)


def sync(fd: int) -> None:
    """Wait until the file's content is durable."""
    os.fsync(fd)


def replace(source: Path, target: Path) -> None:
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file that may be missing."""
    path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder durable, if the platform supports it."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is empty."""
    with contextlib.suppress(OSError):
        path.rmdir()


class Raw(io.RawIOBase):
    """Writes to a descriptor through `write`, and closes it. Wrap it in an `io.BufferedWriter`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._discards = False

    def discard(self) -> None:
        """Ignore all later writes, such as the rest of a buffer."""
        self._discards = True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: ReadableBuffer, /) -> int:
        return memoryview(data).nbytes if self._discards else write(self._fd, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)
