"""Recorders: observers of a run that also see its start and its end, such as the report."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asyncinfer.run.events import RunEvent
from asyncinfer.run.output_writer import OutputWriter
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.run.stats import RunStats
from asyncinfer.scratch.file import ScratchFile
from asyncinfer.types.results import RunSummary


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What a recorder may look at while a run is in progress, and when it has ended.

    Attributes:
        stats: The counts and the state of the run.
        statuses: The state of each row, and where its answer is saved.
        scratch: Where the answers are saved; None if they are not.
        output_path: The output of the run; None if there is none.
        summary: Returns the summary of the run so far.
        output: Writes the output and shards of it; None without an output, and for `ainfer_iter`.
    """

    stats: RunStats
    statuses: RowStatusTable
    scratch: ScratchFile | None
    output_path: Path | None
    summary: Callable[[], RunSummary]
    output: OutputWriter | None = None


class RunRecorder(Protocol):
    """An observer that also sees the start and the end of a run."""

    @property
    def paths(self) -> Mapping[str, Path]:
        """The files that it writes, by the names of their settings."""
        ...

    def observe(self, event: RunEvent) -> object:
        """Record an event. Called on the event loop, so it must return quickly."""
        ...

    def recording(self, run: RecordedRun) -> AbstractAsyncContextManager[None]:
        """A context that is entered before the first row is sent, and left when the run has ended, for any reason.

        The scratch file still has all saved answers then.
        """
        ...


@asynccontextmanager
async def recorded(recorders: Sequence[RunRecorder], run: RecordedRun) -> AsyncGenerator[None]:
    """Let the recorders record the run in the block."""
    async with AsyncExitStack() as stack:
        for recorder in recorders:
            await stack.enter_async_context(recorder.recording(run))
        yield
