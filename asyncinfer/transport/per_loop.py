"""Keeps one resource for each event loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from asyncinfer.aio.event_loop import running_loop


class LoopResource(Protocol):
    """A resource that belongs to one event loop, such as its connections."""

    async def open(self) -> None:
        """Called once, on its loop, before it is used."""
        ...

    async def aclose(self) -> None:
        """Close it on its loop."""
        ...

    def drop(self) -> None:
        """Close it without waiting. Its loop may have ended."""
        ...


T = TypeVar("T", bound=LoopResource)


class PerLoop(Generic[T]):
    """A resource for each event loop, opened when the loop first needs it.

    Resources are closed by `aclose`, and when this object is garbage-collected.

    Args:
        make: Makes the resource of a loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}
        weakref.finalize(self, _abandon, self._by_loop)

    async def get(self) -> T:
        """The resource of the running loop, opened at first use."""
        return self._by_loop.get(running_loop()) or await self._open()

    def opened(self) -> T | None:
        """The resource of the running loop; None if it has not been opened."""
        return self._by_loop.get(asyncio.get_running_loop())

    async def _open(self) -> T:
        resource = self._make()
        await resource.open()
        with self._lock:
            for loop in [loop for loop in self._by_loop if loop.is_closed()]:
                self._by_loop.pop(loop).drop()
            self._by_loop[asyncio.get_running_loop()] = resource
        return resource

    async def aclose(self) -> None:
        """Close the resources of all loops."""
        with self._lock:
            own = self._by_loop.pop(running_loop(), None)
            # Not awaited: another loop may be blocked by a blocking method that waits for this loop.
            _abandon(self._by_loop)
        if own is not None:
            await own.aclose()


def _abandon(resources: dict[asyncio.AbstractEventLoop, T]) -> None:
    """Close resources without waiting. Called from any thread."""
    for loop, resource in list(resources.items()):
        if loop.is_running():
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(resource.drop)
        else:
            resource.drop()
    resources.clear()
