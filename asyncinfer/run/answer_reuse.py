"""Finds answers for rows that need no request: in the cache, and among their duplicates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from asyncinfer.aio.limiters import DISK
from asyncinfer.run.answer_cache import AnswerCache
from asyncinfer.run.duplicates import Duplicates
from asyncinfer.run.rows import Row, SavedRow
from asyncinfer.run.saver import ResultSaver


class AnswerReuse:
    """Takes the rows that need no request out of those that are read, and hands their answers to the saver.

    Args:
        duplicates: None: duplicates are sent too.
        is_batch: The executor collects rows before it answers any. If very many duplicates wait, further ones are
            sent, because no row would be answered if they all had to wait.
        cache: None: there is no cache.
    """

    def __init__(
        self, saver: ResultSaver, duplicates: Duplicates | None, cache: AnswerCache | None, *, is_batch: bool
    ) -> None:
        self._saver, self._duplicates, self._cache, self._is_batch = saver, duplicates, cache, is_batch

    @property
    def waiting(self) -> int:
        """How many duplicates wait for their original."""
        return self._duplicates.count if self._duplicates is not None else 0

    @property
    def is_full(self) -> bool:
        """Whether so many duplicates wait that an original must have its outcome before further rows are read."""
        return self._duplicates is not None and self._duplicates.is_full and not self._is_batch

    def abandon(self, rows: Collection[Row]) -> int:
        """Drop the duplicates of these rows, because these will have no outcome. Returns how many there are."""
        duplicates = self._duplicates
        return sum(len(duplicates.release(row, None)) for row in rows) if duplicates is not None else 0

    async def unanswered(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that must be sent."""
        unique = await self._without_duplicates(self._duplicates, rows) if self._duplicates is not None else list(rows)
        return await self._without_cached(self._cache, unique) if self._cache is not None and unique else unique

    async def _without_duplicates(self, duplicates: Duplicates, rows: Sequence[Row]) -> list[Row]:
        originals, doubtful = list[Row](), list[Row]()
        for row in rows:
            is_possible = duplicates.may_be_duplicate(row)
            if is_possible and await self._is_duplicate(duplicates, row):
                continue
            if is_possible and duplicates.find_saved is not None:
                doubtful.append(row)
            else:
                duplicates.add_original(row)
                originals.append(row)
        if doubtful:
            originals += await self._without_saved(duplicates, doubtful)
        return originals

    async def _is_duplicate(self, duplicates: Duplicates, row: Row) -> bool:
        """Give the row the outcome of its original, or let it wait for that. Returns False if it must be sent."""
        outcome = duplicates.outcome_of(row)
        if outcome is not None:
            await self._saver.duplicate(row, outcome)
            return True
        if not duplicates.has_open_original(row) or (self._is_batch and duplicates.is_full):
            return False
        duplicates.wait(row)
        return True

    async def _without_saved(self, duplicates: Duplicates, rows: Sequence[Row]) -> list[Row]:
        """Give duplicates the saved answers of their originals. Returns the other rows."""
        find = duplicates.find_saved
        assert find is not None, "only a run that saves answers looks for them"
        found = await DISK.run(lambda: [find(row) for row in rows])
        others: list[Row] = []
        for row, finished in zip(rows, found, strict=True):
            if finished is not None:
                await self._saver.saved_duplicate(SavedRow(row, finished))
            elif not await self._is_duplicate(duplicates, row):
                duplicates.add_original(row)
                others.append(row)
        return others

    async def _without_cached(self, cache: AnswerCache, rows: Sequence[Row]) -> list[Row]:
        found = await cache.find(rows)
        others: list[Row] = []
        for row, completion in zip(rows, found, strict=True):
            if completion is None:
                others.append(row)
            else:
                await self._saver.cached(row, completion)
        return others
