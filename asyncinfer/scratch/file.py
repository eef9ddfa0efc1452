"""The scratch file on disk. It is locked, recovered, appended to, read back, and made into the output.

The methods that are not async block. Callers run them in worker threads.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Generator, Iterable
from hashlib import blake2b
from pathlib import Path

from anyio import CancelScope
from filelock import FileLock, Timeout

from asyncinfer.aio.files import async_file
from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import ScratchError, ScratchLockedError
from asyncinfer.scratch import disk
from asyncinfer.scratch.atomic import async_replacing, discard_temporary, replacing
from asyncinfer.scratch.format import Recovery, SavedLine, decode, looks_like_scratch
from asyncinfer.scratch.spent import SpentLine, SpentSpans, decode_spent
from asyncinfer.types.paths import NotAFileError, advice, open_regular, os_error_text, require_regular

log = logging.getLogger("asyncinfer")

_READ_AHEAD = 1 << 16
# The most bytes and lines that are written at once.
_BLOCK_BYTES, _BLOCK_LINES = 1 << 20, 1 << 12
_BEGINNING = 1 << 10
_LONGEST_NAME = 255
_NOT_PRIVATE = 0o077
_TRIES = 3


def scratch_path(output: Path) -> Path:
    """Where the rows of a run with an output path are saved: `<output_dir>/scratch/<output_filename>`."""
    return output.parent / "scratch" / output.name


class DiskFile(io.FileIO):
    """A file to which whole batches are appended and synced."""

    def __init__(self, path: Path, size: int) -> None:
        self._size = size
        fd = disk.open_for_writing(path, os.O_APPEND)
        try:
            mode = os.fstat(fd).st_mode
            require_regular(mode)
            disk.truncate(fd, size)
            if mode & _NOT_PRIVATE:
                with contextlib.suppress(OSError):  # It may belong to another user.
                    disk.set_mode(fd, mode & 0o700)
        except BaseException:
            os.close(fd)
            raise
        super().__init__(fd, "r+b")

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write all of `data` and sync it. After an error, remove the part that was written."""
        fd, view = self.fileno(), memoryview(data)
        try:
            while view:
                view = view[disk.write(fd, view) :]
            disk.sync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                disk.truncate(fd, self._size)
            raise
        self._size += len(data)
        return len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes. Other threads may write at the same time."""
        return os.pread(self.fileno(), length, offset)


class ScratchFile:
    """The saved rows of one run. `acquire` locks the file, `recover` opens it, and `close` releases it."""

    def __init__(self, path: Path, open_file: Callable[[Path, int], DiskFile] = DiskFile) -> None:
        self.path = path
        self._open_file = open_file
        self._file: DiskFile | None = None
        self._size = 0
        self._spent = SpentSpans()
        # Different worker threads acquire and release it.
        self._lock = FileLock(lock_path(path), timeout=0, mode=0o600, thread_local=False)

    def acquire(self) -> None:
        """Create the folder and take the lock.

        Raises:
            ScratchLockedError: Another run holds the lock.
            ScratchError: The folder cannot be written.
        """
        with as_scratch_error(self.path, "cannot be opened"):
            try:
                self._take_lock()
            except Timeout:
                raise ScratchLockedError(
                    f"Another run is saving to {self.path}. Wait for it to end, or choose another output_path."
                ) from None
            try:
                discard_temporary(self.path)
            except BaseException:
                self.close()
                raise

    def _take_lock(self) -> None:
        for left in reversed(range(_TRIES)):
            disk.make_folder(self.path.parent, private=True)
            disk.sync_folder(self.path.parent.parent)
            try:
                return disk.lock(self._lock)
            except Timeout:
                raise
            except OSError as error:
                # Another run that just ended may have removed the empty folder.
                if not isinstance(error, FileNotFoundError) or not left:
                    raise OSError(error.errno, f"its lock {self._lock.lock_file}: {os_error_text(error)}") from error
        return None

    def recover(self) -> Generator[SavedLine]:
        """Yield every complete saved line. Then remove an incomplete last line and open the file for appending.

        Raises:
            ScratchError: The file cannot be read, or another program wrote it.
        """
        with as_scratch_error(self.path, "cannot be read"):
            try:
                yield from self._saved_lines()
            except FileNotFoundError:
                self._size = 0
            except NotAFileError as error:
                raise ScratchError(f"{self.path} {os_error_text(error)}: move it elsewhere first") from None
            self._file = self._open_file(self.path, self._size)
            disk.sync_folder(self.path.parent)

    def _saved_lines(self) -> Generator[SavedLine]:
        with open_regular(self.path) as file:
            is_scratch = looks_like_scratch(file.read(_BEGINNING))
            file.seek(0)
            recovery = Recovery(file)
            for line in recovery.lines():
                is_scratch = True
                yield line
        if not is_scratch:
            raise ScratchError(f"{self.path} was not written by asyncinfer: move it elsewhere first")
        self._size, self._spent = recovery.end, recovery.spent
        self._report(recovery)

    def _report(self, recovery: Recovery) -> None:
        incomplete = self.path.stat().st_size - recovery.end
        if incomplete:
            log.info("%s: removed an incomplete last line (%d bytes)", self.path, incomplete)
        if recovery.damaged:
            log.warning(
                "%s: %d damaged line(s) skipped; their rows are sent again (line %s)",
                self.path,
                len(recovery.damaged),
                ", ".join(map(str, recovery.damaged[:20])),
            )

    async def append(self, data: bytes) -> int:
        """Write `data` and sync it. Returns the offset at which it starts. Do not cancel it, and await each call.

        Raises:
            ScratchError: It cannot be written. The file is as before.
        """
        assert self._file is not None, "append before recover"
        with as_scratch_error(self.path, "cannot be written"):
            await async_file(self._file).write(data)
        offset, self._size = self._size, self._size + len(data)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        assert self._file is not None, "read before recover"
        with as_scratch_error(self.path, "cannot be read"):
            return self._file.read_at(offset, length)

    def spent_lines(self) -> Generator[tuple[SpentLine, bytes]]:
        """What attempts without an answer used, as `recover` has found it, and the line that says so. Blocks."""
        for offset, length in zip(self._spent.offsets, self._spent.lengths, strict=True):
            line = self.read(offset, length)
            if (spent := decode_spent(line)) is not None:
                yield spent, line

    def _read_whole(self, offset: int, length: int, ahead: int) -> bytes:
        """Read at least `length` bytes, and up to `ahead` bytes if the file is long enough."""
        data = self.read(offset, max(length, ahead))
        if len(data) < length:
            raise ScratchError(f"{self.path} was truncated by another program; run the same command again to resume")
        return data

    async def assemble(self, output: Path, spans: Iterable[tuple[int, int]]) -> None:
        """Write the JSON at `spans` to `output`, one line for each, as one atomic replacement.

        Args:
            spans: Offsets and lengths in bytes.
        """
        with as_scratch_error(output, "cannot be written"):
            async with async_replacing(output) as file:
                blocks = joined_lines(text + b"\n" for text in self.texts(spans))
                while block := await DISK.run(lambda: next(blocks, b"")):
                    with CancelScope(shield=True):  # A write must end before the file is closed.
                        await file.write(block)

    def texts(self, spans: Iterable[tuple[int, int]]) -> Generator[bytes]:
        """The JSON at each of `spans`. Blocks.

        Args:
            spans: Offsets and lengths in bytes. If they are nearly in order, few reads are needed.
        """
        ahead, start = b"", 0
        for offset, length in spans:
            if not start <= offset <= offset + length <= start + len(ahead):
                ahead, start = self._read_whole(offset, length, _READ_AHEAD), offset
            yield ahead[offset - start : offset - start + length]

    def keep(self, wanted: Callable[[bytes, int], bool], every: int = 512) -> Generator[None]:
        """Rewrite the file with only the lines whose row `(key, n)` is wanted, as one atomic replacement.

        Afterwards the file can only be closed.

        Args:
            every: After how many lines to yield, so that a caller can do other things.
        """
        with (
            as_scratch_error(self.path, "cannot be written"),
            open_regular(self.path) as old,
            replacing(self.path) as new,
        ):
            for count, line in enumerate(old, 1):
                saved = decode(line, 0) or decode_spent(line)
                if saved is not None and wanted(saved.key, saved.n):
                    new.write(line)
                if count % every == 0:
                    yield

    def close(self, *, remove: bool = False) -> None:
        """Close the file and release the lock. A second call has no effect.

        Args:
            remove: Remove the file. An empty file is always removed.
        """
        if self._file is not None:
            with contextlib.suppress(OSError):  # The appended lines are already synced.
                self._file.close()
            self._file = None
            remove = remove or not self._size
        elif not self._lock.is_locked:
            return
        try:
            if remove:
                disk.remove(self.path)
        except OSError as error:
            log.warning(
                "%s cannot be removed: %s. It is no longer needed; please delete it", self.path, os_error_text(error)
            )
        finally:
            self._release()

    def _release(self) -> None:
        if self._lock.is_locked:
            # The lock file is removed while the lock is held. So another run that opened it before notices the removal.
            with contextlib.suppress(OSError):
                disk.remove(Path(self._lock.lock_file))
            with contextlib.suppress(OSError):
                disk.unlock(self._lock)
        # The folder belongs to this package. It is removed only if it is empty.
        disk.remove_folder(self.path.parent)


def joined_lines(lines: Iterable[bytes]) -> Generator[bytes]:
    """The lines in blocks of about 1 MiB, so that few writes are needed. The last block may be empty."""
    block, size = list[bytes](), 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size > _BLOCK_BYTES or len(block) > _BLOCK_LINES:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)


def lock_path(path: Path) -> Path:
    """The path of the lock file. It gets a hashed name if the name of `path` is too long for a suffix."""
    name = f"{path.name}.lock"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{blake2b(os.fsencode(path.name), digest_size=16).hexdigest()}.lock"
    return path.with_name(name)


@contextlib.contextmanager
def as_scratch_error(path: Path, what: str) -> Generator[None]:
    """Convert errors about a file to a ScratchError that says what to do. `what`: for instance `cannot be written`."""
    try:
        yield
    except OSError as error:
        raise ScratchError(
            f"{path} {what}: {os_error_text(error)}. Finished rows are kept: {advice(error)}, then run the same "
            "command again to resume."
        ) from error
