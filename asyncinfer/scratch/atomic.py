"""Replaces files atomically."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import AsyncGenerator, Generator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from anyio import CancelScope

from asyncinfer.aio.files import async_file
from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import ConfigError
from asyncinfer.scratch import disk
from asyncinfer.types.paths import PATH_ERRORS, NotAFileError, advice, os_error_text, require_regular

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO

_BUFFER = 1 << 20
_TRIES = 16


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Generator[BinaryIO]:
    """A temporary file that replaces `path` at the end of the block. After an error it is removed instead.

    If `path` is a symbolic link, its target is replaced. The temporary file for a path always has the same name, and is
    locked. So a killed process leaves at most one file, which the next replacement uses again.

    Args:
        durable: Sync the file before the replacement, and the folder after it.

    Raises:
        OSError: The file cannot be written.
        NotAFileError: `path` is a folder, a pipe or a device.
        BlockingIOError: Another process is replacing the file.
    """
    path = resolved(path)
    disk.make_folder(path.parent)
    mode = _mode_of(path)
    temporary = temporary_for(path)
    raw = disk.Raw(_open_temporary(temporary, mode))
    with io.BufferedWriter(raw, _BUFFER) as file:
        try:
            yield cast(BinaryIO, file)
            file.flush()
            if durable:
                disk.sync(raw.fileno())
            _mode_of(path)
            disk.replace(temporary, path)
        except BaseException:
            raw.discard()
            with contextlib.suppress(OSError):
                disk.remove(temporary)  # The lock is still held.
            raise
    if durable:
        disk.sync_folder(path.parent)


@contextlib.asynccontextmanager
async def async_replacing(path: Path, *, durable: bool = True) -> AsyncGenerator[AsyncFileIO]:
    """As `replacing`, with methods to await. Shield each write, which must end before the file is closed."""
    replacement = replacing(path, durable=durable)
    file: BinaryIO | None = None
    with CancelScope(shield=True):
        file = await DISK.run(replacement.__enter__)
    assert file is not None, "a shielded scope is not cancelled"
    try:
        yield async_file(file)
    except BaseException as error:
        with CancelScope(shield=True):
            await DISK.run(replacement.__exit__, type(error), error, error.__traceback__)
        raise
    with CancelScope(shield=True):
        await DISK.run(replacement.__exit__, None, None, None)


def check_replaceable(path: Path, setting: str) -> None:
    """Raise ConfigError if `path` exists and is not a file, or if no file can have this path. `setting` names it."""
    with as_config_error(path, setting):
        _mode_of(resolved(path))


def check_target(path: Path, setting: str) -> None:
    """Raise ConfigError if no file can be written to `path`. `setting` names it."""
    check_replaceable(path, setting)
    with as_config_error(path, setting):
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{setting}: {path} cannot be written, as {folder} is not a writable folder")


def try_target(path: Path, setting: str) -> None:
    """Create the temporary file for `path` and remove it. This also removes the one that a killed run may have left.

    Raises:
        ConfigError: A file cannot be written to `path`.
    """
    with as_config_error(path, setting):
        path = resolved(path)
        disk.make_folder(path.parent)
        _remove_locked(temporary_for(path), _mode_of(path))


def discard_temporary(path: Path) -> None:
    """Remove the temporary file that a killed process left for `path`, if there is one and no process uses it."""
    temporary = temporary_for(path)
    if temporary.exists():
        with contextlib.suppress(BlockingIOError):
            _remove_locked(temporary, None)


@contextlib.contextmanager
def as_config_error(path: Path, setting: str, action: str = "written") -> Generator[None]:
    """Convert errors about a path to a ConfigError that names its setting.

    Args:
        action: What cannot be done with the file: `written` or `read`.
    """
    try:
        yield
    except NotAFileError as error:
        raise ConfigError(f"{setting}: {path} {os_error_text(error)}; give the path of a file to write") from None
    except ConfigError:
        raise
    except PATH_ERRORS as error:
        raise ConfigError(f"{setting}: {path} cannot be {action}: {os_error_text(error)}; {advice(error)}") from None


def resolved(path: Path) -> Path:
    """The path without symbolic links, so that the target of a link is replaced and not the link.

    Raises:
        OSError: The path cannot be resolved.
    """
    try:
        return path.resolve()
    except RuntimeError:  # Python up to 3.12 raises this for a loop of symbolic links.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
    except ValueError as error:
        raise OSError(errno.EINVAL, os_error_text(error)) from None


def _mode_of(path: Path) -> int | None:
    """The permissions of the file that will be replaced; None if there is no file.

    Raises:
        NotAFileError: It is not a regular file. Only regular files are replaced.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    require_regular(mode)
    return mode & 0o777


def temporary_for(path: Path) -> Path:
    """The path of the temporary file that replaces `path`, in the same folder.

    Its name has a fixed length, because the name of `path` may be as long as the file system allows.
    """
    path = resolved(path)
    return path.with_name(f".asyncinfer-{blake2b(os.fsencode(path.name), digest_size=8).hexdigest()}.tmp")


def _remove_locked(temporary: Path, mode: int | None) -> None:
    fd = _open_temporary(temporary, mode)
    try:
        disk.remove(temporary)
    finally:
        os.close(fd)


def _open_temporary(path: Path, mode: int | None) -> int:
    """Open and lock an empty file with these permissions. Returns its descriptor. None: the default permissions."""
    for _ in range(_TRIES):
        fd = _open_own(path, 0o666 if mode is None else mode)
        if fd is None:
            continue
        try:
            _lock(fd)
            if _names(path, fd):
                disk.truncate(fd, 0)
                if mode is not None:
                    disk.set_mode(fd, mode)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise FileExistsError(errno.EEXIST, f"{path} already exists and cannot be replaced")


def _open_own(path: Path, mode: int) -> int | None:
    """Open a new file, or one that another process of this user left. Anything else is removed; the result is None."""
    with contextlib.suppress(FileExistsError):
        return disk.open_for_writing(path, os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        fd = disk.open_for_writing(path, os.O_NOFOLLOW, mode)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ELOOP):
            raise
        disk.remove(path)
        return None
    if _is_private(fd):
        return fd
    os.close(fd)
    disk.remove(path)
    return None


def _is_private(fd: int) -> bool:
    """Whether the file belongs to this user and has no other name, so that no other user can read it."""
    found = os.fstat(fd)
    return stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid == os.geteuid()


def _names(path: Path, fd: int) -> bool:
    """Whether the path is still that of the open file. The previous owner of the lock may have renamed it."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _lock(fd: int) -> None:
    import fcntl  # Windows does not have it.

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EAGAIN, "another process is writing this file") from None
    except OSError as error:
        # These errors mean that the file system does not support locks.
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise
