"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from asyncinfer.errors import ConfigError


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[BinaryIO]:
    """A temporary file beside `path`, or beside what that links to, which takes its place at the end of the
    block and is removed on an error. `durable`: wait for the disk before and after the replacement.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # "x": never write through a link or a file that somebody put there.
        with temporary.open("xb", buffering=1 << 20) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_target(path: Path, setting: str) -> None:
    """Raise ConfigError if `path`, named by `setting`, is not a file that can be written."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"{setting}: {path} is not a file; give the path of a file to write")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{setting}: {path} cannot be written, as {folder} may not be written to")


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder durable, where the platform can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
