"""A whole run: validate the input, resume, answer rows, write the output, and clean up."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from anyio.lowlevel import checkpoint

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.descriptors import are_scarce
from asyncinfer.aio.gc_tuning import relaxed_gc
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_own_task, in_slices
from asyncinfer.errors import EngineConfigError, EngineDeadError
from asyncinfer.run.endpoint_stats import Problems, one_endpoint
from asyncinfer.run.events import Events, Observer
from asyncinfer.run.executor import Executor, RunInfo
from asyncinfer.run.failures import FailedRows, NoFailedRows
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.progress import OnProgress, Reporter, RunStats, failure_in_file, reporting
from asyncinfer.run.reader import InputReader, IterableReader, ResumeMatcher
from asyncinfer.run.recording import RecordedRun, RunRecorder, recorded
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_answers import SavedAnswers
from asyncinfer.run.saver import DeliverOutcome, RowOutcome
from asyncinfer.run.scratch_use import lock_for_output, lock_in_cache, remove_finished
from asyncinfer.run.sources import Source
from asyncinfer.run.stop import Stop
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import SavedLine
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import RunSummary
from asyncinfer.types.run_errors import RunInterruptedError

log = logging.getLogger("asyncinfer")


def _nothing() -> None:
    return


@dataclass
class Run:
    """One run, with the settings of the call that started it.

    Attributes:
        make_executor: Makes the executor of this run.
        partial: Write the existing answers even if rows failed. A row whose file cannot be read is one of these rows.
        restored: Adds what is not saved, such as the parsed answer, to a conversation with a saved answer.
        reuse_output: Take answers from an existing file at `output_path`.
        relax_gc: Let Python collect garbage less often during the run.
        observers: Get every event of the run.
        recorders: Observers that also see the begin and the end of the run.
        release_idle: Closes connections that no request uses. Called before the output is written if file descriptors
            are scarce.
        problems: Returns the reason why each of several endpoints is put aside, by name; None if it is in use.
        saved_in: The scratch file, after the run.
        dead: The reason why the engine could not go on, after the run.
    """

    make_executor: Callable[[RunInfo], Executor]
    clock: Clock
    keys: RowKeys
    output_path: Path | None = None
    progress_path: Path | None = None
    on_progress: OnProgress | None = None
    partial: bool = True
    restored: Callable[[Conversation], Conversation] | None = None
    reuse_output: bool = False
    relax_gc: bool = False
    release_idle: Callable[[], None] = _nothing
    problems: Problems = one_endpoint
    observers: Sequence[Observer] = ()
    recorders: Sequence[RunRecorder] = ()
    stop: Stop = field(default_factory=Stop)
    saved_in: Path | None = field(default=None, init=False)
    dead: EngineDeadError | None = field(default=None, init=False)

    @in_own_task
    async def run(self, source: Source, deliver: DeliverOutcome | None = None) -> RunSummary:
        """Answer every row of `source`. Rows whose answers are saved already are not sent again.

        Args:
            deliver: Called with the outcome of each row.

        Raises:
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
            RunInterruptedError: `stop` was requested before the end.
        """
        await DISK.run(check_paths, source.path, self.output_path, self.progress_path, self._recorded_paths())
        with relaxed_gc() if self.relax_gc else nullcontext():
            return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: DeliverOutcome | None) -> RunSummary:
        stats = RunStats(self.clock, keep_failures=self.output_path is not None, problems=self.problems)
        async with failure_in_file(stats, self.progress_path):
            rows = ValidatedInput(source, self.keys, partial=self.partial)
            await in_slices(rows.validate_input())
            stats.begin(len(rows))
            statuses = RowStatusTable(len(rows))
            events = self._events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output)
            async with self._scratch(rows) as scratch, previous_output.opened():
                info = RunInfo(len(rows), self.saved_in, rows.has)
                executor = self.make_executor(info)
                claims = await self._claim(scratch, rows, statuses) if scratch is not None else None
                await in_slices(previous_output.find_rows(rows, statuses))
                if deliver is None and claims is not None:
                    stats.skip(statuses.fresh_count, claims.finish_reasons)
                flow = RowFlow(executor, statuses, events, scratch, deliver)
                saved_answers = self._saved_answers(statuses, scratch, previous_output)
                reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=deliver is not None)
                failed_rows = FailedRows(self.output_path, source, rows.checksums)
                reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
                async with self._recorded(stats, statuses, scratch), reporting(reporter):
                    with closing(reader):
                        await flow.run(reader, self.stop)
                    self.dead = flow.dead
                    await self._finish(flow, statuses, stats, scratch, failed_rows)
                if scratch is not None and claims is not None and not stats.failed:
                    await remove_finished(scratch, claims.unclaimed, lambda key, n: rows.index.find(key, n) is None)
        return stats.summary()

    @in_own_task
    async def stream(
        self,
        source: Iterable[object] | AsyncIterable[object],
        deliver: Callable[[int, RowOutcome, Callable[[], None]], None],
    ) -> None:
        """Answer the rows of `source` as it yields them. Answers are saved only with an output path.

        Args:
            deliver: Called with a row's index, its outcome, and a function `taken`. The row counts as open, and so
                delays the reading of others, until `taken()` is called.

        Raises:
            ScratchError: Answers cannot be saved.
            EngineDeadError: No further row can be answered.
            RunInterruptedError: `stop` was requested before the end.
        """
        await DISK.run(check_paths, None, self.output_path, self.progress_path, self._recorded_paths())
        stats, statuses = RunStats(self.clock, problems=self.problems), RowStatusTable()
        async with failure_in_file(stats, self.progress_path):
            events = self._events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output)
            async with self._scratch(None) as scratch, previous_output.opened():
                executor = self.make_executor(RunInfo(None, self.saved_in))
                saved: dict[tuple[bytes, int], SavedLine] = {}
                if scratch is not None:
                    await in_slices(saved.update({(line.key, line.n): line}) for line in scratch.recover())
                    await in_slices(previous_output.index())

                def hand_over(index: int, outcome: RowOutcome) -> None:
                    deliver(index, outcome, flow.taken)

                flow = RowFlow(executor, statuses, events, scratch, hand_over, until_taken=True)
                saved_answers = self._saved_answers(statuses, scratch, previous_output)
                reader = IterableReader(source, self.keys, statuses, saved_answers, saved, previous_output)
                reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
                async with (
                    self._recorded(stats, statuses, scratch),
                    reporting(reporter),
                    clean_up_after(reader.aclose),
                ):
                    await flow.run(reader, self.stop)
                    if flow.dead is not None:
                        raise flow.dead
                    # The caller gets each failure. A file of failed rows is of an earlier run.
                    await self._finish(flow, statuses, stats, scratch, NoFailedRows(self.output_path))
                if scratch is not None and not stats.failed:
                    await remove_finished(scratch, len(saved), lambda key, n: (key, n) in saved)

    def _events(self, stats: RunStats) -> Events:
        return Events([stats.observe, *self.observers, *(recorder.observe for recorder in self.recorders)])

    def _recorded_paths(self) -> dict[str, Path]:
        return {name: path for recorder in self.recorders for name, path in recorder.paths.items()}

    def _recorded(
        self, stats: RunStats, statuses: RowStatusTable, scratch: ScratchFile | None
    ) -> AbstractAsyncContextManager[None]:
        if not self.recorders:
            return nullcontext()
        run = RecordedRun(stats, statuses, scratch, self.output_path, stats.summary)
        return recorded(self.recorders, run)

    @asynccontextmanager
    async def _scratch(self, rows: ValidatedInput | None) -> AsyncGenerator[ScratchFile | None]:
        """The locked scratch file, or None for a run that is not saved."""
        scratch = await self._lock(rows)
        self.saved_in = scratch.path if scratch is not None else None
        if scratch is None:
            yield None
            return
        async with clean_up_after(lambda: DISK.run(scratch.close)):
            yield scratch

    async def _lock(self, rows: ValidatedInput | None) -> ScratchFile | None:
        if self.output_path is not None:
            return await DISK.run(lock_for_output, self.output_path)
        if rows is None or len(rows) < 2:
            return None
        return await lock_in_cache(lambda: self.keys.run_hash(rows.keys))

    def _saved_answers(
        self, statuses: RowStatusTable, scratch: ScratchFile | None, previous: PreviousOutput
    ) -> SavedAnswers | None:
        return SavedAnswers(statuses, scratch, previous.output, self.restored) if scratch is not None else None

    async def _claim(self, scratch: ScratchFile, rows: ValidatedInput, statuses: RowStatusTable) -> ResumeMatcher:
        """Match saved lines with rows."""
        claims = ResumeMatcher(rows, statuses)
        await in_slices(claims.of(scratch.recover()))
        if statuses.saved_count or claims.unclaimed:
            log.info(
                "%s: %d of %d rows are saved already; %d saved rows belong to other input or settings",
                scratch.path,
                statuses.saved_count,
                len(rows),
                claims.unclaimed,
            )
        return claims

    async def _finish(
        self,
        flow: RowFlow,
        statuses: RowStatusTable,
        stats: RunStats,
        scratch: ScratchFile | None,
        failed_rows: FailedRows,
    ) -> None:
        """Write the output and the failed rows, after every row has its outcome or the run was stopped.

        Raises:
            RunInterruptedError: Rows have no outcome, because the run was stopped.
        """
        if flow.dead is not None:
            stats.end(flow.dead)
        done = stats.completed + stats.failed
        if not flow.stopped or done == stats.total:
            await self._write_output(scratch, statuses, stats)
        if not isinstance(flow.dead, EngineConfigError):
            stats.failures_path = await failed_rows.write(stats.failures)
        if flow.stopped and done != stats.total:
            where = f" They are in {scratch.path}; run the same again to go on." if scratch is not None else ""
            of = f" of {stats.total}" if stats.total is not None else ""
            raise RunInterruptedError(f"Stopped: {statuses.saved_count}{of} rows are saved.{where}", stats.summary())

    async def _write_output(self, scratch: ScratchFile | None, statuses: RowStatusTable, stats: RunStats) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        if scratch is None:
            return
        assert stats.total in (None, stats.completed + stats.failed), "every row has an outcome"
        if self.output_path is not None and (statuses.saved_count if self.partial else not stats.failed):
            if are_scarce():
                self.release_idle()
                await checkpoint()  # The event loop closes them.
            await scratch.assemble(self.output_path, statuses.spans())
