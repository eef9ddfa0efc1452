"""The interface of an executor, which gets the rows of a run answered.

The run reads, resumes, saves, writes the output and reports progress. An executor only gets rows answered, and knows
nothing of files. `asyncinfer.run.online` is the executor that sends one request per row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from asyncinfer.errors import EngineDeadError
from asyncinfer.run.events import Events, Latency
from asyncinfer.run.rows import Row
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import FailureDetail
from asyncinfer.types.usage import Usage


class RowFeed(Protocol):
    """Where an executor gets its rows."""

    @property
    def is_stopped(self) -> bool:
        """Whether no more work should be started."""
        ...

    @property
    def ended_at_limit(self) -> bool:
        """Whether it has ended although there are more rows, because a limit on cost or tokens is reached."""
        ...

    async def read(self) -> Sequence[Row] | None:
        """The next rows. The list may be empty while more rows may come. Returns None at the end.

        A row is open until its outcome is reported. Waits while `capacity` rows are open. Never waits with fewer, so an
        executor may collect that many rows before it answers any. Exceptions, only for an executor with `is_batch`
        false: this also waits for outcomes while a limit on cost or tokens leaves no room, and while very many
        duplicates wait for their originals.
        """
        ...

    def attempt_failed(self, row: Row, usage: Usage) -> bool:
        """Report what a failed attempt at a row used. It becomes a part of the usage of the row's outcome.

        Returns:
            Whether the limits leave room for another attempt.
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

    def ended_early(self, error: EngineDeadError, *, is_conclusion: bool = False) -> None:
        """No other row can be answered. The executor reports all further rows as failed.

        Args:
            is_conclusion: The executor concludes it from the failures of rows, so that no engine has logged it.
        """
        ...


class RunInfo(NamedTuple):
    """What an executor may need to know of its run.

    Args:
        total: The number of rows; None if it is unknown.
        scratch: The locked scratch file of the run; None if nothing is saved.
        has_row: Whether the input is known to have a row with this key and occurrence.
    """

    total: int | None
    scratch: Path | None = None
    has_row: Callable[[bytes, int], bool] = lambda key, n: False


class ExpectedWait(str):
    """A reason to wait that is part of the work, and no problem. It is shown, but not logged as a warning."""


class Executor(Protocol):
    """Gets the rows of one run answered. It knows nothing of files.

    Attributes:
        capacity: How many rows may be open at the same time: enough that the executor is never idle.
        is_batch: Rows are sent in batch jobs, which have prices of their own. Under a limit on cost or tokens, the feed
            ends for such an executor as soon as no further row fits.
    """

    capacity: int
    is_batch: bool

    def is_sent_alone(self, conversation: Conversation) -> bool:
        """Whether a row may be sent as a single request, at the price of one."""
        ...

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
