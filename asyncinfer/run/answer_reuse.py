"""Finds answers for rows that need no request: in the cache, and among identical rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from asyncinfer.aio.limiters import DISK
from asyncinfer.run.rows import Row, SavedRow

if TYPE_CHECKING:
    from asyncinfer.run.answer_cache import AnswerCache
    from asyncinfer.run.repeats import Repeats
    from asyncinfer.run.saver import ResultSaver


class AnswerReuse:
    """Takes the rows that need no request out of those that are read, and hands their answers to the saver.

    Args:
        repeats: None: each row is sent, also if an identical one is.
        cache: None: there is no cache.
    """

    def __init__(self, saver: ResultSaver, repeats: Repeats | None, cache: AnswerCache | None) -> None:
        self._saver, self._repeats, self._cache = saver, repeats, cache

    @property
    def waiting(self) -> int:
        """How many rows wait for an identical row."""
        return self._repeats.count if self._repeats is not None else 0

    def abandon(self, rows: Collection[Row]) -> int:
        """Drop the rows that wait for these, because these will have no outcome. Returns how many there are."""
        repeats = self._repeats
        return sum(len(repeats.release(row, None)) for row in rows) if repeats is not None else 0

    async def unanswered(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that must be sent."""
        unique = await self._without_repeats(self._repeats, rows) if self._repeats is not None else list(rows)
        return await self._without_cached(self._cache, unique) if self._cache is not None and unique else unique

    async def _without_repeats(self, repeats: Repeats, rows: Sequence[Row]) -> list[Row]:
        unique, doubtful = list[Row](), list[Row]()
        for row in rows:
            may_repeat = repeats.may_repeat(row)
            if may_repeat and await self._is_repeat(repeats, row):
                continue
            if may_repeat and repeats.find_saved is not None:
                doubtful.append(row)
            else:
                repeats.lead(row)
                unique.append(row)
        if doubtful:
            unique += await self._without_saved(repeats, doubtful)
        return unique

    async def _is_repeat(self, repeats: Repeats, row: Row) -> bool:
        """Give the row the outcome of an identical row, or let it wait for that. Returns False if there is none."""
        outcome = repeats.outcome_of(row)
        if outcome is not None:
            await self._saver.copied(row, outcome)
            return True
        return repeats.is_open(row) and repeats.wait(row)

    async def _without_saved(self, repeats: Repeats, rows: Sequence[Row]) -> list[Row]:
        """Give the rows the saved answers of identical rows. Returns the others."""
        find = repeats.find_saved
        assert find is not None, "only a run that saves answers looks for them"
        found = await DISK.run(lambda: [find(row) for row in rows])
        others: list[Row] = []
        for row, finished in zip(rows, found, strict=True):
            if finished is not None:
                await self._saver.resumed(SavedRow(row, finished), reused="duplicate")
            elif not await self._is_repeat(repeats, row):
                repeats.lead(row)
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
