"""Runs only the rows that failed in an earlier run, and merges their answers into its output."""

from __future__ import annotations

import logging
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_slices
from asyncinfer.config import InferenceConfig, OutputFormat
from asyncinfer.data.answer_columns import AnswerShape
from asyncinfer.data.layout import OutputLayout
from asyncinfer.engines.call_input import absolute_path, layout_of
from asyncinfer.errors import ConfigError, InputError
from asyncinfer.run.retried_output import RetriedLines, RetriedOutput
from asyncinfer.run.retried_row_output import InputColumns, RetriedJsonRows, RetriedTable
from asyncinfer.run.retried_rows import RetriedRows
from asyncinfer.run.run_paths import check_paths
from asyncinfer.run.saved_spending import count_saved
from asyncinfer.run.scratch_use import remove_finished
from asyncinfer.run.sources import Source, prepared
from asyncinfer.run.spending import Spending
from asyncinfer.scratch.file import ScratchFile, joined_lines, scratch_path
from asyncinfer.scratch.format import SavedLine, encode
from asyncinfer.scratch.index import KEY_BYTES, KeyIndex
from asyncinfer.scratch.keys import RowKeys
from asyncinfer.types.results import RunSummary

log = logging.getLogger("asyncinfer")


class FailuresRetry(NamedTuple):
    """The retry of the failed rows of a run.

    Args:
        rows: The failed rows, and the files of the retry.
        scratch: The locked scratch file of the run.
        saved: The rows that it holds; None if there is no such file.
        config: The settings that run the failed rows.
    """

    rows: RetriedRows
    scratch: ScratchFile
    saved: _SavedRows | None
    config: InferenceConfig

    def row_of(self, number: int) -> int:
        """The row of the run that is in this line of the file of failed rows."""
        return self.rows.row_of(number)

    async def count_saved(self, spending: Spending) -> None:
        """Count what the run has paid for its saved rows towards the limits of the job."""
        if self.saved is not None:
            await count_saved(spending, self.scratch, zip(self.saved.offsets, self.saved.lengths, strict=True))


class _SavedRows:
    """The keys of saved rows, end to end, and the positions of their answers."""

    def __init__(self) -> None:
        self.keys, self.offsets, self.lengths = bytearray(), array("Q"), array("L")

    def add(self, line: SavedLine) -> None:
        self.keys += line.key
        self.offsets.append(line.offset)
        self.lengths.append(line.length)


class ColumnSource(NamedTuple):
    """Where the columns of an output of rows come from.

    Args:
        source: The input of the run.
        keep: The columns of the input that the output has; None: all.
        shape: What the answers are; None if they are text.
        row_keys: Make the keys of rows.
    """

    source: Source
    keep: Sequence[str] | None
    shape: AnswerShape | None
    row_keys: RowKeys


def check_retry(config: InferenceConfig, *, has_input: bool) -> None:
    """Check that the settings name what a retry needs.

    Raises:
        ConfigError: There is no output, or an output of rows without an input.
    """
    if config.output_path is None:
        raise ConfigError("retry_failures: set output_path, the output whose failed rows are tried again")
    if layout_of(config).has_rows and config.input_path is None and not has_input:
        raise ConfigError("retry_failures: set input_path too: the columns of the output come from there")


@asynccontextmanager
async def retry_of(config: InferenceConfig, columns: ColumnSource | None) -> AsyncGenerator[FailuresRetry]:
    """Prepare the retry of the failed rows of a run. No other run can write its output during the block.

    Args:
        columns: Where the columns of an output of rows come from; None for conversations.

    Raises:
        ConfigError: There are no failed rows, or their answers could not be merged.
        InputError: Failed rows do not say where their answers belong.
        ScratchError: Another run writes the output, or a file cannot be used.
    """
    output = absolute_path(config.output_path, "output_path")
    assert output is not None, "check_retry comes first"
    written = {name: absolute_path(getattr(config, name), name) for name in ("progress_path", "report_path")}
    others = {name: path for name, path in written.items() if path is not None}
    input_path = columns.source.path if columns is not None else None
    await DISK.run(check_paths, input_path, output, None, others)
    scratch = ScratchFile(scratch_path(output))
    await DISK.run(scratch.acquire)
    async with (
        clean_up_after(lambda: DISK.run(scratch.close)),
        prepared(columns.source) if columns is not None else nullcontext(),
    ):
        retried = _retried_output(output, layout_of(config), columns)
        rows = RetriedRows(output, retried, has_rows=columns is not None)
        await in_slices(rows.prepare())
        yield FailuresRetry(rows, scratch, await _saved_in(scratch), _for_retry(config, rows))


