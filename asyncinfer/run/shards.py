"""Writes each shard as soon as all of its rows are answered or have failed."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, task_group
from asyncinfer.data.layout import split_ending
from asyncinfer.errors import ConfigError, InputError, ScratchError
from asyncinfer.run.events import RowFailed, RowFinished, RowResumed, RowReused, RunEvent
from asyncinfer.run.recording import RecordedRun
from asyncinfer.run.row_status import RowStatusTable

log = logging.getLogger("asyncinfer")


def shard_path(output: Path, shard: int, count: int) -> Path:
    """The file of a shard: `out-00003-of-00012.jsonl.gz` for the output `out.jsonl.gz`."""
    stem, ending = split_ending(output.name)
    return output.with_name(f"{stem}-{shard:05}-of-{count:05}{ending}")


def shard_numbers(output: Path, path: Path) -> tuple[int, int] | None:
    """Return (shard, count) from the name of a shard of `output`, else None."""
    stem, ending = split_ending(output.name)
    found = re.fullmatch(rf"{re.escape(stem)}-(\d{{5,}})-of-(\d{{5,}}){re.escape(ending)}", path.name)
    return (int(found[1]), int(found[2])) if found is not None and path.parent == output.parent else None


class ShardWriter:
    """Writes the shards of one run. A shard has the answers to `size` successive rows of the input, in their order.

    All shards of rows have the same columns, optional ones included. A resumed run rewrites every complete shard, so
    the shards fit a changed input. A shard that cannot be written is logged; the output has all answers.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._shards: _Shards | None = None

    @property
    def paths(self) -> Mapping[str, Path]:
        """Empty: the names of the shards contain their number, which is known only later."""
        return {}

    def observe(self, event: RunEvent) -> None:
        """Note that a row has its outcome."""
        if self._shards is not None and isinstance(event, RowFinished | RowFailed | RowResumed | RowReused):
            self._shards.row_done(event.index, is_new=not isinstance(event, RowResumed))

    @asynccontextmanager
    async def recording(self, run: RecordedRun) -> AsyncGenerator[None]:
        """Write the shards of the run in the block.

        Raises:
            ConfigError: The number of rows is unknown, or there is no output.
        """
        if run.output_path is None:
            raise ConfigError("output.shards: set output_path too; the shards are written beside that file")
        if run.stats.total is None or run.output is None:
            raise ConfigError("output.shards: ainfer_iter does not know the number of rows; use arun or ainfer")
        assert run.scratch is not None, "a run with an output saves its answers"
        write = partial(run.output.write_shard, scratch=run.scratch, statuses=run.statuses)
        shards = self._shards = _Shards(self._size, run.stats.total, run.output_path, write, run.statuses)
        await DISK.run(shards.warn_of_older)
        async with clean_up_after(shards.write_rest, run.output.aclose), task_group() as tasks:
            tasks.start_soon(shards.write_as_they_complete)
            yield
            tasks.cancel_scope.cancel()


class _WriteShard(Protocol):
    """As `OutputWriter.write_shard`."""

    async def __call__(self, path: Path, rows: range, *, is_end: bool) -> int: ...


class _Shards:
    """The shards of a run whose number of rows is known."""

    def __init__(self, size: int, rows: int, output: Path, write: _WriteShard, statuses: RowStatusTable) -> None:
        self._size, self._rows, self._output = size, rows, output
        self._write_shard, self._statuses = write, statuses
        self._count = -(-rows // size)
        # Open rows by shard. A row may be reported twice, so this can reach 0 too early; `_open_rows` is exact.
        self._left = [self._open_rows(shard) for shard in range(self._count)]
        self._complete = {shard for shard, left in enumerate(self._left) if not left}
        self._waiting = set(self._complete)
        # A heap of complete shards that may not be written yet: how many rows must be done, and the shard.
        self._late: list[tuple[int, int]] = []
        self._input_error: Exception | None = None
        self._wake = anyio.Event()

    def warn_of_older(self) -> None:
        """Log which shards beside the output were written by an earlier run, so that nobody uses them. Blocks."""
        older, others = _older_shards(self._output, self._count, self._complete)
        if older:
            log.warning(
                "%s (%d file(s) in all) was written by an earlier run. This run replaces it when the rows of that "
                "shard are finished",
                *_named(older),
            )
        if others:
            log.warning(
                "%s (%d file(s) in all) was written by an earlier run with another number of shards. This run does not "
                "replace such files: delete them, or move them away",
                *_named(others),
            )

    def row_done(self, row: int, *, is_new: bool) -> None:
        """Note that a row has its outcome.

        Args:
            is_new: It was not saved by an earlier run.
        """
        shard = row // self._size
        self._left[shard] -= 1
        # A complete shard is rewritten if the saved answer of a row was unusable and it got a new one.
        if (is_new or shard not in self._complete) and self._left[shard] <= 0 and not self._open_rows(shard):
            self._complete.add(shard)
            self._waiting.add(shard)
            self._wake.set()

    async def write_as_they_complete(self) -> None:
        """Write shards until cancelled."""
        while True:
            await self._write_waiting()
            await self._wake.wait()
            self._wake = anyio.Event()

    async def write_rest(self) -> None:
        """Write the shards that are complete and not written, at the end of the run."""
        await self._write_waiting(is_end=True)

    async def _write_waiting(self, *, is_end: bool = False) -> None:
        done = self._statuses.done_count(0, self._rows) if self._late else 0
        while self._late and (is_end or self._late[0][0] <= done):
            self._waiting.add(heappop(self._late)[1])
        for shard in sorted(self._waiting):
            if self._input_error is not None:
                return
            # Shielded: after a cancellation, the rows of this shard would be read again.
            with anyio.CancelScope(shield=True):
                await self._write(shard, is_end=is_end)
            await checkpoint()

    async def _write(self, shard: int, *, is_end: bool) -> None:
        path = shard_path(self._output, shard, self._count)
        self._waiting.discard(shard)
        if self._open_rows(shard):
            return  # A saved answer could not be used. The shard is written when the row has its outcome.
        try:
            rows_needed = await self._write_shard(path, self._range(shard), is_end=is_end)
        except ScratchError as error:
            log.warning("%s", error)
            return
        except (InputError, ConfigError) as error:
            log.warning("no further shards are written: %s", error)
            self._input_error = error
            return
        if rows_needed:
            heappush(self._late, (rows_needed, shard))

    def _range(self, shard: int) -> range:
        return range(shard * self._size, min((shard + 1) * self._size, self._rows))

    def _open_rows(self, shard: int) -> int:
        rows = self._range(shard)
        return len(rows) - self._statuses.done_count(rows.start, rows.stop)


def _older_shards(output: Path, count: int, complete: set[int]) -> tuple[list[Path], list[Path]]:
    """The shards of earlier runs beside the output: those that this run will replace, and all others. Blocks.

    Args:
        complete: The shards that this run replaces at once.
    """
    older, others = list[Path](), list[Path]()
    try:
        for path in sorted(output.parent.iterdir()):
            if (numbers := shard_numbers(output, path)) is None or not path.is_file():
                continue
            if numbers[1] != count:
                others.append(path)
            elif numbers[0] not in complete:
                older.append(path)
    except OSError:  # The folder cannot be listed. Then nothing can be said about it.
        return [], []
    return older, others


def _named(paths: list[Path]) -> tuple[Path, int]:
    return paths[0], len(paths)
