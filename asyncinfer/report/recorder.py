"""Records a run, saves its events, and writes its report at the end."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, task_group
from asyncinfer.report.event_sums import EventSums
from asyncinfer.report.page import check_packages, save_page
from asyncinfer.report.record import Counts, RunRecord
from asyncinfer.report.samples import samples_of
from asyncinfer.report.storage import earlier_runs, save_record
from asyncinfer.run.events import RunEvent
from asyncinfer.run.recording import RecordedRun
from asyncinfer.types.paths import PATH_ERRORS, os_error_text
from asyncinfer.types.results import RunSummary
from asyncinfer.types.run_counts import counts_of

# The command line shows all of its records.
log = logging.getLogger("asyncinfer.report")

# Between two replacements of the file of events while the run is in progress (seconds): at first, and at most.
_FIRST_SAVE, _LAST_SAVE = 1.0, 10.0


class ReportRecorder:
    """Records one run. Use a new one for each run.

    Args:
        report_path: The HTML page that is written at the end; None for no page.
        events_path: The file in which the events are saved; None if they are not.
        record: The record with what is known before the run.
        permits: Returns how many requests may be in flight now.
    """

    def __init__(
        self, report_path: Path | None, events_path: Path | None, record: RunRecord, permits: Callable[[], int]
    ) -> None:
        self._report_path, self._events_path = report_path, events_path
        self._record, self._permits = record, permits
        self._sums: EventSums | None = None

    @property
    def paths(self) -> Mapping[str, Path]:
        """The files that are written, by the names of their settings."""
        paths = {"report_path": self._report_path, "the file of the events": self._events_path}
        return {name: path for name, path in paths.items() if path is not None}

    def observe(self, event: RunEvent) -> None:
        """Record an event."""
        if self._sums is not None:
            self._sums.observe(event)

    @asynccontextmanager
    async def recording(self, run: RecordedRun) -> AsyncGenerator[None]:
        """Record the run in the block. Errors of files are logged, and do not end the run.

        Raises:
            MissingDependencyError: A package for the page is not installed.
        """
        if self._report_path is not None:
            await DISK.run(check_packages)
        if self._events_path is not None:
            self._record.earlier = await DISK.run(earlier_runs, self._events_path)
        self._record.permits = self._permits()
        self._sums = EventSums(self._record, lambda: run.stats.seconds, self._permits, run.stats.row_of)
        async with clean_up_after(partial(self._finish, run)), task_group() as tasks:
            if self._events_path is not None:
                tasks.start_soon(self._save_repeatedly, run, self._events_path)
            yield
            tasks.cancel_scope.cancel()

    async def _save_repeatedly(self, run: RecordedRun, path: Path) -> None:
        """Save the events, so that a killed process leaves them."""
        pause = _FIRST_SAVE
        while True:
            await self._save(run, path)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LAST_SAVE)

    async def _save(self, run: RecordedRun, path: Path) -> None:
        self._update(run)
        snapshot = self._record.model_copy(deep=True)  # The thread must not read what the event loop changes.
        with anyio.CancelScope(shield=True):
            await DISK.run(partial(_or_log, path, partial(save_record, snapshot, path)))

    async def _finish(self, run: RecordedRun) -> None:
        self._update(run)
        self._record.samples = await DISK.run(samples_of, run)
        if self._events_path is not None:
            await self._save(run, self._events_path)
        if self._report_path is not None:
            write = partial(save_page, self._record, self._report_path)
            if await DISK.run(partial(_or_log, self._report_path, write)):
                log.info("The report of the run is in %s", self._report_path)

    def _update(self, run: RecordedRun) -> None:
        """Copy the counts and the state of the run into the record."""
        record, stats = self._record, run.stats
        record.updated_at = datetime.now(UTC).isoformat(timespec="seconds")
        record.seconds, record.state, record.error = stats.seconds, stats.state.value, stats.error
        summary = run.summary()
        record.failures_path = str(summary.failures_path) if summary.failures_path is not None else None
        record.counts, record.endpoints = _counts(summary, stats.total), summary.endpoints


def _counts(summary: RunSummary, total: int | None) -> Counts:
    usage, cost = summary.usage, summary.cost
    return Counts(
        **counts_of(summary, total=total),
        retryable=summary.retryable,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=cost.text if cost is not None else None,
    )


def _or_log(path: Path, write: Callable[[], None]) -> bool:
    """Write a file, and return whether that succeeded. An error is logged, because it must not end the run."""
    try:
        write()
    except PATH_ERRORS as error:
        log.warning("%s cannot be written: %s", path, os_error_text(error))
        return False
    return True
