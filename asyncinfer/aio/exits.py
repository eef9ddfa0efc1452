"""SystemExit and KeyboardInterrupt in tasks of this package: they end the work as other errors do.

If a task raises one of them, asyncio stops the event loop at once. Nobody then awaits the other tasks, and the worker
threads keep the process alive. So tasks of this package raise `TaskExit` instead. When all of them have ended, the
caller gets the original error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskExit(BaseException):
    """A task raised `error`, a SystemExit or KeyboardInterrupt."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(repr(error))
        self.error = error


async def without_exit(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run `await function(*args)` in a task.

    Raises:
        TaskExit: In place of SystemExit and KeyboardInterrupt.
    """
    try:
        return await function(*args)
    except (SystemExit, KeyboardInterrupt) as error:
        raise TaskExit(error) from error


def original(error: BaseException) -> BaseException:
    """Return what code outside the task should raise for an error of the task."""
    return error.error if isinstance(error, TaskExit) else error
