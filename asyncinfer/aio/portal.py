"""Runs async functions for blocking callers, on one event loop in one thread: the portal.

The blocking twins of the async methods use it. The portal starts with the first call, and serves all engines of the
process. It stops when the program has ended: when the main thread, and every other thread that keeps the process alive,
has ended. So a program that closes nothing exits at once.

After that, Python 3.12 cannot start threads, and starting one while modules are torn down may hang. So

- a call in an `atexit` handler runs on an event loop in the calling thread;
- a call while modules are torn down is an error;
- a cleanup while modules are torn down does nothing, because its resources are already freed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

# Name prefixes of helper threads. They are not part of the program: they only end after it.
_OWN = "asyncinfer-"
_HELPERS = (_OWN, "AnyIO worker thread")

_portals: dict[int, _Portal] = {}  # By process id: a forked child does not have the threads of its parent.
_at_end: dict[int, Callable[[], object]] = {}
_ids = itertools.count()
_lock = threading.RLock()
_watcher: threading.Thread | None = None
_ended = threading.Event()


def call(function: Callable[[], Awaitable[T]]) -> T:
    """Run `await function()` on the portal's loop, and wait for the result.

    An interrupt of the waiting thread (Ctrl-C) cancels the work. It is raised after the work has ended.

    Raises:
        RuntimeError: The interpreter is shutting down, or this is the portal's own thread.
    """
    portal = _running_portal()
    return _run_here(function) if portal is None else portal.call(function)


def run_cleanup(function: Callable[[], Awaitable[object]]) -> None:
    """Run a cleanup on the portal's loop, and wait for it. Destructors may call this on any thread and at any time.

    Does nothing while the interpreter shuts down. On a thread of this package it does not wait, because the cleanup may
    wait for that thread.
    """
    if sys.is_finalizing():
        return
    portal = _running_portal()
    if portal is None:
        _run_here(function)
    else:
        portal.run_cleanup(function)


def iterate(make: Callable[[], AbstractAsyncContextManager[AsyncIterator[T]]]) -> Iterator[T]:
    """Iterate, from blocking code, over the async stream that `make()` opens on the portal's loop.

    Raises:
        RuntimeError: The program has ended since the first item, or this process was forked since then.
    """
    portal = _running_portal()
    if portal is None:
        yield from _run_here(lambda: _all_of(make))
        return

    async def opened() -> tuple[AbstractAsyncContextManager[AsyncIterator[T]], AsyncIterator[T]]:
        stream = make()
        return stream, await stream.__aenter__()

    stream, items = portal.call(opened)
    end = object()

    async def step() -> T | object:
        return await anext(items, end)

    try:
        while (item := portal.call(step)) is not end:
            yield cast(T, item)
    finally:
        portal.run_cleanup(lambda: stream.__aexit__(None, None, None))


def at_program_end(callback: Callable[[], object]) -> Callable[[], None]:
    """Call `callback` once the program has ended, before the interpreter waits for the threads of this package.

    `atexit` is too late: its handlers run after the interpreter has waited for these threads.

    Returns:
        A function that cancels the registration.

    Raises:
        RuntimeError: Python can no longer start threads.
    """
    global _watcher
    key = next(_ids)
    with _lock:
        if _watcher is None:
            watcher = threading.Thread(target=_wait_for_program_end, name=f"{_OWN}exit", daemon=True)
            watcher.start()
            _watcher = watcher
        _at_end[key] = callback

    def unregister() -> None:
        _at_end.pop(key, None)

    return unregister


def program_has_ended() -> bool:
    """Whether every thread of the program has ended. After that, no thread may be started."""
    if _ended.is_set() or sys.is_finalizing():
        return True
    return not threading.main_thread().is_alive() and not _program_threads()


class _Raised(NamedTuple):
    """An exception that is not an Exception, such as SystemExit."""

    error: BaseException


class _Portal:
    """One event loop in one thread, for one process."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._started: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]] = Future()
        self._starter: int | None = None
        self._thread = threading.Thread(target=anyio.run, args=(self._serve,), name=f"{_OWN}sync", daemon=False)
        self._cleanups: set[asyncio.Task[None]] = set()

    def start(self) -> bool:
        """Start the thread if it has not started yet. Returns whether it runs."""
        with self._lock:
            if self._starter is None:
                self._starter = threading.get_ident()
                try:
                    self._thread.start()
                    at_program_end(self._stop)
                except RuntimeError:  # Python can no longer start threads.
                    self._starter = None
                    if self._thread.ident is not None:
                        self._stop()
                    return False
        return True

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        if not self._usable:
            raise RuntimeError("this stream ended with the program, or it belongs to the parent of this forked process")
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("a blocking method cannot be called on its own event loop; await the async method")
        ended = threading.Event()

        async def work() -> T | _Raised:
            try:
                return await function()
            except (Exception, asyncio.CancelledError):
                raise
            except BaseException as error:  # The portal would end with it.
                return _Raised(error)
            finally:
                ended.set()

        future: Future[T | _Raised] = self._started.result()[0].start_task_soon(work)
        try:
            result = future.result()
        except BaseException:
            # A cancelled future is done at once. Its work may still run.
            if future.cancel() or future.cancelled():
                ended.wait()
            raise
        if isinstance(result, _Raised):
            raise result.error
        return result

    def run_cleanup(self, function: Callable[[], Awaitable[object]]) -> None:
        if not self._usable:
            return
        # The garbage collector may run a destructor on any thread, even on the thread that is just starting the portal.
        is_starting = self._starter == threading.get_ident() and not self._started.done()
        if is_starting or _on_own_thread():
            self._started.add_done_callback(lambda started: self._start_cleanup(started.result()[1], function))
        else:
            self.call(function)

    @property
    def _usable(self) -> bool:
        return self._process == os.getpid() and not program_has_ended()

    def _start_cleanup(self, loop: asyncio.AbstractEventLoop, function: Callable[[], Awaitable[object]]) -> None:
        async def work() -> None:
            try:
                await function()
            except Exception as error:
                log.warning("a cleanup failed: %r", error)

        def begin() -> None:
            task = loop.create_task(work())
            self._cleanups.add(task)
            task.add_done_callback(self._cleanups.discard)

        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(begin)

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            self._started.set_result((portal, asyncio.get_running_loop()))
            await portal.sleep_until_stopped()

    def _stop(self) -> None:
        portal = self._started.result()[0]
        with suppress(RuntimeError):  # It has stopped already.
            portal.start_task_soon(portal.stop, True)


