"""A whole run: validate the input, resume, answer rows, write the output, and clean up."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import closing, nullcontext

from anyio.lowlevel import checkpoint

from asyncinfer.aio.descriptors import are_scarce
from asyncinfer.aio.gc_tuning import relaxed_gc
from asyncinfer.aio.tasks import clean_up_after, in_own_task, in_slices
from asyncinfer.errors import ConfigError, EngineConfigError, EngineDeadError
from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.early_end import interruption_error
from asyncinfer.run.failed_rows import FailedRows
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.output_writer import OutputWriter
from asyncinfer.run.progress_file import failure_in_file
from asyncinfer.run.reader import InputReader, IterableReader
from asyncinfer.run.run_base import RunBase
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.saver import DeliverOutcome, RowOutcome
from asyncinfer.run.scratch_use import remove_finished
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.stats import RunStats
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
        await self.check_paths(source.path)
        with relaxed_gc() if self.relax_gc else nullcontext():
            async with prepared(source):
                return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: DeliverOutcome | None) -> RunSummary:
        keeps = self.output_path is not None
        stats = RunStats(self.clock, keep_failures=keeps, problems=self.problems, row_of=self.row_of)
        async with failure_in_file(stats, self.progress_path):
            rows = ValidatedInput(source, self.keys, tolerates_unreadable_files=self.partial)
            await in_slices(rows.validate_input())
            output = self.new_output()
            if output is not None:
                await output.prepare(source, rows.checksums)
            stats.begin(len(rows))
            async with self.opened(stats, self.events(stats), rows) as active:
                matcher = await self.find_answered(active, rows)
                if deliver is None and matcher is not None:
                    stats.skip(active.statuses.fresh_count, matcher.finish_reasons)
                await self._answer(active, source, rows, output, deliver)
                if active.scratch is not None and matcher is not None and not stats.failed:
                    await remove_finished(active.scratch, matcher.unclaimed, lambda key, n: not rows.has(key, n))
        return stats.summary()

    async def _answer(
        self,
        active: ActiveRun,
        source: Source,
        rows: ValidatedInput,
        output: OutputWriter | None,
        deliver: DeliverOutcome | None,
    ) -> None:
        """Answer the rows that have no answer yet, and write the files."""
        statuses, saved_answers = active.statuses, self.saved_answers(active)
        duplicates = None
        if rows.has_duplicates:
            duplicates = self.new_duplicates(lambda key: rows.index.find(key, 0), statuses, saved_answers)
        # Without an answer, it is the error of the call, or of every row of its result.
        flow = RowFlow(active, deliver, raised=EngineConfigError, duplicates=duplicates, cache=self.cache)
        reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=deliver is not None)
        failed_rows = FailedRows(self.output_path, source, rows, with_checksums=self.layout.has_rows)
        async with self.recorded(active, output), self.reporting_progress(active, self.progress_path):
            with closing(reader):
                await flow.run(reader, self.stop)
            self.dead = flow.dead
            await self._finish(active, flow, failed_rows, output)

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
        await self.check_paths(None)
        stats = RunStats(self.clock, problems=self.problems)
        async with (
            failure_in_file(stats, self.progress_path),
            self.opened(stats, self.events(stats), None) as active,
        ):
            saved = await self._saved_lines(active)

            def hand_over(index: int, outcome: RowOutcome) -> None:
                deliver(index, outcome, flow.taken)

            statuses, saved_answers = active.statuses, self.saved_answers(active)
            finds = saved_answers is not None and self.make_duplicates is not None
            reader = IterableReader(
                source, self.keys, statuses, saved_answers, saved, active.previous, finds_originals=finds
            )
            duplicates = self.new_duplicates(reader.original, statuses, saved_answers)
            flow = RowFlow(
                active, hand_over, until_taken=True, raised=EngineDeadError, duplicates=duplicates, cache=self.cache
            )
            async with (
                self.recorded(active),
                self.reporting_progress(active, self.progress_path),
                clean_up_after(reader.aclose),
            ):
                await flow.run(reader, self.stop)
                if flow.dead is not None:
                    raise flow.dead
                await self._finish(active, flow, FailedRows(self.output_path), self.new_output())
            if active.scratch is not None and not stats.failed:
                await remove_finished(active.scratch, len(saved), lambda key, n: (key, n) in saved)

    async def _saved_lines(self, active: ActiveRun) -> dict[tuple[bytes, int], SavedLine]:
        """The saved lines of earlier runs, by key and occurrence of their rows."""
        saved: dict[tuple[bytes, int], SavedLine] = {}
        scratch = active.scratch
        if scratch is not None:
            await in_slices(saved.update({(line.key, line.n): line}) for line in scratch.recover())
            await in_slices(active.previous.index(len(saved)))
            await count_saved(active.spending, scratch, [(line.offset, line.length) for line in saved.values()])
        return saved

    async def _finish(
        self,
        active: ActiveRun,
        flow: RowFlow,
        failed_rows: FailedRows,
        output: OutputWriter | None,
    ) -> None:
        """Write the output and the failed rows, after every row has its outcome or the run was stopped.

        Raises:
            RunInterruptedError: Rows have no outcome, because the run was stopped.
            SpendingLimitError: Rows have no outcome, because there is no room for them under the limits.
        """
        stats = active.stats
        if flow.dead is not None:
            stats.end(flow.dead)
        done = stats.completed + stats.failed
        is_complete = done == stats.total or not (flow.stopped or flow.limit_reason is not None)
        if is_complete:
            await self._write_output(active, output)
        if not isinstance(flow.dead, EngineConfigError):
            await self._write_failed_rows(active, failed_rows, is_complete=is_complete)
        if not is_complete:
            raise interruption_error(flow, active)

    async def _write_failed_rows(self, active: ActiveRun, failed_rows: FailedRows, *, is_complete: bool) -> None:
        failures = active.stats.failures
        active.stats.failures_path = await failed_rows.write(
            failures,
            active.statuses,
            is_whole=is_complete and self.limit is None,
            has_output=is_complete and (self.partial or not failures.count),
        )

    async def _write_output(self, active: ActiveRun, output: OutputWriter | None) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        scratch, stats = active.scratch, active.stats
        if scratch is None:
            return
        assert stats.total in (None, stats.completed + stats.failed), "every row has an outcome"
        if output is not None and (active.statuses.saved_count if self.partial else not stats.failed):
            if are_scarce():
                self.release_idle()
                await checkpoint()  # The event loop closes them.
            await output.write(scratch, active.statuses)
