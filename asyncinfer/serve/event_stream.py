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
        if events:
            await self._send(events, more=True)

    async def end(self, events: bytes) -> None:
        """Send the last events, and end the response."""
        await self._send(events, more=False)

    async def _send(self, events: bytes, *, more: bool) -> None:
        async with self._lock:
            if self._reply.status is None:
                await self._reply.begin(200, STREAM_HEADERS)
            await self._reply.write(events, more=more)