def _running_portal() -> _Portal | None:
    """The portal of this process, started on first use; None once threads can no longer be started."""
    if sys.is_finalizing():
        raise RuntimeError("the interpreter is shutting down and can no longer run an event loop")
    if program_has_ended():
        return None
    portal = _portals.get(os.getpid()) or _portals.setdefault(os.getpid(), _Portal())
    return portal if portal.start() else None


def _run_here(function: Callable[[], Awaitable[T]]) -> T:
    async def work() -> T:
        return await function()

    return anyio.run(work)


async def _all_of(make: Callable[[], AbstractAsyncContextManager[AsyncIterator[T]]]) -> list[T]:
    async with make() as items:
        return [item async for item in items]


def _wait_for_program_end() -> None:
    threading.main_thread().join()
    while threads := _program_threads():
        threads[0].join()
    _ended.set()
    for callback in list(_at_end.values()):
        try:
            callback()
        except Exception as error:
            log.warning("a cleanup at the end of the program failed: %r", error)


def _on_own_thread() -> bool:
    # `current_thread` would create a thread object for a thread that is already ending.
    here = threading.get_ident()
    return any(thread.ident == here and thread.name.startswith(_OWN) for thread in threading.enumerate())


def _program_threads() -> list[threading.Thread]:
    """The threads that the interpreter waits for, without the main thread and the helper threads."""
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return [one for one in others if not one.daemon and one.is_alive() and not one.name.startswith(_HELPERS)]


def _forget_threads() -> None:
    """Reset the module in a forked child, which does not have the threads of its parent."""
    global _lock, _watcher, _ended
    _lock, _watcher, _ended = threading.RLock(), None, threading.Event()
    _portals.clear()
    _at_end.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
