"""Runs only the rows that failed in an earlier run, and merges their answers into its output."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_slices
from asyncinfer.errors import InputError
from asyncinfer.run.retry.files import RetryFiles
from asyncinfer.run.retry.merge import RetryMerge
from asyncinfer.run.retry.output_merge import OutputMerge
from asyncinfer.run.retry.saved_rows import SavedRows, recover_saved_rows, remove_merged_rows, save_answers
from asyncinfer.run.retry.spent_usage import keep_spent_usage
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.spending import Spending
from asyncinfer.scratch.file import ScratchFile, scratch_path
from asyncinfer.types.results import RunSummary

log = logging.getLogger("asyncinfer")


class Retry(NamedTuple):
    """The retry of the failed rows of one run.

    Args:
        merge: Merges the answers into the output of the run.
        scratch: The locked scratch file of the run.
        saved: The rows that it has; None if there is no such file.
    """

    merge: RetryMerge
    scratch: ScratchFile
    saved: SavedRows | None

    @property
    def files(self) -> RetryFiles:
        """The files of the retry: `failures` is its input, and `answers` its output."""
        return self.merge.files

    def row_of(self, line: int) -> int:
        """Return the input row of a line of the file of failed rows."""
        return self.merge.row_of(line)

    async def count_saved(self, spending: Spending) -> None:
        """Count what the run has paid for its saved rows towards the limits of the job."""
        if self.saved is not None:
            await count_saved(spending, self.scratch, self.saved.spans())

    async def run(self, answer: Callable[[], Awaitable[RunSummary]]) -> RunSummary:
        """Run the failed rows, and merge the answers.

        Args:
            answer: Runs the rows in the file of failed rows.

        Returns:
            The summary of the retry.

        Raises:
            InputError: The file of failed rows, or rows of the input, have changed since the rows were sent.
            ScratchError: The answers cannot be merged.
        """
        merge, files = self.merge, self.files
        async with clean_up_after(self._keep_spent_usage):
            summary = await answer()
        await in_slices(merge.match(summary.total))
        new_keys = await save_answers(self.scratch, merge.answered_rows()) if self.saved is not None else bytearray()
        await in_slices(merge.merge())
        if self.saved is not None and not merge.left:
            await self._remove_merged_rows(self.saved, new_keys)
        await DISK.run(_remove_scratch, files.answers)
        return replace(summary, failures_path=files.failures if merge.left else None)

    async def _keep_spent_usage(self) -> None:
        await keep_spent_usage(scratch_path(self.files.answers), self.scratch, is_open=self.saved is not None)

    async def _remove_merged_rows(self, saved: SavedRows, new_keys: bytearray) -> None:
        try:
            keys = await in_slices(self.merge.output_keys())
        except InputError as error:
            path = self.scratch.path
            log.warning("%s still holds the rows of this run, which are no longer needed: %s", path, error)
        else:
            await remove_merged_rows(self.scratch, saved, keys + saved.retried_keys + new_keys)


@asynccontextmanager
async def prepared_retry(path: Path, output: OutputMerge, source: Source | None) -> AsyncGenerator[Retry]:
    """Prepare the retry of the failed rows of a run. No other run can write its output during the block.

    Args:
        path: The output of the run.
        output: Merges answers into it.
        source: The input, for an output of rows; None for conversations.

    Raises:
        ConfigError: There are no failed rows, or their answers could not be merged.
        InputError: Failed rows do not say where their answers belong, or rows of the input have changed.
        ScratchError: Another run writes the output, or a file cannot be used.
    """
    scratch = ScratchFile(scratch_path(path))
    await DISK.run(scratch.acquire)
    async with (
        clean_up_after(lambda: DISK.run(scratch.close)),
        prepared(source) if source is not None else nullcontext(),
    ):
        merge = RetryMerge(path, output, with_checksums=source is not None)
        await in_slices(merge.prepare())
        yield Retry(merge, scratch, await recover_saved_rows(scratch))


def _remove_scratch(answers: Path) -> None:
    """Remove the scratch file of the retry: its rows are in the output now. Blocks."""
    scratch = ScratchFile(scratch_path(answers))
    scratch.acquire()
    scratch.close(remove=True)
