"""Tasks that are used again: starting one costs ten times what handing it a row does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from asyncinfer.run.rows import Row

# After so many rows a task lets others run. An engine that answers without waiting would keep the loop busy.
_IN_A_ROW = 20


class Workers:
    """Runs `work(row)` for each row that is started, in as many tasks as are busy at once. A task that has
    done its row takes the one that `more()` has for it.
    """

    def __init__(
        self, tasks: TaskGroup, work: Callable[[Row], Awaitable[None]], more: Callable[[], Row | None]
    ) -> None:
        self._tasks, self._work, self._more = tasks, work, more
        # Rows that were given to a task that has not started on them. The task may be cancelled before that.
        self._handed: dict[int, Row] = {}
        self._idle: list[asyncio.Future[Row | None]] = []
        self._released = False

    def start(self, row: Row) -> None:
        """Have `row` worked on; never waits."""
        self._handed[row.index] = row
        while self._idle:
            waiting = self._idle.pop()
            if not waiting.done():
                waiting.set_result(row)
                return
        self._tasks.start_soon(self._serve, row)

    @property
    def handed(self) -> list[Row]:
        """The rows that no task has started on. After the end of the task group, no task ever will."""
        return list(self._handed.values())

    def release(self) -> None:
        """Let every task end once it is idle."""
        self._released = True
        for waiting in self._idle:
            if not waiting.done():
                waiting.set_result(None)
        self._idle.clear()

    async def _serve(self, row: Row | None) -> None:
        loop, done = asyncio.get_running_loop(), 0
        while row is not None:
            self._handed.pop(row.index, None)
            await self._work(row)
            done += 1
            if not done % _IN_A_ROW:
                await asyncio.sleep(0)
            row = self._more()
            if row is None and not self._released:
                waiting: asyncio.Future[Row | None] = loop.create_future()
                self._idle.append(waiting)
                row = await waiting
