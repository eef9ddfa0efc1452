"""A whole run from input to output: survey, resume, loop, write the output, tidy up."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from asyncinfer.aio.threads import DISK
from asyncinfer.errors import ConfigError, EngineDeadError, RunInterruptedError, ScratchError
from asyncinfer.run.answerer import Answerer
from asyncinfer.run.collector import seldom_collecting
from asyncinfer.run.ledger import Ledger
from asyncinfer.run.loop import Loop, Outcome, Stop
from asyncinfer.run.plan import Plan
from asyncinfer.run.previous import Previous
from asyncinfer.run.progress import OnProgress, Reporter, Tally
from asyncinfer.run.reader import Claims, PlannedReader, StreamReader
from asyncinfer.run.recall import Recall
from asyncinfer.run.rows import FileSource, Source
from asyncinfer.run.tasks import cleanup, in_slices, sheltered, task_group
from asyncinfer.scratch.atomic import as_config_error, check_replaceable, check_target, resolved, try_target
from asyncinfer.scratch.cache import SWEEPER, in_cache
from asyncinfer.scratch.file import ScratchFile, beside
from asyncinfer.scratch.format import SavedLine
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.results import RunSummary

log = logging.getLogger("asyncinfer")

Deliver = Callable[[int, Outcome], None]


@dataclass
class Job:
    """What one call of an engine's public methods asks for.

    `partial`: write the existing answers even if rows failed. `reuse_output`: take answers from an existing file at
    `output_path`. After a run, `saved_in` is its scratch file and `dead` the reason why the engine could not go on.
    """

    answerer: Answerer
    keys: RowKeys
    output_path: Path | None = None
    progress_path: Path | None = None
    on_progress: OnProgress | None = None
    partial: bool = True
    reuse_output: bool = False
    stop: Stop = field(default_factory=Stop)
    saved_in: Path | None = field(default=None, init=False)
    dead: EngineDeadError | None = field(default=None, init=False)

    @sheltered
    async def run(self, source: Source, deliver: Deliver | None = None) -> RunSummary:
        """Answer every row of `source`, resuming what scratch holds; `deliver` gets every row's outcome.

        Raises:
            InputError: bad rows; nothing was run. ScratchError: answers cannot be saved.
            EngineDeadError: never; its rows fail. RunInterruptedError: `stop` was set before the end.
        """
        await DISK.run(self._check_paths, source)
        with seldom_collecting():
            return await self._run(source, deliver)

    async def _run(self, source: Source, deliver: Deliver | None) -> RunSummary:
        plan = Plan(source, self.keys)
        await in_slices(plan.survey())
        tally, ledger = Tally(self.answerer.clock, len(plan)), Ledger(len(plan))
        previous = Previous(self.output_path, reuse=self.reuse_output)
        async with self._scratch(plan) as scratch, previous.opened():
            unclaimed = await self._claim(scratch, plan, ledger) if scratch is not None else 0
            await in_slices(previous.survey(plan, ledger))
            if deliver is None:
                tally.completed = tally.resumed = ledger.fresh_count
            loop = Loop(self.answerer, ledger, tally, scratch, deliver)
            recall = Recall(ledger, scratch, previous.output) if scratch is not None else None
            reader = PlannedReader(source, plan, ledger, recall, deliver_saved=deliver is not None)
            async with reporting(Reporter(tally, self.progress_path, self.on_progress, loop.why_waiting)):
                with closing(reader):
                    await loop.run(reader, self.stop)
            self.dead = loop.dead
            self._raise_if_stopped(loop, ledger, tally, scratch)
            await self._conclude(scratch, ledger, tally)
            if scratch is not None and not tally.failed:
                await self._let_go(scratch, unclaimed, lambda key, n: plan.index.find(key, n) is None)
        return tally.summary()

    @sheltered
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
        tally, ledger = Tally(self.answerer.clock), Ledger()
        previous = Previous(self.output_path, reuse=self.reuse_output)
        async with self._scratch(None) as scratch, previous.opened():
            saved: dict[tuple[bytes, int], SavedLine] = {}
            if scratch is not None:
                await in_slices(saved.update({(line.key, line.n): line}) for line in scratch.recover())
                await in_slices(previous.index())

            def hand_over(index: int, outcome: Outcome) -> None:
                deliver(index, outcome, loop.taken)

            loop = Loop(self.answerer, ledger, tally, scratch, hand_over, hold=True)
            recall = Recall(ledger, scratch, previous.output) if scratch is not None else None
            reader = StreamReader(source, self.keys, ledger, recall, saved, previous)
            reporter = Reporter(tally, self.progress_path, self.on_progress, loop.why_waiting)
            async with reporting(reporter), cleanup(reader.aclose):
                await loop.run(reader, self.stop)
            if loop.dead is not None:
                raise loop.dead
            self._raise_if_stopped(loop, ledger, tally, scratch)
            await self._conclude(scratch, ledger, tally)
            if scratch is not None and not tally.failed:
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
            others = {"output_path": self.output_path, "the scratch file": beside(self.output_path)}
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

    async def _claim(self, scratch: ScratchFile, plan: Plan, ledger: Ledger) -> int:
        """Match saved lines with rows. Returns the number of saved lines that belong to no row."""
        claims = Claims(plan, ledger)
        await in_slices(claims.of(scratch.recover()))
        if ledger.saved_count or claims.unclaimed:
            log.info(
                "%s: %d of %d rows are saved already; %d saved rows belong to other input or settings",
                scratch.path,
                ledger.saved_count,
                len(plan),
                claims.unclaimed,
            )
        return claims.unclaimed

    def _raise_if_stopped(self, loop: Loop, ledger: Ledger, tally: Tally, scratch: ScratchFile | None) -> None:
        summary = tally.summary()
        if not loop.stopped or (tally.total is not None and summary.completed + summary.failed >= tally.total):
            return
        where = f" They are in {scratch.path}; run the same again to go on." if scratch is not None else ""
        of = f" of {tally.total}" if tally.total is not None else ""
        raise RunInterruptedError(f"Stopped: {ledger.saved_count}{of} rows are saved.{where}", summary)

    async def _conclude(self, scratch: ScratchFile | None, ledger: Ledger, tally: Tally) -> None:
        """Write the output. A run without any answer does not replace an older output."""
        if scratch is None:
            return
        assert tally.total in (None, tally.completed + tally.failed), "every row has an outcome"
        if self.output_path is not None and (ledger.saved_count if self.partial else not tally.failed):
            await in_slices(scratch.assemble(self.output_path, ledger.spans()))

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
    scratch = ScratchFile(beside(output))
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
