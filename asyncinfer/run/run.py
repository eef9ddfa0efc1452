"""A whole run: validate the input, resume, answer rows, write the output, and clean up."""

from __future__ import annotations

import logging
from array import array
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio.lowlevel import checkpoint

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.descriptors import are_scarce
from asyncinfer.aio.gc_tuning import relaxed_gc
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_own_task, in_slices
from asyncinfer.data.layout import OutputLayout, output_layout
from asyncinfer.errors import ConfigError, EngineConfigError, EngineDeadError
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.endpoint_stats import Problems, one_endpoint
from asyncinfer.run.events import Events, Observer
from asyncinfer.run.executor import Executor, RunInfo
from asyncinfer.run.failures import FailedRows, NoFailedRows
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.pilot import Pace, Pilot
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.progress import OnProgress, Reporter, RunStats, failure_in_file, reporting
from asyncinfer.run.reader import InputReader, IterableReader, ResumeMatcher
from asyncinfer.run.recording import RecordedRun, RunRecorder, recorded
from asyncinfer.run.repeats import FindSaved, Repeats
from asyncinfer.run.row_output import RowOutput, write_compressed
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import Row
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_answers import SavedAnswers
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.saver import DeliverOutcome, RowOutcome
from asyncinfer.run.scratch_use import lock_for_output, lock_in_cache, remove_finished
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.spending import Spending
from asyncinfer.run.stop import Stop
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import SavedLine
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.estimates import Estimate
from asyncinfer.types.results import RunSummary
from asyncinfer.types.run_errors import RunInterruptedError, SpendingLimitError

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
        layout: The format of the output.
        keep: The columns of the input that an output of rows has; None: all.
        answer_schema: The JSON schema of the answers, for an output of rows; None if they are text.
        reuse_output: Take answers from an existing file at `output_path`.
        relax_gc: Let Python collect garbage less often during the run.
        observers: Get every event of the run.
        recorders: Observers that also see the begin and the end of the run.
        spending: Counts what answers cost, and limits it; None if they cost nothing and there is no limit.
        repeats: Makes what gives identical rows one answer, from a function that finds saved answers. None: each row
            is sent.
        cache: Keeps answers across runs; None if there is none.
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
    layout: OutputLayout = field(default_factory=lambda: output_layout(None, None))
    keep: Sequence[str] | None = None
    answer_schema: Mapping[str, Any] | None = None
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
    spending: Spending | None = None
    repeats: Callable[[FindSaved | None], Repeats] | None = None
    cache: AnswerCache | None = None
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
            async with prepared(source):
                return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: DeliverOutcome | None) -> RunSummary:
        stats = RunStats(self.clock, keep_failures=self.output_path is not None, problems=self.problems)
        async with failure_in_file(stats, self.progress_path):
            rows = ValidatedInput(source, self.keys, partial=self.partial)
            await in_slices(rows.validate_input())
            row_output = await self._row_output(source)
            stats.begin(len(rows))
            statuses = RowStatusTable(len(rows))
            events = self._events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output, layout=self.layout)
            async with self._scratch(rows) as scratch, previous_output.opened():
                info = RunInfo(len(rows), self.saved_in, rows.has)
                executor = self.make_executor(info)
                spending = await self._prepared_spending(executor, stats)
                claims = await self._claim(scratch, rows, statuses) if scratch is not None else None
                await in_slices(previous_output.find_rows(rows, statuses))
                if deliver is None and claims is not None:
                    stats.skip(statuses.fresh_count, claims.finish_reasons)
                if scratch is not None:
                    await count_saved(spending, scratch, statuses.all_spans())
                saved_answers = self._saved_answers(statuses, scratch, previous_output)
                repeats = self._repeats_in(rows, statuses, saved_answers)
                flow = RowFlow(
                    executor, statuses, events, scratch, deliver, spending=spending, repeats=repeats, cache=self.cache
                )
                reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=deliver is not None)
                failed_rows = FailedRows(self.output_path, source, rows.checksums)
                reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
                async with self._recorded(stats, statuses, scratch), reporting(reporter):
                    with closing(reader):
                        await flow.run(reader, self.stop)
                    self.dead = flow.dead
                    write = self._writing(scratch, statuses, row_output, source, rows.checksums)
                    await self._finish(flow, statuses, stats, scratch, failed_rows, write)
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
            ConfigError: The output has rows, for which the source would be read twice.
            ScratchError: Answers cannot be saved.
            EngineDeadError: No further row can be answered.
            RunInterruptedError: `stop` was requested before the end.
        """
        if self.layout.has_rows and self.output_path is not None:
            raise ConfigError(
                "ainfer_iter reads its source only once, so it cannot write the columns of the rows: give the "
                "conversations a path that ends with .jsonl, or use arun or ainfer"
            )
        await DISK.run(check_paths, None, self.output_path, self.progress_path, self._recorded_paths())
        stats, statuses = RunStats(self.clock, problems=self.problems), RowStatusTable()
        async with failure_in_file(stats, self.progress_path):
            events = self._events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output, layout=self.layout)
            async with self._scratch(None) as scratch, previous_output.opened():
                executor = self.make_executor(RunInfo(None, self.saved_in))
                spending = await self._prepared_spending(executor, stats)
                saved: dict[tuple[bytes, int], SavedLine] = {}
                if scratch is not None:
                    await in_slices(saved.update({(line.key, line.n): line}) for line in scratch.recover())
                    await in_slices(previous_output.index())
                    await count_saved(spending, scratch, [(line.offset, line.length) for line in saved.values()])

                def hand_over(index: int, outcome: RowOutcome) -> None:
                    deliver(index, outcome, flow.taken)

                repeats = self.repeats(None) if self.repeats is not None else None
                flow = RowFlow(
                    executor,
                    statuses,
                    events,
                    scratch,
                    hand_over,
                    until_taken=True,
                    spending=spending,
                    repeats=repeats,
                    cache=self.cache,
                )
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
                    write = self._writing(scratch, statuses)
                    await self._finish(flow, statuses, stats, scratch, NoFailedRows(self.output_path), write)
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

    @in_own_task
    async def pilot(self, source: Source, size: int, pace: Pace) -> Estimate:
        """Answer some rows of `source`, chosen at random, and save their answers. Nothing else is written.

        Args:
            size: How many rows to answer. Those with saved answers are among them.

        Returns:
            What the other rows will take.

        Raises:
            InputError: Rows are not valid; nothing was sent.
            ScratchError: Answers cannot be saved.
            EngineDeadError: No row can be answered.
            RunInterruptedError: `stop` was requested, or a limit was reached, before the end.
        """
        async with prepared(source):
            return await self._pilot(source, size, pace)

    async def _pilot(self, source: Source, size: int, pace: Pace) -> Estimate:
        await DISK.run(check_paths, source.path, self.output_path, None)
        stats, rows = RunStats(self.clock), ValidatedInput(source, self.keys, partial=self.partial)
        await in_slices(rows.validate_input())
        statuses = RowStatusTable(len(rows))
        output_path = self.output_path if self.reuse_output else None
        previous_output = PreviousOutput(output_path, reuse=self.reuse_output, layout=self.layout)
        async with self._scratch(rows) as scratch, previous_output.opened():
            executor = self.make_executor(RunInfo(len(rows), self.saved_in, rows.has))
            spending = await self._prepared_spending(executor, stats)
            if scratch is not None:
                await self._claim(scratch, rows, statuses)
                await in_slices(previous_output.find_rows(rows, statuses))
                await count_saved(spending, scratch, statuses.all_spans())
            saved_answers = self._saved_answers(statuses, scratch, previous_output)
            pilot = Pilot(rows, statuses, size, deduplicates=self.repeats is not None)
            stats.begin(len(pilot.chosen))
            events = Events([stats.observe, pilot.observe, *self.observers])
            flow = RowFlow(executor, statuses, events, scratch, pilot.outcome, spending=spending, cache=self.cache)
            reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=True, only=pilot.chosen)
            async with reporting(Reporter(stats, None, self.on_progress, executor, events)):
                with closing(reader):
                    await flow.run(reader, self.stop)
                if flow.dead is not None:
                    raise flow.dead
                if stats.completed + stats.failed != stats.total:
                    raise self._ended_early(flow, statuses, stats, scratch)
        return pilot.estimate(pace, stats.cost())

    async def _prepared_spending(self, executor: Executor, stats: RunStats) -> Spending | None:
        """What counts the cost of this run; None if its answers cost nothing and there is no limit."""
        spending = self.spending
        if spending is None or not await DISK.run(lambda: spending.prepare(is_batch=executor.is_batch)):
            return None
        stats.cost = spending.total
        return spending

    def _repeats_in(
        self, rows: ValidatedInput, statuses: RowStatusTable, saved_answers: SavedAnswers | None
    ) -> Repeats | None:
        """What gives identical rows one answer; None if there are none, or if each is to be sent."""
        if self.repeats is None or not rows.has_repeats:
            return None

        def find_saved(row: Row) -> Conversation | None:
            leader = rows.index.find(row.key, 0)
            if saved_answers is None or leader is None or not statuses.saved(leader):
                return None
            return saved_answers.copied(row, leader)

        return self.repeats(find_saved if saved_answers is not None else None)

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
        write: Callable[[], Awaitable[None]],
    ) -> None:
        """Write the output and the failed rows, after every row has its outcome or the run was stopped.

        Raises:
            RunInterruptedError: Rows have no outcome, because the run was stopped.
            SpendingLimitError: Rows have no outcome, because there is no room for them under the limits.
        """
        if flow.dead is not None:
            stats.end(flow.dead)
        done = stats.completed + stats.failed
        is_complete = done == stats.total or not (flow.stopped or flow.full is not None)
        if is_complete:
            await self._write_output(scratch, statuses, stats, write)
        if not isinstance(flow.dead, EngineConfigError):
            stats.failures_path = await failed_rows.write(stats.failures)
        if not is_complete:
            raise self._ended_early(flow, statuses, stats, scratch)

    def _ended_early(
        self, flow: RowFlow, statuses: RowStatusTable, stats: RunStats, scratch: ScratchFile | None
    ) -> RunInterruptedError:
        """The error for a run that ends before every row has its outcome: it was stopped, or a limit is reached."""
        of = f" of {stats.total}" if stats.total is not None else ""
        saved = f"{statuses.saved_count}{of} rows are saved"
        summary = stats.summary()
        if flow.stopped or flow.full is None:
            where = f" They are in {scratch.path}; run the same again to go on." if scratch is not None else ""
            return RunInterruptedError(f"Stopped: {saved}.{where}", summary)
        where = f", in {scratch.path}. To go on, raise the limit and run the same again" if scratch is not None else ""
        return SpendingLimitError(f"Stopped at a limit: {flow.full}. {saved}{where}.", summary)

    async def _write_output(
        self,
        scratch: ScratchFile | None,
        statuses: RowStatusTable,
        stats: RunStats,
        write: Callable[[], Awaitable[None]],
    ) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        if scratch is None:
            return
        assert stats.total in (None, stats.completed + stats.failed), "every row has an outcome"
        if self.output_path is not None and (statuses.saved_count if self.partial else not stats.failed):
            if are_scarce():
                self.release_idle()
                await checkpoint()  # The event loop closes them.
            await write()

    async def _row_output(self, source: Source) -> RowOutput | None:
        """What writes the output, if it has rows."""
        if self.output_path is None or not self.layout.has_rows:
            return None
        row_output = RowOutput(self.output_path, self.layout, self.keep, self.answer_schema)
        await in_slices(row_output.prepare(source))
        return row_output

    def _writing(
        self,
        scratch: ScratchFile | None,
        statuses: RowStatusTable,
        row_output: RowOutput | None = None,
        source: Source | None = None,
        checksums: array[int] | None = None,
    ) -> Callable[[], Awaitable[None]]:
        """The function that writes the saved answers to the output."""
        path, layout = self.output_path, self.layout

        async def write() -> None:
            assert scratch is not None, "only a saved run writes an output"
            assert path is not None, "only a run with an output writes one"
            if layout.is_plain:
                await scratch.assemble(path, statuses.spans())
            elif row_output is not None and source is not None and checksums is not None:
                await in_slices(row_output.write(source, checksums, scratch, statuses))
            else:
                await in_slices(write_compressed(path, layout, scratch, statuses))

        return write
