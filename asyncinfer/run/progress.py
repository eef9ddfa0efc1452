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

from asyncinfer.aio.threads import DISK
from asyncinfer.run.clock import Clock
from asyncinfer.run.tasks import call_back
from asyncinfer.scratch.atomic import replacing
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


class Tally:
    """The counts of one run."""

    def __init__(self, clock: Clock, total: int | None = None) -> None:
        self._clock, self._began = clock, clock.now()
        self.total = total
        self.completed = self.failed = self.resumed = 0
        self.attempts = self.refused = self.retried = 0
        self.last_attempt = self._began
        self.waiting: str | None = None
        self._usage = UsageSum()
        self.samples: list[tuple[int, FailureDetail]] = []

    def attempt(self) -> None:
        """A request is sent to the engine."""
        self.attempts += 1
        self.last_attempt = self._clock.now()

    def complete(self, usage: Usage | None) -> None:
        self.completed += 1
        if usage is not None:
            self._usage.add(usage)

    def resume(self) -> None:
        self.completed += 1
        self.resumed += 1

    def fail(self, index: int, detail: FailureDetail) -> None:
        self.failed += 1
        if len(self.samples) < _SAMPLES:
            self.samples.append((index, detail))

    @property
    def usage(self) -> Usage:
        """The tokens of this run's answers."""
        return self._usage.total()

    @property
    def silent_for(self) -> float:
        """Seconds since the last request was sent."""
        return self._clock.now() - self.last_attempt

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
    """Reports a tally's changes: to the callback at most ten times a second, to the file once a second, and to both
    at the end. A progress file that cannot be written is one warning; the run goes on.

    `why_waiting` returns the reason why nothing can be sent at the moment, or None. A run that has sent nothing for ten
    seconds reports it, and logs it at most once a minute.
    """

    def __init__(
        self,
        tally: Tally,
        path: Path | None,
        callback: OnProgress | None,
        why_waiting: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._tally, self._callback = tally, callback
        self._path, self._why_waiting = path, why_waiting
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
            progress = self._tally.progress()
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
        self._tally.waiting = None
        progress = self._tally.progress()
        await self._write(progress)
        with anyio.move_on_after(_LAST_CALLBACK_SECONDS) as limit:
            await self._report(progress)
        if limit.cancelled_caught:
            log.warning("on_progress did not return within %.0f s", _LAST_CALLBACK_SECONDS)

    def _watch(self) -> None:
        """Update the reason why the run waits, and log it."""
        silent_for = self._tally.silent_for
        self._tally.waiting = self._why_waiting() if silent_for >= _SILENT_SECONDS else None
        now = self._tally.seconds
        if self._tally.waiting is not None and now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            log.warning("Nothing was sent for %.0f s: %s", silent_for, self._tally.waiting)

    async def _report(self, progress: Progress) -> None:
        if self._callback is None:
            return
        try:
            await call_back("on_progress", self._callback, progress)
        except Exception:
            self._callback = None  # The error ends the run. The last report must not call the callback again.
            raise

    async def _write(self, progress: Progress) -> None:
        if self._path is not None:
            try:
                await DISK.run(write_snapshot, self._path, progress)
            except OSError as error:
                log.warning("progress_path %s cannot be written: %s", self._path, error.strerror or error)
                self._path = None


def write_snapshot(path: Path, progress: Progress) -> None:
    """Replace the progress file. Blocks."""
    snapshot = {
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "tokens": progress.usage.to_dict(),
        "waiting": progress.waiting,
        "updated_at": datetime.now(UTC).isoformat(),
    }
    # If another run is writing the same file at this moment, skip this snapshot.
    with suppress(BlockingIOError), replacing(path, durable=False) as file:
        file.write(to_json(snapshot) + b"\n")
