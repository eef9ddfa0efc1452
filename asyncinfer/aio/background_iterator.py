"""An async iterator whose items are produced by a background task.

An async generator that yields inside a task group breaks cancel scopes (PEP 789): the scope of the group is entered in
the context of one caller, and may be left in that of another. Here the task group is inside the background task.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar
from weakref import ReferenceType, ref

import anyio

from asyncinfer.aio.event_loop import running_loop
from asyncinfer.aio.exits import original, without_exit
from asyncinfer.errors import UnexpectedCancellationError

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

# Strong references to the running tasks. The event loop keeps only weak references, and an iterator may be dropped.
_running: set[asyncio.Task[None]] = set()


def _ignore() -> None:
    pass


class Channel(Generic[T]):
    """A queue from the background task to the iterator. It refers to neither, so it is not part of a cycle."""

    def __init__(self) -> None:
        self._items: deque[tuple[T, Callable[[], None]]] = deque()
        self._changed: anyio.Event | None = None

    def send(self, item: T, taken: Callable[[], None] = _ignore) -> None:
        """Add an item. Never waits. `taken` is called when the iterator returns the item."""
        self._items.append((item, taken))
        self.wake()

    def wake(self) -> None:
        """Wake all waiting readers."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def receive_nowait(self) -> tuple[T, Callable[[], None]] | None:
        """The next item and its `taken`; None if the queue is empty."""
        return self._items.popleft() if self._items else None

    async def wait(self) -> None:
        """Wait for the next `send` or `wake`."""
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()


class BackgroundIterator(Generic[T]):
    """Iterates over what `work(channel)` sends. The work starts with the first read, on the event loop of that read.

    The work is cancelled as soon as

    - the iterator is closed, or its context is left; both wait until the work has ended;
    - a read is cancelled; the read waits until the work has ended, and the iterator ends;
    - the task that read last fails or is cancelled;
    - the iterator is dropped, on any thread.

    Rows that are already saved stay saved.
    """

    def __init__(self, work: Callable[[Channel[T]], Coroutine[Any, Any, None]]) -> None:
        self._work: Callable[[Channel[T]], Coroutine[Any, Any, None]] | None = work
        self._channel = Channel[T]()
        self._task: asyncio.Task[None] | None = None
        self._reader: ReferenceType[asyncio.Task[Any]] | None = None
        self._cancelled = False
        self._closed = False

    def __aiter__(self) -> BackgroundIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            UnexpectedCancellationError: Other code cancelled the work.
            RuntimeError: The last read, or its task, was cancelled or failed; or the first read was on another event
                loop.
            Exception: The work failed.
        """
        if self._work is not None and not self._closed:
            self._start(self._work)
        self._note_reader()
        while (entry := self._channel.receive_nowait()) is None or self._closed:
            if self._task is None or self._task.done() or self._closed:
                self._end()
            try:
                await self._channel.wait()
            except asyncio.CancelledError:
                await self._stop()
                raise
        item, taken = entry
        taken()
        return item

    async def read_ready(self) -> list[T]:
        """Wait for the next item, and return it with all further items that are ready.

        Returns:
            The items in their order; an empty list at the end.

        Raises:
            Exception: As `__anext__`.
        """
        try:
            items = [await self.__anext__()]
        except StopAsyncIteration:
            return []
        while not self._closed and (entry := self._channel.receive_nowait()) is not None:
            item, taken = entry
            taken()
            items.append(item)
        return items

    async def aclose(self) -> None:
        """Cancel the work if it still runs, and wait until it has ended. On another event loop, do not wait."""
        self._closed = True
        await self._stop()

    async def __aenter__(self) -> BackgroundIterator[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._cancel()

    @staticmethod
    def _reader_done(iterator: ReferenceType[BackgroundIterator[Any]], reader: asyncio.Task[Any]) -> None:
        """Cancel the work if the task that read last has failed: its exception may keep the iterator alive."""
        alive = iterator()
        if alive is None or alive._reader is None or alive._reader() is not reader:
            return
        # `reader.exception()` would count as retrieving the exception, and asyncio would no longer report it.
        if reader.cancelled() or getattr(reader, "_exception", None) is not None:
            alive._cancel()

    def _start(self, work: Callable[[Channel[T]], Coroutine[Any, Any, None]]) -> None:
        loop, self._work = running_loop(), None
        self._task = task = loop.create_task(without_exit(work, self._channel))
        _running.add(task)
        task.add_done_callback(partial(_work_done, self._channel))

    def _note_reader(self) -> None:
        """Make sure that the work is cancelled if the current task fails or is cancelled between two reads."""
        reader = asyncio.current_task()
        if reader is None or (self._reader is not None and self._reader() is reader):
            return
        if self._task is not None and self._task.get_loop() is not reader.get_loop():
            raise RuntimeError("this iterator was started on another event loop; use one iterator per loop")
        self._reader = ref(reader)
        reader.add_done_callback(partial(self._reader_done, ref(self)))

    def _end(self) -> NoReturn:
        """Raise the error of the work the first time, and StopAsyncIteration afterwards."""
        task, self._task = self._task, None
        if task is None or self._closed:
            raise StopAsyncIteration
        if self._cancelled:
            self._task = task
            raise RuntimeError("the last read of this iterator, or the task that read, was cancelled; create a new one")
        if task.cancelled():
            raise UnexpectedCancellationError("the task of this iterator was cancelled by other code")
        error = task.exception()
        try:
            raise StopAsyncIteration if error is None else original(error)
        finally:
            del error, task  # The error's traceback refers to this frame. Break the reference cycle.

    async def _stop(self) -> None:
        """Cancel the work, if it was started, and wait until it has ended."""
        task = self._task
        if task is None:
            return
        if task.get_loop() is not asyncio.get_running_loop():
            self._cancel()
            return
        if not self._cancelled:
            self._cancelled = True
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])

    def _cancel(self) -> None:
        """Schedule the cancellation of the work. May be called on any thread, and by the garbage collector."""
        task = self._task
        if task is None or task.done() or self._cancelled:
            return
        self._cancelled = True
        with suppress(RuntimeError):  # The loop is closed.
            task.get_loop().call_soon_threadsafe(task.cancel)


def _work_done(channel: Channel[Any], task: asyncio.Task[None]) -> None:
    """Wake the readers, so that they see the end of the work."""
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        # The next read raises the error. Log it, because there may be no next read.
        log.debug("the work of an iterator failed: %r", error)
    channel.wake()
