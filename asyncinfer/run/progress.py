"""The progress of a run: counted, reported to a callback, written to `progress_path`."""

from __future__ import annotations

import logging
import math
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
from pydantic_core import to_json

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.tasks import clean_up, run_callback, task_group
from asyncinfer.errors import AsyncInferError, RequestError, ScratchLockedError, error_repr
from asyncinfer.run.endpoint_stats import EndpointStats, Problems, one_endpoint
from asyncinfer.run.events import (
    AttemptFailed,
    Events,
    RowFailed,
    RowFinished,
    RowResumed,
    RowReused,
    RunEvent,
    RunWaits,
)
from asyncinfer.run.executor import Executor, ExpectedWait
from asyncinfer.run.failures import Failures
from asyncinfer.scratch.atomic import async_replacing
from asyncinfer.types.costs import RunCost
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.results import Progress, RunState, RunSummary
from asyncinfer.types.run_errors import RunInterruptedError
from asyncinfer.types.usage import Usage, UsageSum

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


def _no_cost() -> RunCost | None:
    return None


class RunStats:
    """The counts and the state of one run. `observe` keeps the counts.

    Args:
        keep_failures: Keep the failure of every row.
        problems: Returns why each of several endpoints is put aside, by its name; None if it is in use.

    Attributes:
        failures_path: The file of the failed rows, once it is written.
        endpoints: The counts of each endpoint, if there are several.
        cost: Returns what the answers cost so far; None if they cost nothing.
    """

    def __init__(
        self,
        clock: Clock,
        total: int | None = None,
        *,
        keep_failures: bool = False,
        problems: Problems = one_endpoint,
    ) -> None:
        self._clock, self._began = clock, clock.now()
        self.total = total
        self.completed = self.resumed = 0
        self.attempts = self.refused = self.retried = 0
        self.cut_by_length = self.filtered = 0
        self.deduplicated = self.cached = 0
        self.failures = Failures(keep_all=keep_failures)
        self.failures_path: Path | None = None
        self.endpoints = EndpointStats(problems)
        self.cost: Callable[[], RunCost | None] = _no_cost
        self.waiting: str | None = None
        self.state, self.error = RunState.RUNNING, None
        self._usage = UsageSum()

    def begin(self, total: int | None) -> None:
        """Set the number of rows, and begin to count the seconds of the run."""
        self.total, self._began = total, self._clock.now()

    def end(self, error: BaseException | None) -> None:
        """Record that the run ended, and the error that ended it. Later calls have no effect."""
        if self.state is not RunState.RUNNING:
            return
        if isinstance(error, RunInterruptedError | CancelledError | KeyboardInterrupt):
            self.state = RunState.INTERRUPTED
        elif error is None:
            self.state = RunState.FINISHED
        else:
            self.state = RunState.FAILED
            self.error = str(error) if isinstance(error, AsyncInferError) else error_repr(error)

    def observe(self, event: RunEvent) -> None:
        """Count an event of the run."""
        match event:
            case RowFinished():
                self.attempts += 1
                self.completed += 1
                self.endpoints.finished(event)
                if event.usage is not None:
                    self._usage.add(event.usage)
                self._count_end(event.finish_reason)
            case RowResumed():
                self.completed += 1
                self.resumed += 1
                self._count_end(event.finish_reason)
            case RowReused():
                self.completed += 1
                self.deduplicated += event.source == "duplicate"
                self.cached += event.source == "cache"
                self._count_end(event.finish_reason)
            case RowFailed():
                self.failures.add(event.index, event.failure)
                if event.usage is not None:
                    self._usage.add(event.usage)
            case AttemptFailed():
                self.attempts += 1
                self.endpoints.failed(event)
                self.retried += event.retry_after is not None
                self.refused += isinstance(event.error, RequestError) and event.error.is_overload
            case _:
                pass

    def _count_end(self, reason: FinishReason) -> None:
        if reason is not FinishReason.STOP:
            self.cut_by_length += reason is FinishReason.LENGTH
            self.filtered += reason is FinishReason.CONTENT_FILTER

    def skip(self, rows: int, ends: Mapping[str, int]) -> None:
        """Count rows that an earlier run answered and whose answers are not read. `ends`: by finish reason."""
        self.completed = self.resumed = rows
        self.cut_by_length = ends.get(FinishReason.LENGTH, 0)
        self.filtered = ends.get(FinishReason.CONTENT_FILTER, 0)

    @property
    def failed(self) -> int:
        return self.failures.count

    @property
    def usage(self) -> Usage:
        """The tokens of this run's answers."""
        return self._usage.total()

    @property
    def seconds(self) -> float:
        return self._clock.now() - self._began

    def progress(self) -> Progress:
        return Progress(
            total=self.total,
            completed=self.completed,
            failed=self.failed,
            resumed=self.resumed,
            usage=self.usage,
            seconds=self.seconds,
            waiting=self.waiting,
            state=self.state,
            attempts=self.attempts,
            refused=self.refused,
            retried=self.retried,
            cut_by_length=self.cut_by_length,
            filtered=self.filtered,
            commonest_failure=self.failures.commonest,
            error=self.error,
            endpoints=tuple(self.endpoints.summaries()),
            cost=self.cost(),
            deduplicated=self.deduplicated,
            cached=self.cached,
        )

    def summary(self) -> RunSummary:
        total = self.total if self.total is not None else self.completed + self.failed
        return RunSummary(
            total=total,
            completed=self.completed,
            failed=self.failed,
            resumed=self.resumed,
            usage=self.usage,
            seconds=self.seconds,
            failure_samples=list(self.failures.samples),
            attempts=self.attempts,
            refused=self.refused,
            retried=self.retried,
            cut_by_length=self.cut_by_length,
            filtered=self.filtered,
            retryable=self.failures.retryable,
            commonest_failure=self.failures.commonest,
            failures_path=self.failures_path,
            endpoints=self.endpoints.summaries(),
            cost=self.cost(),
            deduplicated=self.deduplicated,
            cached=self.cached,
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
        except Exception:
            self._callback = None  # The error ends the run. The last report must not call the callback again.
            raise

    async def _write(self, progress: Progress) -> None:
        if self._path is not None and not await _try_write(self._path, progress):
            self._path = None


async def _try_write(path: Path, progress: Progress) -> bool:
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
            await clean_up(error, lambda: _try_write(path, stats.progress()))
        raise


@asynccontextmanager
async def reporting(reporter: Reporter) -> AsyncGenerator[None]:
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


async def write_snapshot(path: Path, progress: Progress) -> None:
    """Replace the progress file."""
    snapshot = {
        "state": progress.state,
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "resumed": progress.resumed,
        "cut_by_length": progress.cut_by_length,
        "filtered": progress.filtered,
        "deduplicated": progress.deduplicated,
        "cached": progress.cached,
        "attempts": progress.attempts,
        "refused": progress.refused,
        "retried": progress.retried,
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
