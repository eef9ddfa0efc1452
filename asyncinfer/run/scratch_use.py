"""Locks the scratch file of a run, and removes what is no longer needed from it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.errors import ScratchError, ScratchLockedError
from asyncinfer.scratch.atomic import try_target
from asyncinfer.scratch.file import ScratchFile, scratch_path
from asyncinfer.scratch.temporary import SWEEPER, temporary_scratch

log = logging.getLogger("asyncinfer")

# How many equal runs without an output path are saved at the same time.
_MOST_EQUAL_RUNS = 64


def lock_for_output(output_path: Path) -> ScratchFile:
    """Lock the scratch file of a run with an output path. Also checks that the output can be written. Blocks.

    Raises:
        ScratchError: The scratch file cannot be used.
        ConfigError: The output cannot be written.
    """
    scratch = ScratchFile(scratch_path(output_path))
    scratch.acquire()
    try:
        try_target(output_path, "output_path")
    except BaseException:
        scratch.close()
        raise
    return scratch


async def lock_temporary(name: Callable[[], str]) -> ScratchFile | None:
    """Lock the scratch file of a run without an output path. None if that is not possible: such a run is not saved.

    Equal runs at the same time lock a file each. A later run resumes from one that is free.

    Args:
        name: Returns the name of the run. Blocks.
    """
    try:
        return await DISK.run(lambda: _locked_temporary(name()))
    except ScratchError as error:
        log.warning("This run is not saved as it goes, and cannot be resumed: %s", error)
        return None


def _locked_temporary(name: str) -> ScratchFile:
    first = temporary_scratch(name)
    SWEEPER.sweep(first.parent)
    paths = [first, *(first.with_stem(f"{first.stem}-{number}") for number in range(2, _MOST_EQUAL_RUNS + 1))]
    # Files with saved rows come first.
    *others, last = sorted(paths, key=lambda path: not path.exists())
    for path in others:
        with suppress(ScratchLockedError):
            return _locked(path)
    return _locked(last)


def _locked(path: Path) -> ScratchFile:
    scratch = ScratchFile(path)
    scratch.acquire()
    return scratch


async def remove_finished(scratch: ScratchFile, unclaimed: int, is_wanted: Callable[[bytes, int], bool]) -> None:
    """Remove the rows that are now in the output from the scratch file. Remove the file if it holds no others.

    Args:
        unclaimed: How many saved rows belong to other input or settings.
        is_wanted: Whether the row with this key and number stays in the file.
    """
    if not unclaimed:
        with anyio.CancelScope(shield=True):
            await DISK.run(lambda: scratch.close(remove=True))
        return
    log.warning(
        "%s keeps %d saved row(s) that belong to other input or settings. To use them, run that input again; "
        "to discard them, delete the file.",
        scratch.path,
        unclaimed,
    )
    try:
        await in_slices(scratch.keep(is_wanted))
    except ScratchError as error:
        log.warning("%s still holds the rows of this run, which are no longer needed: %s", scratch.path, error)
