"""Temporary scratch files: those of runs without an output path. They are in the user's cache folder, and expire."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from asyncinfer.errors import ScratchError
from asyncinfer.scratch.file import ScratchFile

FOLDER = Path("~/.cache/asyncinfer/tmp")
KEPT_SECONDS = 7 * 24 * 3600
_SWEEP_SECONDS = 24 * 3600
_PREFIX, _SUFFIX, _LOCK = "temp_inference_output_", ".jsonl", ".lock"


def temporary_scratch(run_hash: str) -> Path:
    """The scratch file of a run without an output path.

    Raises:
        ScratchError: The user has no home directory.
    """
    try:
        return FOLDER.expanduser() / f"{_PREFIX}{run_hash}{_SUFFIX}"
    except RuntimeError as error:
        raise ScratchError(f"{FOLDER}: {error}") from None


class TemporarySweeper:
    """Removes scratch files that no run has changed for a week. It does so at most once a day. Blocks."""

    def __init__(self) -> None:
        self._due = 0.0

    def sweep(self, folder: Path) -> None:
        """Remove expired files from `folder`, if the last time was a day ago. Files that cause an error are skipped."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _SWEEP_SECONDS
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                self._expire(path)

    def _expire(self, path: Path) -> None:
        scratch = path.with_name(path.name.removesuffix(_LOCK))
        if not (scratch.name.startswith(_PREFIX) and scratch.name.endswith(_SUFFIX)):
            return
        with contextlib.suppress(OSError, ScratchError):
            if time.time() - path.stat().st_mtime > KEPT_SECONDS and not _is_newer(scratch):
                file = ScratchFile(scratch)
                file.acquire()
                file.close(remove=True)


def _is_newer(path: Path) -> bool:
    """Whether the file exists and has not expired."""
    try:
        return time.time() - path.stat().st_mtime <= KEPT_SECONDS
    except FileNotFoundError:
        return False


SWEEPER = TemporarySweeper()
