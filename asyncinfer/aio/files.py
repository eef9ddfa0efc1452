"""aiofiles on the threads of this package. By default it uses those of the application's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar, cast

from aiofiles.threadpool import wrap

from asyncinfer.aio.limiters import DISK, ThreadLimit

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO

P = ParamSpec("P")
T = TypeVar("T")


class _LimitedExecutor(Executor):
    """Runs what aiofiles passes to `loop.run_in_executor` in the threads of a `ThreadLimit`."""

    def __init__(self, limit: ThreadLimit) -> None:
        self._limit = limit

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        # `loop.run_in_executor` passes this to `asyncio.wrap_future`, which returns asyncio's futures as they are.
        task = asyncio.ensure_future(self._limit.run(partial(fn, *args, **kwargs)))
        return cast(Future[T], task)


_DISK = _LimitedExecutor(DISK)


def async_file(file: FileIO | BinaryIO) -> AsyncFileIO:
    """Return an open file with methods to await, as aiofiles offers it.

    Cancelling a call does not stop its thread. Shield a call if the file may be closed meanwhile. Close the file itself
    with `await file.close()`, not with `async with`, for which aiofiles uses the threads of the event loop.
    """
    return wrap(file, executor=_DISK)
