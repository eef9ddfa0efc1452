"""Runs only the rows that failed in an earlier run, and merges their answers into its output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from anyio import CancelScope

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, in_slices
from asyncinfer.config import InferenceConfig
from asyncinfer.engines.call_input import absolute_path, layout_of
from asyncinfer.errors import ConfigError
from asyncinfer.run.retried_rows import RetriedRows
from asyncinfer.scratch.file import ScratchFile, scratch_path
from asyncinfer.scratch.finished import FinishedOutput
from asyncinfer.scratch.format import encode
from asyncinfer.types.results import RunSummary

_BLOCK = 1 << 20  # bytes


async def retry_failures(
    config: InferenceConfig, run: Callable[[InferenceConfig], Awaitable[RunSummary]]
) -> RunSummary:
    """Run the rows in the file of failed rows, and merge the answers.

    Args:
        run: Runs a file of rows.

    Returns:
        The summary of the retry.

    Raises:
        ConfigError: There are no failed rows.
        ScratchError: Another run writes the output, or the answers cannot be merged.
    """
    output = absolute_path(config.output_path, "output_path")
    if output is None:
        raise ConfigError("retry_failures: set output_path, the output whose failed rows are tried again")
    if not layout_of(config).is_plain:
        raise ConfigError(
            "retry_failures: answers can be merged into a JSONL file of conversations only. Run the same again without "
            "retry_failures: the rows that are answered are not sent again"
        )
    scratch = ScratchFile(scratch_path(output))
    await DISK.run(scratch.acquire)  # No other run may write this output.
    async with clean_up_after(lambda: DISK.run(scratch.close)):
        retried = RetriedRows(output)
        await DISK.run(retried.prepare)
        summary = await run(_for_retry(config, retried))
        await _save(scratch, retried.answers)
        await in_slices(retried.merge(summary.total))
        if not retried.left:
            await DISK.run(lambda: scratch.close(remove=True))
        await DISK.run(_remove_scratch, retried.answers)
    return replace(summary, failures_path=retried.failures if retried.left else None)


def _for_retry(config: InferenceConfig, retried: RetriedRows) -> InferenceConfig:
    changes = {"input_path": str(retried.failures), "output_path": str(retried.answers)}
    off = {"retry_failures": False, "reuse_output": False, "save_events": False, "input": None, "output": None}
    return config.model_copy(update=changes | off)


async def _save(scratch: ScratchFile, answers: Path) -> None:
    """Add the answers to those that the first run has saved, so that the next run of its input does not send them."""
    if not await DISK.run(scratch.path.exists):
        return
    await in_slices(line for line in scratch.recover())
    blocks = _saved_lines(answers)
    while block := await DISK.run(lambda: next(blocks, b"")):
        with CancelScope(shield=True):
            await scratch.append(block)


def _saved_lines(answers: Path) -> Generator[bytes]:
    """The answers as lines of a scratch file, in blocks. Blocks."""
    try:
        output = FinishedOutput(answers)
    except FileNotFoundError:
        return
    with closing(output):
        block, size = list[bytes](), 0
        for line in output.lines():
            text = output.read(line.offset, line.length).rstrip(b"\n")
            block.append(encode(line.key, line.n, 0, text))
            size += line.length
            if size > _BLOCK:
                yield b"".join(block)
                block, size = [], 0
        yield b"".join(block)


def _remove_scratch(answers: Path) -> None:
    """Remove the rows that the retry has saved: they are in the output now."""
    scratch = ScratchFile(scratch_path(answers))
    scratch.acquire()
    scratch.close(remove=True)
