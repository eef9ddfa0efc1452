"""The idle limit of streams."""

from __future__ import annotations

import asyncio

import aiohttp

from asyncinfer.errors import RequestError
from asyncinfer.transport.compat import fail_body
from asyncinfer.transport.errors import timed_out


class IdleTimer:
    """Raises an error in `read` if a stream sends no part of an answer for too long.

    Only the time in `read` counts. For speed, the timer of the event loop is set about once per `seconds`, not with
    each read.

    Args:
        content: The body that is read.
        seconds: The longest time without a call of `restart`; 0 for no limit.
    """

    __slots__ = ("_content", "_deadline", "_handle", "_left", "_loop", "_reading", "_seconds")

    def __init__(self, content: aiohttp.StreamReader, seconds: float) -> None:
        self._content, self._seconds = content, seconds
        self._loop = asyncio.get_running_loop()
        self._left, self._deadline, self._reading = seconds, 0.0, False
        self._handle: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        if not self._seconds:
            return await self._content.readany()
        self._deadline = self._loop.time() + self._left
        if self._handle is None:
            self._handle = self._loop.call_at(self._deadline, self._check)
        self._reading = True
        try:
            return await self._content.readany()
        finally:
            self._reading = False
            self._left = self._deadline - self._loop.time()

    def restart(self) -> None:
        """A part of the answer has come."""
        self._left = self._seconds

    def stop(self) -> None:
        """End the limit. Later reads may take any time."""
        self.close()
        self._handle, self._seconds = None, 0.0

    def close(self) -> None:
        """Cancel the timer. Nothing is read after this."""
        if self._handle is not None:
            self._handle.cancel()

    def _check(self) -> None:
        self._handle = None
        if not self._reading:
            return  # The next read sets the timer again.
        if self._loop.time() < self._deadline:
            self._handle = self._loop.call_at(self._deadline, self._check)
        else:
            fail_body(self._content, _stream_idle(self._seconds))


def _stream_idle(seconds: float) -> RequestError:
    return timed_out(
        f"the stream sent no part of an answer for {seconds:g} s "
        "(remote_params.stream_idle_timeout; if unset, connection_timeout)"
    )
