"""What runs of every kind share: the settings of the call, and the steps before the first row is sent."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_slices
from asyncinfer.data.answer_columns import AnswerSchema
from asyncinfer.data.layout import OutputLayout, output_layout
from asyncinfer.errors import EngineDeadError
from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.duplicates import Duplicates, FindSaved
from asyncinfer.run.endpoint_stats import Problems, one_endpoint
from asyncinfer.run.events import Events, Observer
from asyncinfer.run.executor import Executor, RunInfo
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.output_writer import CompressedOutput, OutputWriter, PlainOutput
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.progress import OnProgress, ProgressReporter, reporting_progress
from asyncinfer.run.reader import ResumeMatcher
from asyncinfer.run.recording import RecordedRun, RunRecorder, recorded
from asyncinfer.run.row_output import RowOutput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import Row
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_answers import SavedAnswers
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.scratch_use import lock_for_output, lock_temporary
from asyncinfer.run.spending import Spending
from asyncinfer.run.stats import RunStats, same_row
from asyncinfer.run.stop import Stop
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.conversation import Conversation

log = logging.getLogger("asyncinfer")


def _nothing() -> None:
    return


@dataclass
class RunBase:
    """The settings of the call that starts a run, and the steps that runs share.

    Attributes:
        make_executor: Makes the executor of this run.
        partial: Write the answers that exist even if rows failed. A row whose image or document cannot be read fails;
            otherwise it makes the input invalid.
        restored: Adds what is not saved, such as the parsed answer, to a conversation with a saved answer.
        layout: The format of the output.
        keep: The columns of the input that an output of rows has; None: all.
        answer_schema: What the answers are, for an output of rows; None if they are text.
        reuse_output: Take answers from an existing file at `output_path`.
        limit: The most rows of the run, as the user has set it; None: all.
        relax_gc: Let Python collect garbage less often during the run.
        observers: Get every event of the run.
        recorders: Observers that also see the start and the end of the run.
        spending: Counts what answers cost, and limits it; None if they cost nothing and there is no limit.
        count_earlier: Counts what earlier runs of the job paid, besides the answers in the scratch file of this run.
        row_of: Returns the row of the job that a row of the input is.
        make_duplicates: Makes the `Duplicates` of this run, given a function that finds saved answers. None: duplicates
            are sent too.
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
    answer_schema: AnswerSchema | None = None
    progress_path: Path | None = None
    on_progress: OnProgress | None = None
    partial: bool = True
    restored: Callable[[Conversation], Conversation] | None = None
    reuse_output: bool = False
    limit: int | None = None
    relax_gc: bool = False
    release_idle: Callable[[], None] = _nothing
    problems: Problems = one_endpoint
    observers: Sequence[Observer] = ()
    recorders: Sequence[RunRecorder] = ()
    spending: Spending | None = None
    count_earlier: Callable[[Spending], Awaitable[None]] | None = None
    row_of: Callable[[int], int] = same_row
    make_duplicates: Callable[[FindSaved | None], Duplicates] | None = None
    cache: AnswerCache | None = None
    stop: Stop = field(default_factory=Stop)
    saved_in: Path | None = field(default=None, init=False)
    dead: EngineDeadError | None = field(default=None, init=False)

    def events(self, stats: RunStats) -> Events:
        """The observers that get the events of this run."""
        return Events([stats.observe, *self.observers, *(recorder.observe for recorder in self.recorders)])

    def recorded_paths(self) -> dict[str, Path]:
        """The files that the recorders write, by the names of their settings."""
        return {name: path for recorder in self.recorders for name, path in recorder.paths.items()}

    async def check_paths(self, input_path: Path | None) -> None:
        """Check that the files of the run can be written, and that each has a path of its own.

        Raises:
            ConfigError: A path cannot be used.
        """
        await DISK.run(check_paths, input_path, self.output_path, self.progress_path, self.recorded_paths())

    def new_output(self) -> OutputWriter | None:
        """What writes the output; None if the run has none.

        Raises:
            ConfigError: A property of the answers has the name of another column of the answer.
        """
        if self.output_path is None:
            return None
        if self.layout.has_rows:
            return RowOutput(self.output_path, self.layout, self.keep, self.answer_schema)
        return (
            PlainOutput(self.output_path) if self.layout.is_plain else CompressedOutput(self.output_path, self.layout)
        )

    @asynccontextmanager
    async def opened(self, stats: RunStats, events: Events, rows: ValidatedInput | None) -> AsyncGenerator[ActiveRun]:
        """Open the files of a run, and make its executor.

        Args:
            rows: The rows of the run; None if they are not known before they are read.
        """
        previous = PreviousOutput(
            self.output_path,
            reuse=self.reuse_output,
            layout=self.layout,
            limit=self.limit,
            has_cache=self.cache is not None,
        )
        async with self._locked_scratch(rows) as scratch, previous.opened():
            info = RunInfo(None, self.saved_in) if rows is None else RunInfo(len(rows), self.saved_in, rows.has)
            executor = self.make_executor(info)
            statuses = RowStatusTable(0 if rows is None else len(rows))
            spending = await self._prepared_spending(executor, stats)
            yield ActiveRun(executor, stats, statuses, events, scratch, previous, spending)

    def recorded(self, active: ActiveRun, output: OutputWriter | None = None) -> AbstractAsyncContextManager[None]:
        """A context in which the recorders record the run.

        Args:
            output: Writes the output and shards of it; None if that is not possible.
        """
        if not self.recorders:
            return nullcontext()
        stats, statuses, scratch = active.stats, active.statuses, active.scratch
        return recorded(self.recorders, RecordedRun(stats, statuses, scratch, self.output_path, stats.summary, output))

    def reporting_progress(self, active: ActiveRun, progress_path: Path | None) -> AbstractAsyncContextManager[None]:
        """A context in which the progress of the run is reported."""
        return reporting_progress(
            ProgressReporter(active.stats, progress_path, self.on_progress, active.executor, active.events)
        )

    async def _prepared_spending(self, executor: Executor, stats: RunStats) -> Spending | None:
        """What counts the cost of this run; None if its answers cost nothing and there is no limit."""
        spending = self.spending
        if spending is None:
            return None
        await DISK.run(partial(spending.prepare, executor.is_sent_alone, is_batch=executor.is_batch))
        stats.cost = spending.total
        if self.count_earlier is not None:
            await self.count_earlier(spending)
        return spending

    def new_duplicates(
        self, original: Callable[[bytes], int | None], statuses: RowStatusTable, saved_answers: SavedAnswers | None
    ) -> Duplicates | None:
        """What gives duplicates one answer; None if each is to be sent.

        Args:
            original: Returns the first row with a key, if it is known.
        """
        if self.make_duplicates is None:
            return None
        if saved_answers is None:
            return self.make_duplicates(None)

        def find_saved(row: Row) -> Conversation | None:
            first = original(row.key)
            return saved_answers.of_original(row, first) if first is not None and statuses.saved(first) else None

        return self.make_duplicates(find_saved)

    @asynccontextmanager
    async def _locked_scratch(self, rows: ValidatedInput | None) -> AsyncGenerator[ScratchFile | None]:
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
        return await lock_temporary(lambda: self.keys.run_hash(rows.keys))

    def saved_answers(self, active: ActiveRun) -> SavedAnswers | None:
        """What reads the saved answers; None for a run that is not saved."""
        if active.scratch is None:
            return None
        return SavedAnswers(active.statuses, active.scratch, active.previous.output, self.restored)

    async def find_answered(
        self, active: ActiveRun, rows: ValidatedInput, *, is_pilot: bool = False
    ) -> ResumeMatcher | None:
        """Find the rows that earlier runs have answered. Returns what matched them; None for a run that is not saved.

        Args:
            is_pilot: The run does not write the output, and takes every answer that is there.

        Raises:
            ConfigError: The answers in the output should be reused, and the file cannot be read.
        """
        if active.scratch is None:
            return None
        matcher = await self._match_saved(active.scratch, rows, active.statuses)
        find = active.previous.mark_rows if is_pilot else active.previous.find_rows
        await in_slices(find(rows, active.statuses))
        await count_saved(active.spending, active.scratch, active.statuses.all_spans(), rows.has)
        return matcher

    async def _match_saved(self, scratch: ScratchFile, rows: ValidatedInput, statuses: RowStatusTable) -> ResumeMatcher:
        """Match saved lines with rows."""
        matcher = ResumeMatcher(rows, statuses)
        await in_slices(matcher.match(scratch.recover()))
        if statuses.saved_count or matcher.unclaimed:
            log.info(
                "%s: %d of %d rows are saved already; %d saved rows belong to other input or settings",
                scratch.path,
                statuses.saved_count,
                len(rows),
                matcher.unclaimed,
            )
        return matcher
