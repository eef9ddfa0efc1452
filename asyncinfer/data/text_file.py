"""Opens text files with rows, which may be compressed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncinfer.data.compression import READ_ERRORS, Compression, open_compressed, read_error_text
from asyncinfer.errors import InputError
from asyncinfer.types.lines import skip_byte_order_mark
from asyncinfer.types.paths import NotAFileError, os_error_text

UTF_16 = "is in UTF-16 or UTF-32; save it as UTF-8 first"
"""What is wrong with a file that begins with the byte order mark of another encoding."""


@contextmanager
def opened_text(path: Path, compression: Compression, name: str) -> Generator[BinaryIO]:
    """Open a text file after its byte order mark.

    Raises:
        InputError: It cannot be read, or is not in UTF-8.
        MissingDependencyError: zstandard is not installed.
    """
    try:
        file = open_compressed(path, compression)
    except NotAFileError as error:
        what = f"{os_error_text(error)}; a run reads its input several times, so save it to a file first"
        raise InputError(f"{name}: {what}") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {os_error_text(error)}") from error
    with file:
        try:
            is_utf_8 = skip_byte_order_mark(file)
        except READ_ERRORS as error:
            raise InputError(f"{name}: cannot be read: {read_error_text(error)}") from error
        if not is_utf_8:
            raise InputError(f"{name}: {UTF_16}")
        yield file
