"""A run in progress, as its parts share it."""

from __future__ import annotations

from dataclasses import dataclass

from asyncinfer.run.events import Events
from asyncinfer.run.executor import Executor
from asyncinfer.run.previous_output import PreviousOutput
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.spending import Spending
from asyncinfer.run.stats import RunStats
from asyncinfer.scratch.file import ScratchFile


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run whose files are open and whose executor is ready.

    Attributes:
        executor: Gets the rows answered.
        stats: The counts and the state of the run.
        statuses: The state of each row, and where its answer is saved.
        events: Passes what happens to the observers.
        scratch: Where answers are saved; None if they are not.
        previous: The answers in the output of an earlier run.
        spending: Counts what answers cost, and limits it; None if they cost nothing and there is no limit.
    """

    executor: Executor
    stats: RunStats
    statuses: RowStatusTable
    events: Events
    scratch: ScratchFile | None
    previous: PreviousOutput
    spending: Spending | None
