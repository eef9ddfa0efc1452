"""A whole run: validate the input, resume, answer rows, write the output, and clean up."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import closing, nullcontext
from functools import partial

from anyio.lowlevel import checkpoint

from asyncinfer.aio.descriptors import are_scarce
from asyncinfer.aio.gc_tuning import relaxed_gc
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_own_task, in_slices
from asyncinfer.errors import ConfigError, EngineConfigError
from asyncinfer.run.early_end import ended_early
from asyncinfer.run.executor import RunInfo
from asyncinfer.run.failures import FailedRows, NoFailedRows
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.progress import Reporter, reporting
from asyncinfer.run.progress_file import failure_in_file
from asyncinfer.run.reader import InputReader, IterableReader
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.run_base import RunBase
from asyncinfer.run.run_output import RunOutput
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.saver import DeliverOutcome, RowOutcome
from asyncinfer.run.scratch_use import remove_finished
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.stats import RunStats
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.format import SavedLine
from asyncinfer.types.results import RunSummary


class Run(RunBase):
    """One run, with the settings of the call that started it."""

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
        await DISK.run(check_paths, source.path, self.output_path, self.progress_path, self.recorded_paths())
        with relaxed_gc() if self.relax_gc else nullcontext():
            async with prepared(source):
                return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: DeliverOutcome | None) -> RunSummary:
        stats = RunStats(self.clock, keep_failures=self.output_path is not None, problems=self.problems)
        async with failure_in_file(stats, self.progress_path):
            rows = ValidatedInput(source, self.keys, partial=self.partial)
            await in_slices(rows.validate_input())
            output = self._output()
            await output.prepare(source)
            stats.begin(len(rows))
            statuses = RowStatusTable(len(rows))
            events = self.events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output, layout=self.layout)
            async with self.locked_scratch(rows) as scratch, previous_output.opened():
                info = RunInfo(len(rows), self.saved_in, rows.has)
                executor = self.make_executor(info)
                spending = await self.prepared_spending(executor, stats)
                claims = await self.match_saved(scratch, rows, statuses) if scratch is not None else None
                await in_slices(previous_output.find_rows(rows, statuses))
                if deliver is None and claims is not None:
                    stats.skip(statuses.fresh_count, claims.finish_reasons)
                if scratch is not None:
                    await count_saved(spending, scratch, statuses.all_spans())
                saved_answers = self.saved_answers(statuses, scratch, previous_output)
                repeats = self.repeats_in(rows, statuses, saved_answers)
                flow = RowFlow(
                    executor, statuses, events, scratch, deliver, spending=spending, repeats=repeats, cache=self.cache
                )
                reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=deliver is not None)
                failed_rows = FailedRows(self.output_path, source, rows.checksums)
                reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
                async with self.recorded(stats, statuses, scratch), reporting(reporter):
                    with closing(reader):
                        await flow.run(reader, self.stop)
                    self.dead = flow.dead
                    write = partial(output.write, statuses=statuses, checksums=rows.checksums)
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
        await DISK.run(check_paths, None, self.output_path, self.progress_path, self.recorded_paths())
        stats, statuses = RunStats(self.clock, problems=self.problems), RowStatusTable()
        async with failure_in_file(stats, self.progress_path):
            events = self.events(stats)
            previous_output = PreviousOutput(self.output_path, reuse=self.reuse_output, layout=self.layout)
            async with self.locked_scratch(None) as scratch, previous_output.opened():
                executor = self.make_executor(RunInfo(None, self.saved_in))
                spending = await self.prepared_spending(executor, stats)
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
                saved_answers = self.saved_answers(statuses, scratch, previous_output)
                reader = IterableReader(source, self.keys, statuses, saved_answers, saved, previous_output)
                reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
                async with (
                    self.recorded(stats, statuses, scratch),
                    reporting(reporter),
                    clean_up_after(reader.aclose),
                ):
                    await flow.run(reader, self.stop)
                    if flow.dead is not None:
                        raise flow.dead
                    # The caller gets each failure. A file of failed rows is of an earlier run.
                    write = partial(self._output().write, statuses=statuses)
                    await self._finish(flow, statuses, stats, scratch, NoFailedRows(self.output_path), write)
                if scratch is not None and not stats.failed:
                    await remove_finished(scratch, len(saved), lambda key, n: (key, n) in saved)

    def _output(self) -> RunOutput:
        return RunOutput(self.output_path, self.layout, self.keep, self.answer_schema)

    async def _finish(
        self,
        flow: RowFlow,
        statuses: RowStatusTable,
        stats: RunStats,
        scratch: ScratchFile | None,
        failed_rows: FailedRows,
        write: Callable[[ScratchFile], Awaitable[None]],
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
            raise ended_early(flow, statuses, stats, scratch)

    async def _write_output(
        self,
        scratch: ScratchFile | None,
        statuses: RowStatusTable,
        stats: RunStats,
        write: Callable[[ScratchFile], Awaitable[None]],
    ) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        if scratch is None:
            return
        assert stats.total in (None, stats.completed + stats.failed), "every row has an outcome"
        if self.output_path is not None and (statuses.saved_count if self.partial else not stats.failed):
            if are_scarce():
                self.release_idle()
                await checkpoint()  # The event loop closes them.
            await write(scratch)
