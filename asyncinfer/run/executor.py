"""The interface of an executor, which gets the rows of a run answered.

The run reads, resumes, saves, writes the output and reports progress. An executor only gets rows answered, and knows
nothing of files. `asyncinfer.run.online` is the executor that sends one request per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncinfer.errors import EngineDeadError
from asyncinfer.run.events import Events, Latency
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from asyncinfer.types.results import FailureDetail


class RowFeed(Protocol):
    """Where an executor gets its rows."""

    @property
    def is_stopped(self) -> bool:
        """Whether no more work should be started."""
        ...

    async def read(self) -> Sequence[Row] | None:
        """The next rows. The list may be empty while more rows may come. Returns None at the end.

        A row is open until its outcome is reported. This waits while too many rows are open, but never while fewer than
        the executor's `capacity` are: an executor may collect that many rows before it answers any.
        """
        ...


class OutcomeSink(Protocol):
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
    """Gets the rows of one run answered. It knows nothing of files.

    Attributes:
        capacity: How many rows may be open at the same time: enough that the executor is never idle.
    """

    capacity: int

    async def run(self, feed: RowFeed, outcomes: OutcomeSink, events: Events) -> None:
        """Report an outcome for each row of `feed`, and return. After `stop`, rows without an outcome may remain."""
        ...

    def stop(self, grace: float) -> None:
        """Start no more work, and read no more rows: a pending `read` must be cancelled. Cancel what is still in
        progress after `grace` seconds.
        """
        ...

    def why_waiting(self) -> str | None:
        """Why nothing can be sent, and until when; None if it only waits for answers or for more rows."""
        ...

    @property
    def silent_for(self) -> float:
        """Seconds since it last sent something."""
        ...
