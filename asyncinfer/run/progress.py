"""The progress of a run: counted, reported to a callback, written to `progress_path`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
from pydantic_core import to_json

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.tasks import run_callback
from asyncinfer.errors import RequestError
from asyncinfer.run.events import AttemptFailed, Events, RowFailed, RowFinished, RowResumed, RunEvent, RunWaits
from asyncinfer.run.executor import Executor
from asyncinfer.scratch.atomic import async_replacing
from asyncinfer.types.results import FailureDetail, Progress, RunSummary, Usage, UsageSum

log = logging.getLogger("asyncinfer")

OnProgress = Callable[[Progress], object]
_SAMPLES = 20
_CALLBACK_SECONDS = 0.1
_FILE_SECONDS = 1.0
# After `_SILENT_SECONDS` without a request a run reports the reason. It logs it at most once per `_WARNING_SECONDS`.
_SILENT_SECONDS, _WARNING_SECONDS = 10.0, 60.0
# How long a run waits at its end for an async callback (seconds).
_LAST_CALLBACK_SECONDS = 10.0


class RunStats:
    """The counts of one run. `observe` keeps them."""

    def __init__(self, clock: Clock, total: int | None = None) -> None:
        self._clock, self._began = clock, clock.now()
        self.total = total
        self.completed = self.failed = self.resumed = 0
        self.attempts = self.refused = self.retried = 0
        self.waiting: str | None = None
        self._usage = UsageSum()
        self.samples: list[tuple[int, FailureDetail]] = []

    def observe(self, event: RunEvent) -> None:
        """Count an event of the run."""
        match event:
            case RowFinished():
                self.attempts += 1
                self.completed += 1
                if event.usage is not None:
                    self._usage.add(event.usage)
            case RowResumed():
                self.completed += 1
                self.resumed += 1
            case RowFailed():
                self.failed += 1
                if len(self.samples) < _SAMPLES:
                    self.samples.append((event.index, event.failure))
            case AttemptFailed():
                self.attempts += 1
                self.retried += event.retry_after is not None
                self.refused += isinstance(event.error, RequestError) and event.error.is_overload
            case _:
                pass

    @property
    def usage(self) -> Usage:
        """The tokens of this run's answers."""
        return self._usage.total()

    @property
    def seconds(self) -> float:
        return self._clock.now() - self._began

    def progress(self) -> Progress:
        return Progress(self.total, self.completed, self.failed, self.resumed, self.usage, self.seconds, self.waiting)

    def summary(self) -> RunSummary:
        total = self.total if self.total is not None else self.completed + self.failed
        return RunSummary(
            total=total,
            completed=self.completed,
            failed=self.failed,
            resumed=self.resumed,
            usage=self.usage,
            seconds=self.seconds,
            failure_samples=list(self.samples),
            attempts=self.attempts,
            refused=self.refused,
            retried=self.retried,
        )


class Reporter:
    """Reports the changes of a run's counts: to the callback at most ten times a second, to the file once a second, and
    to both at the end. If the progress file cannot be written, that is logged once, and the run goes on.

    A run that has sent nothing for ten seconds reports the reason. The reason is logged, and emitted as
    an event, at most once a minute.
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
        reported, written, waited = None, None, 0.0
        while True:
            self._watch()
            progress = self._stats.progress()
            counts = replace(progress, seconds=0.0)
            if counts != reported:
                reported = counts
                await self._report(progress)
            if waited <= 0.0:
                waited = _FILE_SECONDS
                if counts != written:
                    written = counts
                    await self._write(progress)
            await anyio.sleep(_CALLBACK_SECONDS)
            waited -= _CALLBACK_SECONDS

    async def finish(self) -> None:
        """Report the last state."""
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
        if self._stats.waiting is not None and now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            log.warning("Nothing was sent for %.0f s: %s", silent_for, self._stats.waiting)
            self._events.emit(RunWaits(silent_for, self._stats.waiting))

    async def _report(self, progress: Progress) -> None:
        if self._callback is None:
            return
        try:
            await run_callback("on_progress", self._callback, progress)
        except Exception:
            self._callback = None  # The error ends the run. The last report must not call the callback again.
            raise

    async def _write(self, progress: Progress) -> None:
        if self._path is not None:
            try:
                await write_snapshot(self._path, progress)
            except OSError as error:
                log.warning("progress_path %s cannot be written: %s", self._path, error.strerror or error)
                self._path = None


async def write_snapshot(path: Path, progress: Progress) -> None:
    """Replace the progress file."""
    snapshot = {
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "tokens": progress.usage.to_dict(),
        "waiting": progress.waiting,
        "updated_at": datetime.now(UTC).isoformat(),
    }
    # If another run is writing the same file at this moment, skip this snapshot.
    with suppress(BlockingIOError):
        async with async_replacing(path, durable=False) as file:
            with anyio.CancelScope(shield=True):  # The write must end before the file is closed.
                await file.write(to_json(snapshot) + b"\n")
