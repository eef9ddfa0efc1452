"""A helper of the model's thread, for work that may take seconds and must not delay the rows in progress."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from asyncinfer.errors import RequestError, invalid_request

log = logging.getLogger("asyncinfer")

T = TypeVar("T")


class HelperThread:
    """Runs functions one after the other in a thread of its own. The thread starts with the first function."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[[], T], deliver: Callable[[T | RequestError], None]) -> None:
        """Call `work` in the thread, then `deliver` with its result. An exception is delivered as a RequestError.
        `deliver` is called in the thread too.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="asyncinfer-helper")
        self._executor.submit(_call, work).add_done_callback(lambda done: _deliver(done, deliver))

    def close(self) -> None:
        """Drop the functions that have not started, and wait for the current one."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(cancel_futures=True)


def _call(work: Callable[[], T]) -> T | RequestError:
    try:
        return work()
    except RequestError as error:
        return error
    except BaseException as error:  # A panic of an extension in Rust is a BaseException.
        log.exception("the helper thread of the model failed")
        return invalid_request(f"this row could not be prepared: {error!r}")


def _deliver(done: Future[T | RequestError], deliver: Callable[[T | RequestError], None]) -> None:
    if not done.cancelled():
        deliver(done.result())
