"""Iterate over anything from async code. What may block runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from asyncinfer.aio.tasks import foreign_code

T = TypeVar("T")

# The next item, None at the end; or what the source raised.
_Pulled = tuple[tuple[T] | None, BaseException | None]


async def iterate(source: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T]:
    """Iterate over any iterable; one that is not async, nor in memory, is advanced in a thread of its own.

    Leaving while the source blocks leaves the thread to it; that keeps neither the loop nor the process.
    """
    if isinstance(source, AsyncIterable):
        items, end = aiter(source), _End()
        while not isinstance(item := await _next(items, end), _End):
            yield item
    elif isinstance(source, Sequence):
        for item in source:
            yield item
    else:
        pull = _Pull(iter(source))
        try:
            while (item := await pull.next()) is not None:
                yield item[0]
        finally:
            pull.stop()


class _End:
    """Comes after the last item."""


async def _next(items: AsyncIterator[T], end: _End) -> T | _End:
    """The next item. What the source raises may not look like an end of the generator that awaits this: after a
    GeneratorExit it could not be closed.
    """
    with foreign_code("the source"):
        return await anext(items, end)


class _Pull(Generic[T]):
    """Advances an iterator in one thread, an item at a time, when asked to."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator
        self._wanted: SimpleQueue[asyncio.Future[_Pulled[T]] | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="asyncinfer-source", daemon=True).start()

    async def next(self) -> tuple[T] | None:
        """The next item, in a tuple; None at the end."""
        answer: asyncio.Future[_Pulled[T]] = asyncio.get_running_loop().create_future()
        self._wanted.put(answer)
        item, error = await answer
        if error is not None:
            with foreign_code("the source"):
                raise error
        return item

    def stop(self) -> None:
        self._wanted.put(None)

    def _serve(self) -> None:
        while (answer := self._wanted.get()) is not None:
            item, error = None, None
            try:
                item = (next(self._iterator),)
            except StopIteration:
                pass
            except BaseException as raised:
                error = raised
            try:
                answer.get_loop().call_soon_threadsafe(_settle, answer, item, error)
            except RuntimeError:
                return  # The loop is closed: nobody waits any more.


def _settle(answer: asyncio.Future[_Pulled[T]], item: tuple[T] | None, error: BaseException | None) -> None:
    # As the exception of the future, a GeneratorExit would close the coroutines that await it.
    if not answer.done():
        answer.set_result((item, error))
