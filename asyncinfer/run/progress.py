"""Reports the progress of a run: to a callback, and to the file at `progress_path`."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from asyncinfer.aio.tasks import clean_up, run_callback, task_group
from asyncinfer.run.events import Events, RunWaits
from asyncinfer.run.executor import Executor, ExpectedWait
from asyncinfer.run.progress_file import try_write
from asyncinfer.run.stats import RunStats
from asyncinfer.types.results import Progress

log = logging.getLogger("asyncinfer")

OnProgress = Callable[[Progress], object]
_CALLBACK_SECONDS = 0.1
_FILE_SECONDS = 1.0
# The file is written again after this time even if nothing has changed. It shows that the process is alive.
_HEARTBEAT_SECONDS = 10.0
# After `_SILENT_SECONDS` without a request a run reports the reason. It logs it at most once per `_WARNING_SECONDS`.
_SILENT_SECONDS, _WARNING_SECONDS = 10.0, 60.0
# How long a run waits at its end for an async callback (seconds).
_LAST_CALLBACK_SECONDS = 10.0


class ProgressReporter:
    """Reports the changes of a run's counts: to the callback at most ten times a second, to the file once a second, and
    to both at the end. If the progress file cannot be written, that is logged once, and the run goes on.

    A run that has sent nothing for ten seconds reports the reason. The reason is logged, and emitted as an event, at
    most once a minute.
    """

    def __init__(
        self, stats: RunStats, path: Path | None, callback: OnProgress | None, executor: Executor, events: Events
    ) -> None:
        self._stats, self._callback, self._path = stats, callback, path
        self._executor, self._events = executor, events
        self._warned_at = -math.inf

    async def run(self) -> None:
        """Report until cancelled."""
        if self._path is None and self._callback is None:
            while True:
                await anyio.sleep(_FILE_SECONDS)
                self._watch()
        reported, written, since_write = None, None, math.inf
        while True:
            self._watch()
            progress = self._stats.progress()
            counts = replace(progress, seconds=0.0)
            if counts != reported:
                reported = counts
                await self._report(progress)
            if since_write >= (_FILE_SECONDS if counts != written else _HEARTBEAT_SECONDS):
                written, since_write = counts, 0.0
                await self._write(progress)
            await anyio.sleep(_CALLBACK_SECONDS)
            since_write += _CALLBACK_SECONDS

    async def finish(self, error: BaseException | None = None) -> None:
        """Report the last state. `error` ended the run."""
        self._stats.end(error)
        self._stats.waiting = None
        progress = self._stats.progress()
        await self._write(progress)
        with anyio.move_on_after(_LAST_CALLBACK_SECONDS) as limit:
            await self._report(progress)
        if limit.cancelled_caught:
            log.warning("on_progress did not return within %.0f s", _LAST_CALLBACK_SECONDS)

    def _watch(self) -> None:
        """Update the reason why the run waits, and log it."""
        silent_for = self._executor.silent_for
        self._stats.waiting = self._executor.why_waiting() if silent_for >= _SILENT_SECONDS else None
        now = self._stats.seconds
        waiting = self._stats.waiting
        if waiting is None or isinstance(waiting, ExpectedWait) or now - self._warned_at < _WARNING_SECONDS:
            return
        self._warned_at = now
        log.warning("Nothing was sent for %.0f s: %s", silent_for, waiting)
        self._events.emit(RunWaits(silent_for, waiting))

    async def _report(self, progress: Progress) -> None:
        if self._callback is None:
            return
        try:
            await run_callback("on_progress", self._callback, progress)
        except (Exception, SystemExit, KeyboardInterrupt):
            self._callback = None  # The error ends the run. The last report must not call the callback again.
            raise

    async def _write(self, progress: Progress) -> None:
        if self._path is not None and not await try_write(self._path, progress):
            self._path = None


@asynccontextmanager
async def reporting_progress(reporter: ProgressReporter) -> AsyncGenerator[None]:
    """Report while the block runs, and once more at its end."""
    try:
        # The last report is made after the task has ended, so that an earlier report cannot overwrite it.
        async with task_group() as tasks:
            tasks.start_soon(reporter.run)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
    except GeneratorExit:
        raise  # A coroutine that will never be resumed is being closed: nothing can be awaited.
    except BaseException as error:
        await clean_up(error, partial(reporter.finish, error))
        raise
    await clean_up(None, partial(reporter.finish, None))
