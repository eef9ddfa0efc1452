"""Task groups that raise single errors, work that may end early, cleanups, foreign code, and work in short slices."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from functools import wraps
from inspect import iscoroutine
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, cast

import anyio
from anyio.abc import TaskGroup

from asyncinfer.aio.exits import original, without_exit
from asyncinfer.aio.limiters import DISK
from asyncinfer.errors import UnexpectedCancellationError

log = logging.getLogger("asyncinfer")

_SLICE_SECONDS = 0.05
_RESUME = "Saved rows stay saved; run it again to resume"

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Tasks:
    """The tasks of a group."""

    def __init__(self, group: TaskGroup) -> None:
        self._group, self.cancel_scope = group, group.cancel_scope

    def start_soon(self, function: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Start a task that runs `await function(*args)`."""
        name = getattr(function, "__qualname__", None)
        self._group.start_soon(without_exit, function, *args, name=name)


@asynccontextmanager
async def task_group() -> AsyncGenerator[Tasks]:
    """As `anyio.create_task_group()`, but raises the first error of the tasks instead of an exception group.

    SystemExit and KeyboardInterrupt of a task are raised here too, after the other tasks have ended. They do not stop
    the event loop.

    In anyio, a child task that ends with a CancelledError ends the group without an error, and its body stops early.
    Here that is an error, unless a scope around the group was cancelled. To cancel the body, put a scope around the
    group.

    Raises:
        UnexpectedCancellationError: The body stopped early although the caller was not cancelled.
    """
    complete = False
    try:
        async with anyio.create_task_group() as group:
            yield Tasks(group)
            complete = True
    except BaseExceptionGroup as group:
        raise original(_first(group)) from None
    if not complete:
        raise UnexpectedCancellationError(f"a part of this work was cancelled by other code. {_RESUME}")


async def done_before(
    end: Callable[[], Awaitable[object]],
    work: Callable[[], Awaitable[object]],
    scope: anyio.CancelScope | None = None,
) -> bool:
    """Do `work` until it is completed or `end` returns. Then the other one is cancelled.

    Args:
        scope: The scope in which `work` is done, and which is not entered yet. Others may cancel it too.

    Returns:
        Whether `work` was completed.
    """
    scope, is_complete = scope or anyio.CancelScope(), False

    async def wait() -> None:
        await end()
        scope.cancel()

    with scope:
        async with task_group() as tasks:
            tasks.start_soon(wait)
            await work()
            is_complete = True
            tasks.cancel_scope.cancel()
    return is_complete


def in_own_task(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A decorator that runs each call in a new task.

    A shielded scope blocks the cancellation of scopes around it, but not a `Task.cancel()` of its own task, which
    `asyncio.timeout` uses. With a new task, such a cancellation reaches the call as a cancelled scope.
    """

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        results: list[T] = []

        async def work() -> None:
            results.append(await function(*args, **kwargs))

        async with task_group() as tasks:
            tasks.start_soon(work)
        if not results:
            raise UnexpectedCancellationError(f"the task of this work was cancelled by other code. {_RESUME}")
        return results[0]

    return call


def cancellation_was_requested() -> bool:
    """Whether the CancelledError that is being handled is a cancellation of this task.

    Awaiting a future that other code has cancelled raises a CancelledError, too. A task group would mistake it for
    its own cancellation, and end without an error.
    """
    task = asyncio.current_task()
    return (task is not None and task.cancelling() > 0) or anyio.current_effective_deadline() == -math.inf


class foreign_code:
    """A context for code of the user or of a plugin. Its exceptions must not act as control flow in this package.

    CancelledError, GeneratorExit, StopIteration and StopAsyncIteration would end tasks and iterations without an error.
    Here they become errors if the code raised them by itself. So does any other BaseException that is not an Exception,
    such as a panic of an extension in Rust. KeyboardInterrupt passes unchanged.

    Args:
        may_exit: SystemExit passes unchanged too.

    Raises:
        UnexpectedCancellationError: The code raised CancelledError, but this task was not cancelled.
        RuntimeError: The code raised another exception of these kinds.
    """

    __slots__ = ("_may_exit", "_name", "_task")

    def __init__(self, name: str, *, may_exit: bool = True) -> None:
        self._name, self._may_exit = name, may_exit

    def __enter__(self) -> None:
        self._task = asyncio.current_task()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        match error:
            case KeyboardInterrupt():
                return
            case SystemExit() if self._may_exit:
                return
            case asyncio.CancelledError():
                if cancellation_was_requested():
                    return
                raise UnexpectedCancellationError(
                    f"{self._name} raised CancelledError, but was not cancelled: "
                    f"something that it awaited was cancelled by other code. {_RESUME}"
                ) from error
            case GeneratorExit() if _current_task() is not self._task:
                return  # A coroutine that will never be resumed is being closed.
            case Exception() if not isinstance(error, StopIteration | StopAsyncIteration):
                return
            case _:
                raise RuntimeError(f"{self._name} raised {error!r}") from error


def _current_task() -> asyncio.Task[Any] | None:
    """The running task; None if no event loop runs, as when a loop was closed before its tasks had ended."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


async def run_callback(name: str, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function of the user. If it returns a coroutine, await it. `name`: what errors call it."""
    with foreign_code(name):
        result = function(*args, **kwargs)
        if iscoroutine(result):
            await result


@asynccontextmanager
async def clean_up_after(*steps: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """A context that runs `clean_up` when its block ends, with or without an error."""
    try:
        yield
    except GeneratorExit:
        raise  # A coroutine that will never be resumed is being closed: nothing can be awaited.
    except BaseException as error:
        await clean_up(error, *steps)
        raise
    await clean_up(None, *steps)


async def clean_up(error: BaseException | None, *steps: Callable[[], Awaitable[object]]) -> None:
    """Run all `steps` in order, shielded from the cancellation of scopes.

    If a step fails, the others still run. Afterwards the first failure is raised, unless it would hide `error`. Other
    failures are logged.

    Args:
        error: The error that is being handled, or None.
    """
    failures: list[BaseException] = []
    with anyio.CancelScope(shield=True):
        for step in steps:
            try:
                await step()
            except BaseException as failure:
                failures.append(failure)
    raised = failures[:1] if error is None else []
    for failure in failures[len(raised) :]:
        log.warning("while cleaning up after an error: %r", failure)
    for failure in raised:
        raise failure


async def in_slices(work: Generator[object, None, T]) -> T:
    """Exhaust `work` in a worker thread, in slices of 50 ms, so that a cancellation waits for one slice only.

    Returns:
        What `work` returns.
    """
    result = list[T]()

    def steps() -> Generator[object]:
        result.append((yield from work))

    def run_slice() -> bool:
        deadline = perf_counter() + _SLICE_SECONDS
        return any(perf_counter() > deadline for _ in slices)

    slices, ended = steps(), False
    try:
        while await DISK.run(run_slice):
            pass
        ended = True
        return result[0]
    finally:
        if not ended:
            with anyio.CancelScope(shield=True):
                await DISK.run(work.close)  # The generator may remove a temporary file.


def _first(error: BaseException) -> BaseException:
    """The first error in a group that may contain groups."""
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return error
