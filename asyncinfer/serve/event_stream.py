"""A response of server-sent events. It begins with the first event, so that an earlier error has its own status."""

from __future__ import annotations

import asyncio

from asyncinfer.serve.asgi import STREAM_HEADERS, Reply


class EventStream:
    """The events of one response. Several tasks may write at once."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._lock = asyncio.Lock()

    async def write(self, events: bytes) -> None:
        """Send events."""
        if not events:
            return
        async with self._lock:
            if self._reply.status is None:
                await self._reply.begin(200, STREAM_HEADERS)
            await self._reply.write(events)

    async def end(self, events: bytes = b"") -> None:
        """Send the last events, and end the response."""
        async with self._lock:
            if self._reply.status is None:
                await self._reply.begin(200, STREAM_HEADERS)
            await self._reply.write(events, more=False)
