"""Sends streamed answers of the engine as the events of one response."""

from __future__ import annotations

import time
from collections.abc import Callable

from asyncinfer.serve.answer_settings import AnswerSettings
from asyncinfer.serve.backend import OpenBackend
from asyncinfer.serve.endpoint import Exchange
from asyncinfer.serve.event_stream import EventStream
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


class DeltaStream:
    """Streams the answers to one conversation. Deltas that are ready together are sent together.

    Args:
        route: The route in the metrics.
    """

    def __init__(self, exchange: Exchange, backend: OpenBackend, conversation: Conversation, route: str) -> None:
        self._events = EventStream(exchange.reply)
        self._began, self._backend = exchange.began, backend
        self._conversation, self._route = conversation, route

    async def send(self, settings: AnswerSettings, begin: bytes, write: Callable[[StreamDelta], bytes]) -> Usage | None:
        """Send the events of one answer, and return its usage.

        Args:
            begin: The events before the first delta. They are sent together with it.
            write: Returns the events of a delta.
        """
        usage, metrics = None, self._backend.metrics
        async with self._backend.stream(self._conversation, settings) as stream:
            while deltas := await stream.read_ready():
                if begin:
                    metrics.first_delta(self._route, time.monotonic() - self._began)
                await self._events.write(begin + b"".join([write(delta) for delta in deltas]))
                usage, begin = deltas[-1].usage or usage, b""
        metrics.used(usage)
        return usage

    async def end(self, events: bytes) -> None:
        """Send the last events, and end the response."""
        await self._events.end(events)
