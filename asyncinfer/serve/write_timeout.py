"""Notices that a client has stopped reading its response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from asyncinfer.serve.asgi import Reply


@contextmanager
def write_timeout(reply: Reply, seconds: float, on_timeout: Callable[[], None]) -> Generator[None]:
    """Call `on_timeout` if a part of the response waits for the client for `seconds`.

    One timer watches the whole response: a timer for each part would cost more than sending it.
    """
    loop = asyncio.get_running_loop()

    def check() -> None:
        nonlocal timer
        since = reply.waiting_since
        left = seconds if since is None else since + seconds - time.monotonic()
        if left > 0:
            timer = loop.call_later(left, check)
        else:
            on_timeout()

    timer = loop.call_later(seconds, check)
    try:
        yield
    finally:
        timer.cancel()
