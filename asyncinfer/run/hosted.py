"""An async iterator whose work lives in a task of its own.

An async generator that yields inside a task group breaks cancel scopes (PEP 789): the group's scope
would be entered in one caller's context and left in another's. Here the group lives in the host task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")


def _ignore() -> None:
    pass


class Mailbox(Generic[T]):
    """Where the host task leaves items for the iterator. It refers to neither."""

    def __init__(self) -> None:
        self._items: deque[tuple[T, Callable[[], None]]] = deque()
        self._news = anyio.Event()

    def emit(self, item: T, taken: Callable[[], None] = _ignore) -> None:
        """Leave an item; never waits. `taken` is called when the iterator hands it out."""
        self._items.append((item, taken))
        self.wake()

    def wake(self) -> None:
        self._news.set()

    def take(self) -> tuple[T, Callable[[], None]] | None:
        return self._items.popleft() if self._items else None

    async def news(self) -> None:
        """Wait for the next item or the end."""
        await self._news.wait()
        self._news = anyio.Event()


class Hosted(Generic[T]):
    """Iterates over what `work(mailbox)` emits. The work starts with the first use of the iterator.

    Leaving the context, closing, or dropping the iterator cancels the work; the first two wait for it.
    """

    def __init__(self, work: Callable[[Mailbox[T]], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._mailbox: Mailbox[T] | None = None
        self._host: asyncio.Task[None] | None = None

    def __aiter__(self) -> Hosted[T]:
        return self

    async def __anext__(self) -> T:
        mailbox, host = self._started()
        while (post := mailbox.take()) is None:
            if host.done():
                if not host.cancelled() and (error := host.exception()) is not None:
                    raise error
                raise StopAsyncIteration
            await mailbox.news()
        item, taken = post
        taken()
        return item

    async def aclose(self) -> None:
        """Cancel what is still running, and wait for it. Nothing that was saved is lost."""
        if self._host is None:
            self._work = _finished
            return
        self._host.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._host])
        if not self._host.cancelled():
            self._host.exception()  # an error of work that nobody waits for any more is not reported

    async def __aenter__(self) -> Hosted[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        host = self._host
        if host is not None and not host.done() and not host.get_loop().is_closed():
            host.get_loop().call_soon_threadsafe(host.cancel)

    def _started(self) -> tuple[Mailbox[T], asyncio.Task[None]]:
        if self._host is None or self._mailbox is None:
            mailbox = self._mailbox = Mailbox[T]()
            self._host = asyncio.create_task(self._work(mailbox))
            self._host.add_done_callback(lambda _: mailbox.wake())
        return self._mailbox, self._host


async def _finished(_: object) -> None:
    pass
