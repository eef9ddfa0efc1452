"""Runs a pilot: answers some rows of a job, and estimates what the others will take."""

from __future__ import annotations

from contextlib import closing

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_own_task, in_slices
from asyncinfer.run.early_end import ended_early
from asyncinfer.run.events import Events
from asyncinfer.run.executor import RunInfo
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.pilot import Pace, Pilot
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.progress import Reporter, reporting
from asyncinfer.run.reader import InputReader
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.run_base import RunBase
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.stats import RunStats
from asyncinfer.types.estimates import Estimate


@in_own_task
async def run_pilot(run: RunBase, source: Source, size: int, pace: Pace) -> Estimate:
    """Answer some rows of `source`, chosen at random, and save their answers. Nothing else is written.

    Args:
        run: The settings of the job.
        size: How many rows to answer. Those with saved answers are among them.
        pace: How fast the engine can answer rows.

    Returns:
        What the other rows will take.

    Raises:
        InputError: Rows are not valid; nothing was sent.
        ScratchError: Answers cannot be saved.
        EngineDeadError: No row can be answered.
        RunInterruptedError: `stop` was requested, or a limit was reached, before the end.
    """
    async with prepared(source):
        return await _answer_pilot(run, source, size, pace)


async def _answer_pilot(run: RunBase, source: Source, size: int, pace: Pace) -> Estimate:
    await DISK.run(check_paths, source.path, run.output_path, None)
    stats, rows = RunStats(run.clock), ValidatedInput(source, run.keys, partial=run.partial)
    await in_slices(rows.validate_input())
    statuses = RowStatusTable(len(rows))
    output_path = run.output_path if run.reuse_output else None
    previous_output = PreviousOutput(output_path, reuse=run.reuse_output, layout=run.layout)
    async with run.locked_scratch(rows) as scratch, previous_output.opened():
        executor = run.make_executor(RunInfo(len(rows), run.saved_in, rows.has))
        spending = await run.prepared_spending(executor, stats)
        if scratch is not None:
            await run.match_saved(scratch, rows, statuses)
            await in_slices(previous_output.find_rows(rows, statuses))
            await count_saved(spending, scratch, statuses.all_spans())
        saved_answers = run.saved_answers(statuses, scratch, previous_output)
        pilot = Pilot(rows, statuses, size, deduplicates=run.repeats is not None)
        stats.begin(len(pilot.chosen))
        events = Events([stats.observe, pilot.observe, *run.observers])
        flow = RowFlow(executor, statuses, events, scratch, pilot.outcome, spending=spending, cache=run.cache)
        reader = InputReader(source, rows, statuses, saved_answers, deliver_saved=True, only=pilot.chosen)
        async with reporting(Reporter(stats, None, run.on_progress, executor, events)):
            with closing(reader):
                await flow.run(reader, run.stop)
            if flow.dead is not None:
                raise flow.dead
            if stats.completed + stats.failed != stats.total:
                raise ended_early(flow, statuses, stats, scratch)
    return pilot.estimate(pace, stats.cost())
