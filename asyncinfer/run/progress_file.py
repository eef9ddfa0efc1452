"""The progress file of a run, which other programs can read while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import anyio
from pydantic_core import to_json

from asyncinfer.aio.tasks import clean_up
from asyncinfer.errors import ScratchLockedError
from asyncinfer.run.stats import RunStats
from asyncinfer.scratch.atomic import async_replacing
from asyncinfer.types.results import Progress, RunState
from asyncinfer.types.run_counts import counts_of

log = logging.getLogger("asyncinfer")


async def try_write(path: Path, progress: Progress) -> bool:
    """Replace the progress file. Returns whether that succeeded; an error is logged."""
    try:
        await write_snapshot(path, progress)
    except OSError as error:
        log.warning("progress_path %s cannot be written: %s", path, error.strerror or error)
        return False
    return True


@asynccontextmanager
async def failure_in_file(stats: RunStats, path: Path | None) -> AsyncGenerator[None]:
    """If the block fails before its reporter has reported the end of the run, write that to the progress file.

    If another run holds the lock, the progress file belongs to that run and is not changed.
    """
    try:
        yield
    except (GeneratorExit, ScratchLockedError):
        raise
    except BaseException as error:
        if stats.state is RunState.RUNNING and path is not None:
            stats.end(error)
            await clean_up(error, lambda: try_write(path, stats.progress()))
        raise


async def write_snapshot(path: Path, progress: Progress) -> None:
    """Replace the progress file."""
    snapshot = {
        "state": progress.state,
        **counts_of(progress),
        "commonest_failure": progress.commonest_failure and progress.commonest_failure._asdict(),
        "tokens": progress.usage.to_dict(),
        "cost": progress.cost.to_dict() if progress.cost is not None else None,
        "seconds": round(progress.seconds, 1),
        "waiting": progress.waiting,
        "endpoints": [asdict(endpoint) for endpoint in progress.endpoints],
        "error": progress.error,
        "updated_at": datetime.now(UTC).isoformat(),
    }
    # If another run is writing the same file at this moment, skip this snapshot.
    with suppress(BlockingIOError):
        async with async_replacing(path, durable=False) as file:
            with anyio.CancelScope(shield=True):  # The write must end before the file is closed.
                await file.write(to_json(snapshot) + b"\n")
