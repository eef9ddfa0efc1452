"""The blocking twins of the async methods, made by one mechanism: a portal to one loop in one thread.

The loop starts with the first call, serves every engine of the process, and stops when the main
thread ends, so that a program which closes nothing still exits at once.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

T = TypeVar("T")

_lock = threading.Lock()
_portal: BlockingPortal | None = None
_users = 0
_at_exit: dict[int, Callable[[], object]] = {}
_tickets = itertools.count()
_watcher: threading.Thread | None = None


def at_main_exit(callback: Callable[[], object]) -> Callable[[], None]:
    """Call `callback` when the main thread ends, before the interpreter waits for other threads.

    `atexit` comes too late for that: it runs after the threads that need the signal were joined.
    Returns a function that takes the registration back.
    """
    global _watcher
    ticket = next(_tickets)
    with _lock:
        _at_exit[ticket] = callback
        if _watcher is None:
            _watcher = threading.Thread(target=_watch_main, name="asyncinfer-exit", daemon=True)
            _watcher.start()

    def unregister() -> None:
        _at_exit.pop(ticket, None)

    return unregister


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _lock, _portal, _users, _watcher
    _lock, _portal, _users, _watcher = threading.Lock(), None, 0, None
    _at_exit.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _watch_main() -> None:
    threading.main_thread().join()
    for callback in list(_at_exit.values()):
        callback()


def call(function: Callable[[], Awaitable[T]]) -> T:
    """Run `await function()` on the portal's loop and wait for it.

    An interrupt of the waiting thread (Ctrl-C) cancels the work, and is raised once that has wound up.
    """
    wound_up = threading.Event()

    async def work() -> T:
        try:
            return await function()
        finally:
            wound_up.set()

    with _portal_in_use() as portal:
        future: Future[T] = portal.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            # A cancelled future is done at once, the work behind it is not.
            if future.cancel() or future.cancelled():
                wound_up.wait()
            raise


@contextmanager
def _portal_in_use() -> Generator[BlockingPortal]:
    """The process's portal, started on first use. Once the main thread has ended it stops with its last call."""
    global _portal, _users
    with _lock:
        _users += 1
        fresh = _portal is None
        if _portal is None:
            started: Future[BlockingPortal] = Future()
            threading.Thread(target=anyio.run, args=(_serve, started), name="asyncinfer-sync").start()
            _portal = started.result()
        portal = _portal
    if fresh:
        at_main_exit(_stop_if_unused)
    try:
        yield portal
    finally:
        with _lock:
            _users -= 1
        if not threading.main_thread().is_alive():
            _stop_if_unused()


def _stop_if_unused() -> None:
    global _portal
    with _lock:
        if _users or _portal is None:
            return
        portal, _portal = _portal, None
    portal.start_task_soon(portal.stop, True)


async def _serve(started: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as own:
        started.set_result(own)
        await own.sleep_until_stopped()


def iterate(make: Callable[[], AbstractAsyncContextManager[AsyncIterator[T]]]) -> Iterator[T]:
    """Iterate, from blocking code, over the async stream that `make()` opens on the portal's loop."""

    async def opened() -> tuple[AbstractAsyncContextManager[AsyncIterator[T]], AsyncIterator[T]]:
        stream = make()
        return stream, await stream.__aenter__()

    stream, items = call(opened)
    end = object()

    async def step() -> T | object:
        return await anext(items, end)

    try:
        while (item := call(step)) is not end:
            yield cast(T, item)
    finally:
        call(lambda: stream.__aexit__(None, None, None))
