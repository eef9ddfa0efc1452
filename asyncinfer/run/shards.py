"""Writes parts of the output while the run is in progress: a shard as soon as all of its rows have their outcome."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import clean_up_after, task_group
from asyncinfer.errors import ConfigError, ScratchError
from asyncinfer.run.events import RowFailed, RowFinished, RowResumed, RowReused, RunEvent
from asyncinfer.run.recording import RecordedRun
from asyncinfer.run.row_status import RowStatusTable
from asyncinfer.scratch.file import ScratchFile

log = logging.getLogger("asyncinfer")


def shard_path(output: Path, shard: int, count: int) -> Path:
    """The file of a shard: `out-00003-of-00012.jsonl` for the output `out.jsonl`."""
    return output.with_name(f"{output.stem}-{shard:05}-of-{count:05}{output.suffix}")


class ShardWriter:
    """Writes the shards of one run. A shard has the answers to `size` successive rows of the input, in their order.

    A resumed run writes the shards of all rows that are finished again, so the files are correct also if the input has
    changed. An error is logged, and does not end the run: the output has all answers.
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
            self._shards.row_done(event.index)

    @asynccontextmanager
    async def recording(self, run: RecordedRun) -> AsyncGenerator[None]:
        """Write the shards of the run in the block.

        Raises:
            ConfigError: The number of rows is unknown, or there is no output.
        """
        if run.output_path is None or run.scratch is None:
            raise ConfigError("output.shards: set output_path too; the shards are written beside that file")
        if run.stats.total is None:
            raise ConfigError("output.shards: ainfer_iter does not know the number of rows; use arun or ainfer")
        shards = self._shards = _Shards(self._size, run.stats.total, run.output_path, run.scratch, run.statuses)
        await DISK.run(shards.warn_of_older)
        async with clean_up_after(shards.write_ready), task_group() as tasks:
            tasks.start_soon(shards.write_as_they_complete)
            yield
            tasks.cancel_scope.cancel()


class _Shards:
    """The shards of a run whose number of rows is known."""

    def __init__(self, size: int, rows: int, output: Path, scratch: ScratchFile, statuses: RowStatusTable) -> None:
        self._size, self._rows, self._output = size, rows, output
        self._scratch, self._statuses = scratch, statuses
        self._count = -(-rows // size)
        # How many rows of each shard have no outcome. Rows may be reported twice, so 0 may come too early.
        self._left = [self._open_rows(shard) for shard in range(self._count)]
        self._ready = {shard for shard, left in enumerate(self._left) if not left}
        self._written = set[int]()
        self._wake = anyio.Event()

    def warn_of_older(self) -> None:
        """Log which shards beside the output were written by an earlier run, so that nobody uses them. Blocks."""
        older, others = _older_shards(self._output, self._count, self._ready)
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

    def row_done(self, row: int) -> None:
        """Note that a row has its outcome."""
        shard = row // self._size
        self._left[shard] -= 1
        if self._left[shard] <= 0 and shard not in self._ready and not self._open_rows(shard):
            self._ready.add(shard)
            self._wake.set()

    async def write_as_they_complete(self) -> None:
        """Write shards until cancelled."""
        while True:
            await self.write_ready()
            await self._wake.wait()
            self._wake = anyio.Event()

    async def write_ready(self) -> None:
        """Write the shards that are complete and not written."""
        for shard in sorted(self._ready - self._written):
            rows, path = self._range(shard), shard_path(self._output, shard, self._count)
            try:
                await self._scratch.assemble(path, self._statuses.spans(rows.start, rows.stop))
            except ScratchError as error:
                log.warning("%s", error)
            self._written.add(shard)

    def _range(self, shard: int) -> range:
        return range(shard * self._size, min((shard + 1) * self._size, self._rows))

    def _open_rows(self, shard: int) -> int:
        rows = self._range(shard)
        return len(rows) - self._statuses.done_count(rows.start, rows.stop)


def _older_shards(output: Path, count: int, ready: set[int]) -> tuple[list[Path], list[Path]]:
    """The shards of earlier runs beside the output: those that this run will replace, and all others. Blocks.

    Args:
        ready: The shards that this run replaces at once.
    """
    name = re.compile(rf"{re.escape(output.stem)}-(\d{{5,}})-of-(\d{{5,}}){re.escape(output.suffix)}")
    older, others = list[Path](), list[Path]()
    try:
        for path in sorted(output.parent.iterdir()):
            if (found := name.fullmatch(path.name)) is None or not path.is_file():
                continue
            if int(found[2]) != count:
                others.append(path)
            elif int(found[1]) not in ready:
                older.append(path)
    except OSError:  # The folder cannot be listed. Then nothing can be said about it.
        return [], []
    return older, others


def _named(paths: list[Path]) -> tuple[Path, int]:
    return paths[0], len(paths)
