"""Expands, checks and opens paths from users. Never waits for a FIFO. Raises errors with clear messages."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from asyncinfer.errors import ConfigError

# The errors that functions of `os` and `pathlib` raise for a path: errors of the system (OSError); a NUL character or
# half a surrogate pair (ValueError); an unknown `~user` or, up to Python 3.12, a loop of symbolic links (RuntimeError).
PATH_ERRORS = (OSError, ValueError, RuntimeError)

_ADVICE = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space, as the quota of that disk is used up",
    errno.EACCES: "change its permissions or choose another path",
    errno.EPERM: "change its permissions or choose another path",
    errno.EROFS: "choose a path on another file system, as this one is read-only",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose a path without a loop of symbolic links",
    errno.EIO: "check the disk",
    errno.EEXIST: "remove what is in its way or choose another path",
    errno.ENOTDIR: "remove what is in its way or choose another path",
    errno.EAGAIN: "wait until it has ended",
    errno.EBUSY: "choose a path that is not a mount point",
}


def os_error_text(error: Exception) -> str:
    """Return the reason why a path cannot be used, for a message."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, UnicodeError):
        return "the name cannot be encoded for this file system"
    if "null" in str(error):
        return "the path contains a NUL character"
    return str(error) or type(error).__name__


def advice(error: BaseException | None) -> str:
    """Return what a user can do about an error of a path."""
    if isinstance(error, NotAFileError):
        return "move it elsewhere or choose another path"
    number = error.errno if isinstance(error, OSError) else None
    return _ADVICE.get(number or 0, "check the disk or choose another path")


def expanded(given: str | os.PathLike[str], setting: str) -> Path:
    """Return the path with `~` replaced by the user's home folder.

    Raises:
        ConfigError: The home folder is unknown, or no file can have this name. The message names `setting`.
    """
    if not os.fspath(given):  # `Path("")` is the working directory.
        raise ConfigError(f"{setting}: {given!r} is not a usable path: it is empty")
    try:
        path = Path(given).expanduser()
        os.fsencode(path)
    except PATH_ERRORS as error:
        raise ConfigError(f"{setting}: {os.fspath(given)!r} is not a usable path: {os_error_text(error)}") from None
    if "\0" in str(path):
        raise ConfigError(f"{setting}: {str(path)!r} is not a usable path: the path contains a NUL character")
    return path


def exists(path: Path) -> bool:
    """Like `Path.exists`, but also False for a name that no file can have."""
    return _has_kind(path, lambda _: True)


def is_file(path: Path) -> bool:
    """Like `Path.is_file`, but also False for a name that no file can have."""
    return _has_kind(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Like `Path.is_dir`, but also False for a name that no folder can have."""
    return _has_kind(path, stat.S_ISDIR)


def _has_kind(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.stat().st_mode)
    except PATH_ERRORS:
        return False


def read_text(path: Path, setting: str) -> str:
    """Return the text of a small file.

    Raises:
        ConfigError: The file cannot be read. The message names `setting`.
    """
    try:
        with open_regular(path) as binary, TextIOWrapper(binary, "utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ConfigError(f"{setting}: {path} is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {os_error_text(error)}") from None


class NotAFileError(OSError):
    """A path names a folder, a pipe, a device or a socket where a file is needed."""


def require_regular(mode: int) -> None:
    """Raise NotAFileError unless `mode`, from a stat result, is the mode of a regular file."""
    if not stat.S_ISREG(mode):
        raise NotAFileError(errno.EINVAL, f"is not a file, but {_kind(mode)}")


def open_regular(path: str | os.PathLike[str], buffering: int = 1 << 16) -> BinaryIO:
    """Open a file for reading. Never waits for the writer of a FIFO, and never reads a device.

    Raises:
        OSError: The file cannot be opened, or the path is invalid.
        NotAFileError: The path does not name a regular file.
    """
    try:
        require_regular(Path(path).stat().st_mode)  # Before opening, because opening a device may have an effect.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, os_error_text(error)) from None
    try:
        require_regular(os.fstat(fd).st_mode)  # Again, because the path may name another file by now.
        return os.fdopen(fd, "rb", buffering)
    except BaseException:
        os.close(fd)
        raise


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
