"""Async iteration over any iterable. An iterator that may block runs in a separate thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from queue import SimpleQueue
from typing import Generic, TypeVar

from asyncinfer.aio.tasks import foreign_code

T = TypeVar("T")

# The next item in a tuple, or None at the end; and the exception that the source raised, if any.
_Result = tuple[tuple[T] | None, BaseException | None]


async def iterate(source: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T]:
    """Iterate over any iterable. One that is neither async nor a sequence runs in a separate thread.

    If the caller stops while the source blocks, the thread is abandoned. It keeps neither the event loop nor the
    process alive.
    """
    if isinstance(source, AsyncIterable):
        items, end = aiter(source), _End()
        while not isinstance(item := await _next(items, end), _End):
            yield item
    elif isinstance(source, Sequence):
        for item in source:
            yield item
    else:
        thread = _IteratorThread(iter(source))
        try:
            while (item := await thread.next()) is not None:
                yield item[0]
        finally:
            thread.stop()


async def first_of(source: Iterable[T] | AsyncIterable[T], count: int) -> AsyncGenerator[T]:
    """Iterate as `iterate` does over the first `count` items. No further item is read."""
    async with aclosing(iterate(source)) as items:
        async for item in items:
            yield item
            count -= 1
            if not count:
                return


class _End:
    """Marks the end of the items."""


async def _next(items: AsyncIterator[T], end: _End) -> T | _End:
    """The next item, or `end`.

    Exceptions of the source must not act as control flow: after a GeneratorExit, the generator that awaits this
    function could not be closed.
    """
    with foreign_code("the source"):
        return await anext(items, end)


class _IteratorThread(Generic[T]):
    """Advances an iterator in one thread, one item per call of `next`."""

    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator
        self._requests: SimpleQueue[asyncio.Future[_Result[T]] | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="asyncinfer-source", daemon=True).start()

    async def next(self) -> tuple[T] | None:
        """The next item, in a tuple; None at the end."""
        result: asyncio.Future[_Result[T]] = asyncio.get_running_loop().create_future()
        self._requests.put(result)
        item, error = await result
        if error is not None:
            with foreign_code("the source"):
                raise error
        return item

    def stop(self) -> None:
        """End the thread once the iterator no longer blocks."""
        self._requests.put(None)

    def _serve(self) -> None:
        while (result := self._requests.get()) is not None:
            item, error = None, None
            try:
                item = (next(self._iterator),)
            except StopIteration:
                pass
            except BaseException as raised:
                error = raised
            try:
                result.get_loop().call_soon_threadsafe(_set_result, result, item, error)
            except RuntimeError:
                return  # The loop is closed, so nobody waits for the item.


def _set_result(result: asyncio.Future[_Result[T]], item: tuple[T] | None, error: BaseException | None) -> None:
    # The error is part of the result. As the future's exception, a GeneratorExit would close the coroutines that await
    # the future.
    if not result.done():
        result.set_result((item, error))
