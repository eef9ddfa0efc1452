"""The interface between a run and what gets its rows answered.

The run reads, resumes, saves, writes the output and reports progress. An executor only gets rows answered, and knows
nothing of files. `asyncinfer.run.online` is the executor that sends one request per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncinfer.errors import EngineDeadError
from asyncinfer.run.events import Events, Latency
from asyncinfer.run.rows import Row
from asyncinfer.types.results import Completion, FailureDetail


class RowFeed(Protocol):
    """Where an executor gets its rows."""

    @property
    def is_stopped(self) -> bool:
        """Whether no more work should be started."""
        ...

    async def read(self) -> Sequence[Row] | None:
        """The next rows, perhaps none yet; None when there are no more. Waits while too many rows are open."""
        ...


class Outcomes(Protocol):
    """Where an executor reports what became of its rows. Each row gets exactly one outcome."""

    async def answered(self, row: Row, completion: Completion, latency: Latency) -> None:
        """The row is answered. The answer is not lost even if the run is cancelled now."""
        ...

    def failed(self, row: Row, failure: FailureDetail) -> None:
        """The row is not answered, and not tried again."""
        ...

    def ended_early(self, error: EngineDeadError) -> None:
        """No other row can be answered. The executor reports all further rows as failed."""
        ...


class Executor(Protocol):
    """Gets the rows of one run answered.

    Attributes:
        capacity: How many rows should be open at the same time, so that it is never idle.
    """

    capacity: int

    async def run(self, feed: RowFeed, outcomes: Outcomes, events: Events) -> None:
        """Report an outcome for each row of `feed`, and return. After `stop`, rows without an outcome may remain."""
        ...

    def stop(self, grace: float) -> None:
        """Start no more work. Cancel what is still in progress after `grace` seconds."""
        ...

    def why_waiting(self) -> str | None:
        """Why nothing can be sent, and until when; None if it only waits for answers or for more rows."""
        ...

    @property
    def silent_for(self) -> float:
        """Seconds since it last sent something."""
        ...
