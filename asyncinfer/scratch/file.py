"""The scratch file on disk: locked, recovered, appended to, read back, and turned into the output.

Every method here blocks; the callers run them in worker threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from asyncinfer.errors import ScratchError, ScratchLockedError
from asyncinfer.scratch.atomic import replacing, sync_folder
from asyncinfer.scratch.format import FIRST_BYTES, Recovery, SavedLine

log = logging.getLogger("asyncinfer")

_BLOCK = 1 << 16
CACHE = Path("~/.cache/asyncinfer/tmp")


def beside(output: Path) -> Path:
    """Where the rows of a run with an output path are saved: `<output_dir>/scratch/<output_filename>`."""
    return output.parent / "scratch" / output.name


def in_cache(run_hash: str) -> Path:
    """Where those of a run without one are.

    Raises:
        ScratchError: the user has no home.
    """
    try:
        return CACHE.expanduser() / f"temp_inference_output_{run_hash}.jsonl"
    except RuntimeError as error:
        raise ScratchError(f"{CACHE}: {error}") from None


class AppendFile(Protocol):
    """What is asked of the disk. Tests put a failing or a forgetful one in its place."""

    def append(self, data: bytes) -> None: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def close(self) -> None: ...


class DiskFile:
    """A file that is appended to and synced, whole batches at a time."""

    def __init__(self, path: Path, size: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._fd, size)
        self._size = size

    def append(self, data: bytes) -> None:
        """Write all of `data` and wait until it is durable; on failure leave none of it behind."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


class ScratchFile:
    """One run's saved rows. Open it with `recover`; other runs are refused until `close`."""

    def __init__(self, path: Path, open_file: Callable[[Path, int], AppendFile] = DiskFile) -> None:
        self.path = path
        self._open_file = open_file
        self._file: AppendFile | None = None
        self._size = 0
        # Taken and given back by different worker threads.
        self._lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)

    def acquire(self) -> None:
        """Make the folder and take the lock.

        Raises:
            ScratchLockedError: another run holds it. ScratchError: the folder cannot be written.
        """
        with _as_scratch_error(self.path, "cannot be opened"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path.parent.parent)
            try:
                self._lock.acquire()
            except Timeout:
                raise ScratchLockedError(
                    f"Another run is saving to {self.path}. Wait for it to end, or choose another output_path."
                ) from None

    def recover(self) -> Generator[SavedLine]:
        """Yield every whole saved line, then truncate a torn tail and open the file for appending."""
        with _as_scratch_error(self.path, "cannot be read"):
            if self.path.exists():
                with self.path.open("rb") as file:
                    ours = FIRST_BYTES.startswith(file.read(len(FIRST_BYTES)))
                    file.seek(0)
                    recovery = Recovery(file)
                    for line in recovery.lines():
                        ours = True
                        yield line
                if not ours:
                    raise ScratchError(f"{self.path} was not written by asyncinfer: move it elsewhere first")
                self._size = recovery.end
                self._report(recovery)
            self._file = self._open_file(self.path, self._size)
            sync_folder(self.path.parent)

    def _report(self, recovery: Recovery) -> None:
        torn = self.path.stat().st_size - recovery.end
        if torn:
            log.info("%s: dropped a half-written last line (%d bytes)", self.path, torn)
        if recovery.damaged:
            log.warning(
                "%s: %d damaged line(s) skipped, their rows are run again (line %s)",
                self.path,
                len(recovery.damaged),
                ", ".join(map(str, recovery.damaged[:20])),
            )

    def append(self, data: bytes) -> int:
        """Make `data` durable; returns the offset it starts at."""
        assert self._file is not None, "append before recover"
        with _as_scratch_error(self.path, "cannot be written"):
            self._file.append(data)
        offset, self._size = self._size, self._size + len(data)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        assert self._file is not None, "read before recover"
        with _as_scratch_error(self.path, "cannot be read"):
            return self._file.read(offset, length)

    def assemble(self, output: Path, spans: Iterable[tuple[int, int]], every: int = 512) -> Generator[None]:
        """Write the JSON at `spans`, a line each, to `output`, whole or not at all; yields every so many lines."""
        block, start = b"", 0
        with _as_scratch_error(output, "cannot be written"), replacing(output) as file:
            for count, (offset, length) in enumerate(spans, 1):
                # Rows stand nearly in order, so that one read serves many.
                if not start <= offset <= offset + length <= start + len(block):
                    block, start = self.read(offset, max(length, _BLOCK)), offset
                file.write(block[offset - start : offset - start + length])
                file.write(b"\n")
                if count % every == 0:
                    yield

    def close(self, *, remove: bool = False) -> None:
        """Give the file back; `remove` it when its rows are in the output. Closing twice is harmless."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if remove:
            self.path.unlink(missing_ok=True)
        if self._lock.is_locked:
            # Unlinked while it is held: a rival that opened it before sees that it has no name any more.
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()
        if remove:
            # The folder is ours by its name; it stays where other runs save to it.
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


@contextlib.contextmanager
def _as_scratch_error(path: Path, what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ScratchError(
            f"{path} {what}: {error.strerror or error}. Rows finished so far are kept; free space or mend "
            "the permissions, then run the same command again to go on."
        ) from error
