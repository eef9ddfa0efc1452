"""A whole run from input to output: validate the input, resume, answer rows, write the output, tidy up."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.gc_tuning import relaxed_gc
from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import cleanup, in_own_task, in_slices, task_group
from asyncinfer.errors import ConfigError, EngineDeadError, ScratchError
from asyncinfer.run.events import Events, Observer
from asyncinfer.run.executor import Executor
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import Plan
from asyncinfer.run.previous_output import Previous
from asyncinfer.run.progress import OnProgress, Reporter, RunStats
from asyncinfer.run.reader import PlannedReader, ResumeMatcher, StreamReader
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.rows import FileSource, Source
from asyncinfer.run.saved_answers import Recall
from asyncinfer.run.saver import Deliver, Outcome
from asyncinfer.run.stop import Stop
from asyncinfer.scratch.atomic import as_config_error, check_replaceable, check_target, resolved, try_target
from asyncinfer.scratch.cache import SWEEPER, in_cache
from asyncinfer.scratch.file import ScratchFile, scratch_path
from asyncinfer.scratch.format import SavedLine
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.results import RunSummary
from asyncinfer.types.run_errors import RunInterruptedError

log = logging.getLogger("asyncinfer")


@dataclass
class Job:
    """One run, with the settings of the call that started it.

    Attributes:
        make_executor: Makes the executor for so many rows; None if their number is unknown.
        partial: Write the existing answers even if rows failed.
        reuse_output: Take answers from an existing file at `output_path`.
        observers: Get every event of the run.
        saved_in: The scratch file, after the run.
        dead: The reason why the engine could not go on, after the run.
    """

    make_executor: Callable[[int | None], Executor]
    clock: Clock
    keys: RowKeys
    output_path: Path | None = None
    progress_path: Path | None = None
    on_progress: OnProgress | None = None
    partial: bool = True
    reuse_output: bool = False
    observers: Sequence[Observer] = ()
    stop: Stop = field(default_factory=Stop)
    saved_in: Path | None = field(default=None, init=False)
    dead: EngineDeadError | None = field(default=None, init=False)

    @in_own_task
    async def run(self, source: Source, deliver: Deliver | None = None) -> RunSummary:
        """Answer every row of `source`, resuming what scratch holds; `deliver` gets every row's outcome.

        Raises:
            InputError: bad rows; nothing was run. ScratchError: answers cannot be saved.
            EngineDeadError: never; its rows fail. RunInterruptedError: `stop` was set before the end.
        """
        await DISK.run(self._check_paths, source)
        with relaxed_gc():
            return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: Deliver | None) -> RunSummary:
        plan = Plan(source, self.keys)
        await in_slices(plan.validate_input())
        stats, statuses = RunStats(self.clock, len(plan)), RowStatusTable(len(plan))
        events, executor = Events([stats.observe, *self.observers]), self.make_executor(len(plan))
        previous = Previous(self.output_path, reuse=self.reuse_output)
        async with self._scratch(plan) as scratch, previous.opened():
            unclaimed = await self._claim(scratch, plan, statuses) if scratch is not None else 0
            await in_slices(previous.find_rows(plan, statuses))
            if deliver is None:
                stats.completed = stats.resumed = statuses.fresh_count
            flow = RowFlow(executor, statuses, events, scratch, deliver)
            recall = Recall(statuses, scratch, previous.output) if scratch is not None else None
            reader = PlannedReader(source, plan, statuses, recall, deliver_saved=deliver is not None)
            async with reporting(Reporter(stats, self.progress_path, self.on_progress, executor, events)):
                with closing(reader):
                    await flow.run(reader, self.stop)
            self.dead = flow.dead
            self._raise_if_stopped(flow, statuses, stats, scratch)
            await self._conclude(scratch, statuses, stats)
            if scratch is not None and not stats.failed:
                await self._let_go(scratch, unclaimed, lambda key, n: plan.index.find(key, n) is None)
        return stats.summary()

    @in_own_task
    async def stream(
        self,
        source: Iterable[object] | AsyncIterable[object],
        deliver: Callable[[int, Outcome, Callable[[], None]], None],
    ) -> None:
        """Answer the rows of `source` as it yields them; nothing is saved without an output path.

        `deliver(index, outcome, taken)`: the row stays open, and holds back the reading of others, until
        `taken()` is called.
        """
        await DISK.run(self._check_paths, None)
        stats, statuses = RunStats(self.clock), RowStatusTable()
        events, executor = Events([stats.observe, *self.observers]), self.make_executor(None)
        previous = Previous(self.output_path, reuse=self.reuse_output)
        async with self._scratch(None) as scratch, previous.opened():
            saved: dict[tuple[bytes, int], SavedLine] = {}
            if scratch is not None:
                await in_slices(saved.update({(line.key, line.n): line}) for line in scratch.recover())
                await in_slices(previous.index())

            def hand_over(index: int, outcome: Outcome) -> None:
                deliver(index, outcome, flow.taken)

            flow = RowFlow(executor, statuses, events, scratch, hand_over, hold=True)
            recall = Recall(statuses, scratch, previous.output) if scratch is not None else None
            reader = StreamReader(source, self.keys, statuses, recall, saved, previous)
            reporter = Reporter(stats, self.progress_path, self.on_progress, executor, events)
            async with reporting(reporter), cleanup(reader.aclose):
                await flow.run(reader, self.stop)
            if flow.dead is not None:
                raise flow.dead
            self._raise_if_stopped(flow, statuses, stats, scratch)
            await self._conclude(scratch, statuses, stats)
            if scratch is not None and not stats.failed:
                await self._let_go(scratch, len(saved), lambda key, n: (key, n) in saved)

    def _check_paths(self, source: Source | None) -> None:
        """Raise ConfigError for paths that would overwrite each other, or cannot be written, before any row is
        paid for.
        """
        if self.progress_path is not None:
            check_replaceable(self.progress_path, "progress_path")
        if self.output_path is None:
            others: dict[str, Path] = {}
        else:
            check_target(self.output_path, "output_path")
            others = {"output_path": self.output_path, "the scratch file": scratch_path(self.output_path)}
        if isinstance(source, FileSource):
            others["input_path"] = source.path
        if self.progress_path is not None:
            others["progress_path"] = self.progress_path
        named: dict[Path, str] = {}
        for name, path in others.items():
            with as_config_error(path, name, "read" if name == "input_path" else "written"):
                target = resolved(path)
            if (other := named.setdefault(target, name)) != name:
                raise ConfigError(f"{name} and {other} are the same file, {path}; give each its own")

    @asynccontextmanager
    async def _scratch(self, plan: Plan | None) -> AsyncGenerator[ScratchFile | None]:
        """The locked scratch file, or None for a run that is not saved."""
        scratch = await self._acquire(plan)
        self.saved_in = scratch.path if scratch is not None else None
        if scratch is None:
            yield None
            return
        async with cleanup(lambda: DISK.run(scratch.close)):
            yield scratch

    async def _acquire(self, plan: Plan | None) -> ScratchFile | None:
        if self.output_path is not None:
            return await DISK.run(_acquired_beside, self.output_path)
        if plan is None or len(plan) < 2:
            return None
        name = await DISK.run(self.keys.run_hash, plan.keys)
        try:
            return await DISK.run(_acquired_in_cache, in_cache(name))
        except ScratchError as error:
            log.warning("This run is not saved as it goes, and cannot be resumed: %s", error)
            return None

    async def _claim(self, scratch: ScratchFile, plan: Plan, statuses: RowStatusTable) -> int:
        """Match saved lines with rows. Returns the number of saved lines that belong to no row."""
        claims = ResumeMatcher(plan, statuses)
        await in_slices(claims.of(scratch.recover()))
        if statuses.saved_count or claims.unclaimed:
            log.info(
                "%s: %d of %d rows are saved already; %d saved rows belong to other input or settings",
                scratch.path,
                statuses.saved_count,
                len(plan),
                claims.unclaimed,
            )
        return claims.unclaimed

    def _raise_if_stopped(
        self, flow: RowFlow, statuses: RowStatusTable, stats: RunStats, scratch: ScratchFile | None
    ) -> None:
        summary = stats.summary()
        if not flow.stopped or (stats.total is not None and summary.completed + summary.failed >= stats.total):
            return
        where = f" They are in {scratch.path}; run the same again to go on." if scratch is not None else ""
        of = f" of {stats.total}" if stats.total is not None else ""
        raise RunInterruptedError(f"Stopped: {statuses.saved_count}{of} rows are saved.{where}", summary)

    async def _conclude(self, scratch: ScratchFile | None, statuses: RowStatusTable, stats: RunStats) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        if scratch is None:
            return
        assert stats.total in (None, stats.completed + stats.failed), "every row has an outcome"
        if self.output_path is not None and (statuses.saved_count if self.partial else not stats.failed):
            await in_slices(scratch.assemble(self.output_path, statuses.spans()))

    async def _let_go(self, scratch: ScratchFile, unclaimed: int, wanted: Callable[[bytes, int], bool]) -> None:
        """Remove the rows that are now in the output from the scratch file. Removes the file if it has no others."""
        if not unclaimed:
            with anyio.CancelScope(shield=True):
                await DISK.run(lambda: scratch.close(remove=True))
            return
        log.warning(
            "%s keeps %d saved row(s) that belong to other input or settings. To use them, run that input again; "
            "to discard them, delete the file.",
            scratch.path,
            unclaimed,
        )
        try:
            await in_slices(scratch.keep(wanted))
        except ScratchError as error:
            log.warning("%s still holds the rows of this run, which are no longer needed: %s", scratch.path, error)


def _acquired_beside(output: Path) -> ScratchFile:
    """Lock the scratch file of a run with an output path. Also checks that the output can be written."""
    scratch = ScratchFile(scratch_path(output))
    scratch.acquire()
    try:
        try_target(output, "output_path")
    except BaseException:
        scratch.close()
        raise
    return scratch


def _acquired_in_cache(path: Path) -> ScratchFile:
    SWEEPER.sweep(path.parent)
    scratch = ScratchFile(path)
    scratch.acquire()
    return scratch


@asynccontextmanager
async def reporting(reporter: Reporter) -> AsyncGenerator[None]:
    """Report while the block runs, and once more at its end."""
    # The last report is made after the task has ended, so that an earlier report cannot overwrite it.
    async with cleanup(reporter.finish), task_group() as tasks:
        tasks.start_soon(reporter.run)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