def _retried_output(path: Path, layout: OutputLayout, columns: ColumnSource | None) -> RetriedOutput:
    if columns is None:
        return RetriedLines(path, layout.compression)
    is_json = layout.format is OutputFormat.JSONL
    return (RetriedJsonRows if is_json else RetriedTable)(
        path, layout, InputColumns(*columns, has_types=layout.has_schema)
    )


async def retry_failures(
    config: InferenceConfig, columns: ColumnSource | None, run: Callable[[FailuresRetry], Awaitable[RunSummary]]
) -> RunSummary:
    """Run the rows in the file of failed rows, and merge the answers.

    Args:
        columns: Where the columns of an output of rows come from; None for conversations.
        run: Runs the failed rows.

    Returns:
        The summary of the retry.

    Raises:
        ConfigError: There are no failed rows, or their answers could not be merged.
        InputError: Failed rows do not say where their answers belong.
        ScratchError: Another run writes the output, or the answers cannot be merged.
    """
    async with retry_of(config, columns) as retry:
        rows = retry.rows
        async with clean_up_after(lambda: _keep_spent(retry)):
            summary = await run(retry)
        await in_slices(rows.match(summary.total))
        if retry.saved is not None:
            await _save(retry.scratch, rows)
        await in_slices(rows.merge())
        if retry.saved is not None and not rows.left:
            await _remove_merged(retry.scratch, rows, retry.saved)
        await DISK.run(_remove_scratch, rows.answers)
    return replace(summary, failures_path=rows.failures if rows.left else None)


def _for_retry(config: InferenceConfig, rows: RetriedRows) -> InferenceConfig:
    # The answers of a retry that was killed before they were merged are reused.
    changes = {"input_path": str(rows.failures), "output_path": str(rows.answers), "reuse_output": True}
    off = {"retry_failures": False, "save_events": False, "input": None, "output": None}
    return config.model_copy(update=changes | off)


async def _saved_in(scratch: ScratchFile) -> _SavedRows | None:
    """The saved rows of the run, and open its scratch file for further ones. None if there is no such file."""
    if not await DISK.run(scratch.path.exists):
        return None
    saved = _SavedRows()
    await in_slices(saved.add(line) for line in scratch.recover())
    return saved


async def _save(scratch: ScratchFile, rows: RetriedRows) -> None:
    """Add the answers to those that the run has saved, so that the next run of its input does not send them."""
    with closing(joined_lines(encode(key, n, 0, text) for key, n, text in rows.saved_rows())) as blocks:
        while block := await DISK.run(lambda: next(blocks, b"")):
            with CancelScope(shield=True):
                await scratch.append(block)


async def _keep_spent(retry: FailuresRetry) -> None:
    """Copy what attempts of the retry without an answer used to the run, whose scratch file stays until its end."""
    path = scratch_path(retry.rows.answers)
    if not await DISK.run(path.exists):
        return
    lines = list[bytes]()
    await in_slices(_add_spent(path, retry.scratch, lines))
    if lines:
        if retry.saved is None:
            await in_slices(retry.scratch.recover())
        await retry.scratch.append(b"".join(lines))


def _add_spent(path: Path, run: ScratchFile, lines: list[bytes]) -> Generator[None]:
    """Add the lines of a scratch file that say what attempts without an answer used, unless the run has them."""
    kept = {spent.number for spent, _ in run.spent_lines()}
    scratch = ScratchFile(path)
    scratch.acquire()
    try:
        yield from (None for _ in scratch.recover())
        for spent, line in scratch.spent_lines():
            if spent.number not in kept:
                lines.append(line)
            yield
    finally:
        scratch.close()


async def _remove_merged(scratch: ScratchFile, rows: RetriedRows, saved: _SavedRows) -> None:
    """Remove the rows that are in the output from the scratch file. Others are of a later, interrupted run."""
    keys = bytearray()
    try:
        await in_slices(rows.add_keys(keys))
    except InputError as error:
        log.warning("%s still holds the rows of this run, which are no longer needed: %s", scratch.path, error)
        return
    written, unclaimed = await DISK.run(_unclaimed, keys, saved.keys)
    await remove_finished(scratch, unclaimed, lambda key, n: written.find(key, 0) is None)


def _unclaimed(written: bytearray, saved: bytearray) -> tuple[KeyIndex, int]:
    """An index of the keys in the output, and how many of the saved keys are not among them. Blocks."""
    index = KeyIndex(written)
    keys = (bytes(saved[at : at + KEY_BYTES]) for at in range(0, len(saved), KEY_BYTES))
    return index, sum(index.find(key, 0) is None for key in keys)


def _remove_scratch(answers: Path) -> None:
    """Remove the rows that the retry has saved: they are in the output now."""
    scratch = ScratchFile(scratch_path(answers))
    scratch.acquire()
    scratch.close(remove=True)
