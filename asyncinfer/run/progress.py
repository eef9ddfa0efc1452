"""How far a run is: counted, told to a callback, written to `progress_path`."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
# How long a run waits at its end for an async callback.
_LAST_CALLBACK_SECONDS = 10.0


class Tally:
    """The counts of one run."""

    def __init__(self, clock: Clock, total: int | None = None) -> None:
        self._clock, self._began = clock, clock.now()
        self.total = total
        self.completed = self.failed = self.resumed = 0
        self.attempts = self.refused = self.retried = 0
        self._usage = UsageSum()
        self.samples: list[tuple[int, FailureDetail]] = []

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
    def seconds(self) -> float:
        return self._clock.now() - self._began

    def progress(self) -> Progress:
        return Progress(self.total, self.completed, self.failed, self.resumed, self.usage, self.seconds)

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
    """Tells of a tally's changes: the callback at most ten times a second, the file once a second,
    both always at the end. A progress file that cannot be written is one warning; the run goes on.
    """

    def __init__(self, tally: Tally, path: Path | None, callback: OnProgress | None) -> None:
        self._tally, self._callback = tally, callback
        self._path = path

    async def run(self) -> None:
        """Report until cancelled."""
        if self._path is None and self._callback is None:
            return
        told, written, waited = None, None, 0.0
        while True:
            progress = self._tally.progress()
            counts = replace(progress, seconds=0.0)
            if counts != told:
                told = counts
                await self._tell(progress)
            if waited <= 0.0:
                waited = _FILE_SECONDS
                if counts != written:
                    written = counts
                    await self._write(progress)
            await anyio.sleep(_CALLBACK_SECONDS)
            waited -= _CALLBACK_SECONDS

    async def finish(self) -> None:
        """Report the last state."""
        progress = self._tally.progress()
        await self._write(progress)
        with anyio.move_on_after(_LAST_CALLBACK_SECONDS) as limit:
            await self._tell(progress)
        if limit.cancelled_caught:
            log.warning("on_progress did not return within %.0f s", _LAST_CALLBACK_SECONDS)

    async def _tell(self, progress: Progress) -> None:
        if self._callback is None:
            return
        try:
            await call_back("on_progress", self._callback, progress)
        except Exception:
            self._callback = None  # This ends the run; the report at its end would fail again.
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
        "updated_at": datetime.now(UTC).isoformat(),
    }
    with replacing(path, durable=False) as file:
        file.write(to_json(snapshot) + b"\n")
