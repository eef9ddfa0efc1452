"""The usage of attempts without an answer, which counts towards the limits of later runs of a job."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_slices
from asyncinfer.scratch.file import ScratchFile


async def keep_spent_usage(path: Path, run: ScratchFile, *, is_open: bool) -> None:
    """Add the usage of attempts without an answer to the scratch file of the run, which outlives that of the retry.

    Args:
        path: The scratch file of the retry.
        run: The scratch file of the run.
        is_open: Whether `run` is open for further rows.

    Raises:
        ScratchError: A file cannot be used.
    """
    if not await DISK.run(path.exists):
        return
    if lines := await in_slices(_new_usage_lines(path, run)):
        if not is_open:
            await in_slices(run.recover())
        await run.append(b"".join(lines))


def _new_usage_lines(path: Path, run: ScratchFile) -> Generator[None, None, list[bytes]]:
    """Return the usage lines of the retry that the run does not have. Blocks; yields after each line."""
    kept = {spent.number for spent, _ in run.spent_lines()}
    scratch, lines = ScratchFile(path), list[bytes]()
    scratch.acquire()
    try:
        yield from (None for _ in scratch.recover())
        for spent, line in scratch.spent_lines():
            if spent.number not in kept:
                lines.append(line)
            yield
    finally:
        scratch.close()
    return lines
