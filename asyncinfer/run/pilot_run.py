"""Runs a pilot: answers some rows of a job, and estimates what the others will take."""

from __future__ import annotations

from contextlib import closing

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import in_own_task, in_slices
from asyncinfer.run.early_end import ended_early
from asyncinfer.run.events import Events
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.pilot import Pace, Pilot
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.reader import InputReader
from asyncinfer.run.run_base import RunBase
from asyncinfer.run.run_paths import check_paths
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
    # The pilot does not replace the output, so there is no warning about answers in it.
    output_path = run.output_path if run.reuse_output else None
    previous = PreviousOutput(output_path, reuse=run.reuse_output, layout=run.layout)
    events = Events([stats.observe, *run.observers])
    async with run.opened(stats, events, previous, rows) as active:
        await run.find_answered(active, rows)
        pilot = Pilot(rows, active.statuses, size, deduplicates=run.duplicates is not None)
        events.subscribe(pilot.observe)
        stats.begin(len(pilot.chosen))
        flow = RowFlow(active, pilot.outcome, cache=run.cache)
        saved_answers = run.saved_answers(active)
        reader = InputReader(source, rows, active.statuses, saved_answers, deliver_saved=True, only=pilot.chosen)
        async with run.reported(active, None):
            with closing(reader):
                await flow.run(reader, run.stop)
            if flow.dead is not None:
                raise flow.dead
            if stats.completed + stats.failed != stats.total:
                raise ended_early(flow, active)
    return pilot.estimate(pace, stats.cost())
