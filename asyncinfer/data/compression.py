"""Opens files that may be compressed with gzip or Zstandard.

Zstandard: zstandard 0.25 (November 2026). Its stream reader accepts a truncated file; the decompressor does not.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum, auto
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from asyncinfer.errors import MissingDependencyError
from asyncinfer.types.paths import open_regular, os_error_text

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 18
_BLOCK = 1 << 16
# The errors that reading a file raises.
READ_ERRORS = (OSError, EOFError, zlib.error)


class Compression(Enum):
    """How a whole file is compressed."""

    NONE = auto()
    GZIP = auto()
    ZSTD = auto()


def open_compressed(path: Path, compression: Compression) -> BinaryIO:
    """Open a file for reading. Reading raises one of `READ_ERRORS` if it is truncated or damaged.

    Raises:
        OSError: It cannot be opened.
        MissingDependencyError: zstandard is not installed.
    """
    zstandard = _zstandard() if compression is Compression.ZSTD else None
    file = open_regular(path, _BUFFER)
    if compression is Compression.NONE:
        return file
    raw = _GzipStream(file) if zstandard is None else _ZstdStream(file, zstandard.ZstdDecompressor)
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))


@contextmanager
def compressing(file: BinaryIO, compression: Compression) -> Generator[BinaryIO]:
    """A file whose data are compressed into `file` until the end of the block. `file` stays open.

    Raises:
        MissingDependencyError: zstandard is not installed.
    """
    if compression is Compression.NONE:
        yield file
    elif compression is Compression.GZIP:
        # Without a time, so that equal answers give equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as stream:
            yield cast(BinaryIO, stream)
    else:
        with _zstandard().ZstdCompressor().stream_writer(file, closefd=False) as stream:
            yield stream


def read_error_text(error: Exception) -> str:
    """Why a file could not be read, for a message."""
    if isinstance(error, EOFError):
        return "the compressed data end too early; the file is truncated"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return f"the compressed data are damaged: {error}"
    return os_error_text(error)


class _Closing(io.RawIOBase):
    """A stream that reads another file, and closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


class _GzipStream(_Closing):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._gzip = gzip.GzipFile(fileobj=file)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._gzip.readinto1(buffer)


class _ZstdStream(_Closing):
    """Decompresses the frames of a file.

    Args:
        make: Makes the decompressor of one frame.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], Any]) -> None:
        super().__init__(file)
        self._make = make
        self._frame: Any = None
        self._ready = memoryview(b"")

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        while not self._ready:
            block = self._next_block()
            if block is None:
                return 0
            self._ready = memoryview(block)
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _next_block(self) -> bytes | None:
        """The next block of data, which may be empty; None at the end."""
        unused = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
        data = unused or self._file.read(_BLOCK)
        if not data:
            if self._frame is not None and not self._frame.eof:
                raise EOFError
            return None
        if self._frame is None or self._frame.eof:
            self._frame = self._make().decompressobj()
        try:
            return self._frame.decompress(data)
        except Exception as error:
            raise OSError(f"the compressed data are damaged: {error}") from None


def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise MissingDependencyError("zstandard", "data") from None
