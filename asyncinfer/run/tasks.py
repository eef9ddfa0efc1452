"""Task groups that raise what went wrong and not a group of it, and long work in short slices."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

_SLICE_SECONDS = 0.05

P = ParamSpec("P")
T = TypeVar("T")


@asynccontextmanager
async def task_group() -> AsyncGenerator[TaskGroup]:
    """`anyio.create_task_group()`; when tasks fail, the first error is raised by itself."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise _first(group) from None


def sheltered(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have each call run in a task of its own.

    A shielded scope holds off the cancellation of scopes around it, but not `Task.cancel()` of the task
    it is in, as `asyncio.timeout` does it. The caller's task hands that on as a cancelled scope.
    """

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        results: list[T] = []

        async def work() -> None:
            results.append(await function(*args, **kwargs))

        async with task_group() as tasks:
            tasks.start_soon(work)
        return results[0]

    return call


def cancellation_was_asked() -> bool:
    """Whether the CancelledError at hand is this task's own. Awaiting a future that somebody else cancelled
    raises one too, and a task group would take it for its own cancellation and end without a word.
    """
    task = asyncio.current_task()
    return (task is not None and task.cancelling() > 0) or anyio.current_effective_deadline() == -math.inf


async def in_slices(work: Generator[object]) -> None:
    """Exhaust `work` in a worker thread, a slice at a time, so that a cancellation waits for one slice only."""

    def some() -> bool:
        deadline = perf_counter() + _SLICE_SECONDS
        return any(perf_counter() > deadline for _ in work)

    ended = False
    try:
        while await to_thread.run_sync(some):
            pass
        ended = True
    finally:
        if not ended:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(work.close)  # which may remove a file


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return error
