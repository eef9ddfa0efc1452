"""The rows of one client in a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import anyio

from asyncinfer.aio.tasks import foreign_code
from asyncinfer.distributed.wire import Answer, RowEvent, RowRequest, StreamEnd, portable
from asyncinfer.run.bound_engine import BoundEngine, CallSettings
from asyncinfer.types.stream import StreamDelta

# Results wait this long for others while more rows are in progress, so that fewer calls are made (seconds).
_LINGER = 0.01
# The most calls whose settings a session keeps. If more come, it forgets the others, and the client sends them again.
MOST_CALLS = 64


class ReplicaEngine(Protocol):
    """What a replica needs of an engine."""

    def bind(self, settings: CallSettings) -> BoundEngine:
        """The engine with the settings of one call."""
        ...

    async def aclose(self) -> None:
        """Free the model or the connections."""
        ...


class Recipe(Protocol):
    """What builds an engine in any process. It can be pickled."""

    def build(self) -> ReplicaEngine: ...


class Session:
    """Makes one attempt at each row, and keeps the results until they are collected.

    The rows of a session run in tasks of their own, because a row lasts longer than the call that submits it. `close`
    cancels them.
    """

    def __init__(self, engine: ReplicaEngine) -> None:
        self._engine = engine
        self._bound: dict[int, BoundEngine] = {}
        self._settings: dict[int, CallSettings] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._events: list[tuple[int, RowEvent]] = []
        self._is_streaming = False
        self._changed = anyio.Event()

    def submit(self, rows: Sequence[RowRequest], calls: Mapping[int, CallSettings]) -> None:
        """Start to answer rows. `calls`: the settings of calls that this session does not know yet."""
        if len(self._settings) + len(calls) > MOST_CALLS:
            self._settings.clear()
            self._bound.clear()
        self._settings.update(calls)
        for row in rows:
            self._tasks[row.number] = asyncio.create_task(self._run(row))

    def abort(self, numbers: Sequence[int]) -> None:
        """Cancel rows. They have no further event."""
        for number in numbers:
            task = self._tasks.pop(number, None)
            if task is not None:
                task.cancel()

    async def collect(self, patience: float) -> list[tuple[int, RowEvent]]:
        """Return the events since the last call. Wait up to `patience` seconds for the first one."""
        if not self._events:
            with anyio.move_on_after(patience):
                await self._changed.wait()
        if self._events and self._tasks and not self._is_streaming:
            await anyio.sleep(_LINGER)
        events, self._events = self._events, []
        self._changed, self._is_streaming = anyio.Event(), False
        return events

    async def close(self) -> None:
        """Cancel all rows, and wait until they have ended."""
        tasks = list(self._tasks.values())
        self.abort(list(self._tasks))
        await asyncio.gather(*tasks, return_exceptions=True)
        self._changed.set()

    async def _run(self, row: RowRequest) -> None:
        try:
            with foreign_code("the engine", may_exit=False):
                await self._answer(row)
        except Exception as error:
            self._add(row.number, portable(error))

    async def _answer(self, row: RowRequest) -> None:
        bound = self._bound_to(row.call).at(row.endpoint)
        if not row.is_stream:
            completion = await bound.generate(row.conversation)
            self._add(row.number, Answer(completion, bound.dropped_parameters))
            return
        async for part in bound.stream(row.conversation):
            self._add(row.number, part)
        self._add(row.number, StreamEnd())

    def _bound_to(self, call: int) -> BoundEngine:
        if call not in self._bound:
            self._bound[call] = self._engine.bind(self._settings[call])
        return self._bound[call]

    def _add(self, number: int, event: RowEvent) -> None:
        if number not in self._tasks:
            return  # The row was aborted.
        if isinstance(event, Answer | StreamEnd | Exception):
            del self._tasks[number]
        self._is_streaming |= isinstance(event, StreamDelta)
        self._events.append((number, event))
        self._changed.set()
