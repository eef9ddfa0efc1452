"""Runs a pilot: answers some rows of a job, and estimates what the others will take."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice

from asyncinfer.aio.tasks import in_own_task, in_slices
from asyncinfer.errors import EngineDeadError
from asyncinfer.run.active_run import ActiveRun
from asyncinfer.run.duplicates import Duplicates
from asyncinfer.run.early_end import interruption_error
from asyncinfer.run.events import Events
from asyncinfer.run.flow import RowFlow
from asyncinfer.run.input import ValidatedInput
from asyncinfer.run.pilot import Pace, Pilot
from asyncinfer.run.reader import InputReader
from asyncinfer.run.rows import Row
from asyncinfer.run.run_base import RunBase
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.stats import RunStats
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.estimates import Estimate

_EVERY = 64  # rows


@in_own_task
async def run_pilot(run: RunBase, source: Source, size: int, pace: Pace) -> Estimate:
    """Answer some rows of `source`, chosen at random, and save their answers. Nothing else is written.

    Args:
        run: The settings of the job.
        size: How many rows to answer. Those with saved answers are among them.
        pace: How fast the engine can answer rows.

    Returns:
        What the other rows will take. Without a pilot if the output shows that the job is finished, but not which row
        has which answer: then all rows would be sent again.

    Raises:
        ConfigError: A setting is wrong, also one that only the job needs; nothing was sent.
        InputError: Rows are not valid; nothing was sent.
        ScratchError: Answers cannot be saved.
        EngineDeadError: No row can be answered.
        RunInterruptedError: `stop` was requested, or a limit was reached, before the end.
    """
    async with prepared(source):
        return await _answer_pilot(run, source, size, pace)


async def _answer_pilot(run: RunBase, source: Source, size: int, pace: Pace) -> Estimate:
    await run.check_paths(source.path)
    stats = RunStats(run.clock, row_of=run.row_of)
    rows = ValidatedInput(source, run.keys, tolerates_unreadable_files=run.partial)
    await in_slices(rows.validate_input())
    if (output := run.new_output()) is not None:
        await output.prepare(source, rows.checksums)
    events = Events([stats.observe, *run.observers])
    async with run.opened(stats, events, rows) as active:
        await run.find_answered(active, rows, is_pilot=True)
        duplicates = set[int]()
        if run.make_duplicates is not None and rows.has_duplicates:
            await in_slices(_add_duplicates(source, rows, run.make_duplicates(None), duplicates))
        size = 0 if active.previous.is_finished else size
        pilot = Pilot(
            rows,
            active.statuses,
            size,
            duplicates=duplicates,
            reuses_output=run.reuse_output,
            row_of=run.row_of,
        )
        if active.previous.is_finished:
            estimate = pilot.estimate(pace, None)
            return replace(estimate, sent_again=estimate.left)
        events.subscribe(pilot.observe)
        await in_slices(_read_output(pilot, active))
        asked = pilot.chosen - pilot.in_output
        stats.begin(len(asked))
        flow = RowFlow(active, pilot.outcome, raised=EngineDeadError, cache=run.cache)
        saved_answers = run.saved_answers(active)
        reader = InputReader(source, rows, active.statuses, saved_answers, deliver_saved=True, only=asked)
        async with run.reporting_progress(active, None):
            with closing(reader):
                await flow.run(reader, run.stop)
            if flow.dead is not None:
                raise flow.dead
            if stats.completed + stats.failed != stats.total:
                raise interruption_error(flow, active)
    return pilot.estimate(pace, stats.cost())


def _add_duplicates(source: Source, rows: ValidatedInput, duplicates: Duplicates, found: set[int]) -> Generator[None]:
    """Find the rows that get the answers of others. Blocks; yields every 64 rows."""
    with closing(source.items()) as items:
        for index, item in enumerate(islice(items, len(rows))):
            row = Row(index, *rows.identity(index), item.checksum, item.size, item)
            if index not in rows.rejected and duplicates.may_be_duplicate(row):
                found.add(index)
            if index % _EVERY == 0:
                yield


def _read_output(pilot: Pilot, active: ActiveRun) -> Generator[None]:
    """Let the pilot see the answers in the output of an earlier run. Blocks; yields after each."""
    output = active.previous.output
    for row in sorted(pilot.in_output):
        assert output is not None, "it has answers"
        with suppress(ValueError):  # The line was edited.
            pilot.outcome(row, Conversation.from_json(output.read(*active.statuses.span(row))))
        yield
