"""Reads the rows of a run for display: from its output, its failed rows, or its scratch file, also while it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from asyncinfer.errors import InputError
from asyncinfer.scratch.file import lock_path, scratch_path
from asyncinfer.scratch.format import FIRST_BYTES, decode
from asyncinfer.scratch.spent import decode_spent
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.json_object import json_object
from asyncinfer.types.lines import bounded_lines, is_cut, skip_line
from asyncinfer.types.paths import PATH_ERRORS, open_regular, os_error_text

Columns = Mapping[str, Any]
"""A row of an output that has rows in place of conversations."""


class RowFile:
    """A file of rows, from its start. Blocks.

    Args:
        path: The file. If it does not exist, or if a run that will write it is in progress, the scratch file of that
            run is read.

    Raises:
        InputError: There is no such file, which is a FileNotFoundError in `__cause__`; or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        scratch = scratch_path(path)
        try:
            uses_scratch = scratch.exists() and (lock_path(scratch).exists() or not path.exists())
            self.path = scratch if uses_scratch else path
            self._file: BinaryIO = open_regular(self.path)
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist, and no run saves rows for it") from error
        except PATH_ERRORS as error:
            raise InputError(f"{path} cannot be read: {os_error_text(error)}") from None
        self._complete = 0
        self.unreadable = 0

    def rows(self) -> Iterator[Conversation | Columns]:
        """Yield the complete rows that were not read yet. Lines that hold no row are counted."""
        self._file.seek(self._complete)
        for line in bounded_lines(self._file):
            if is_cut(line):
                skip_line(self._file)
            elif not line.endswith(b"\n"):
                return  # The rest of the line will come, or was lost.
            self._complete = self._file.tell()
            if (row := self._row(line)) is not None:
                yield row

    def has_ended(self) -> bool:
        """Whether no run adds rows to this file. At the end of a run, its lock is removed, or its scratch file.

        The lock of a run that was killed stays until the next run, see `was_killed`.
        """
        if not lock_path(self.path).exists():
            return True
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return True

    def was_killed(self) -> bool:
        """Whether the process of the run has ended without removing its lock.

        This takes the lock for a moment, so do not call it often: a run that starts then would find the lock taken.
        """
        lock = lock_path(self.path)
        return lock.exists() and not is_locked(lock)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _row(self, line: bytes) -> Conversation | Columns | None:
        if line.isspace():
            return None
        if line.startswith(FIRST_BYTES):
            saved = decode(line, 0)
            if saved is None and decode_spent(line) is not None:
                return None
            line = line[saved.offset : saved.offset + saved.length] if saved is not None else b""
        try:
            return Conversation.from_json(line)
        except ValidationError:
            row = json_object(line)
        self.unreadable += row is None
        return row


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file. True if that cannot be found out."""
    try:
        import fcntl  # Windows does not have it.

        with open_regular(path) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return True
    return False
