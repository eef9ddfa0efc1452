"""Reads the stream of a server, and yields the deltas of the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel

from asyncinfer.dialects.base import Dialect, StreamDecoder
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.errors import RequestError
from asyncinfer.transport.base import StreamedResponse
from asyncinfer.types.stream import StreamDelta

# The longest wait for usage and the end mark after a complete answer (seconds).
_SECONDS_FOR_THE_REST = 10.0
# Other tasks run after this many bytes of a stream, even if the server is so fast that no read waits.
_WITHOUT_PAUSE = 2**18
# Each delta counts as this many bytes, because making it takes about as long as reading them.
_DELTA = 2**10


async def read_deltas(streamed: StreamedResponse, dialect: Dialect) -> AsyncIterator[StreamDelta]:
    """Yield the deltas of a response. The beginning of its body decides whether it is a stream or a whole answer.

    A whole answer becomes one delta for its reasoning, if it has any, and one for the rest.
    """
    chunks = streamed.chunks()
    beginning, is_stream = await _beginning(streamed, chunks, dialect)
    if not is_stream:
        for delta in read_answer(dialect, await streamed.response(beginning)).as_stream():
            yield delta
        return
    chunk: bytes | None = beginning
    decoder, parts, left, until = dialect.stream(), 0, _WITHOUT_PAUSE, None
    try:
        while chunk is not None:
            for delta in decoder.feed(chunk):
                yield delta
                left -= _DELTA
                if left < 0:
                    left = await _paused()
            left -= len(chunk)
            if left < 0:
                left = await _paused()
            if decoder.parts != parts:
                parts = decoder.parts
                streamed.progressed()
            if decoder.done:
                break
            if not decoder.end.is_settled:
                until = None
            elif until is None:
                until = anyio.current_time() + _SECONDS_FOR_THE_REST
            chunk = await _next(chunks, decoder, until)
        yield decoder.finish()
    except RequestError as error:
        error.usage = decoder.usage
        raise


async def _beginning(streamed: StreamedResponse, chunks: AsyncIterator[bytes], dialect: Dialect) -> tuple[bytes, bool]:
    """Return the beginning of a body, without blank lines, and whether the body is a stream.

    Servers that send a whole answer keep the connection open with blank lines.
    """
    beginning, declared = b"", streamed.media_type == dialect.stream_type
    while chunk := await anext(chunks, b""):
        beginning = (beginning + chunk).lstrip(b"\r\n\t ")
        if not beginning and not declared:
            break
        if (is_stream := dialect.is_stream(beginning, declared=declared)) is not None:
            return beginning, is_stream
    return beginning, declared


async def _paused() -> int:
    """Let other tasks run. Returns the number of bytes to read until the next pause."""
    await anyio.lowlevel.checkpoint()
    return _WITHOUT_PAUSE


async def _next(chunks: AsyncIterator[bytes], decoder: StreamDecoder, until: float | None) -> bytes | None:
    """Return the next chunk of a stream; None at its end.

    Args:
        until: When to stop waiting for a server that keeps the connection open after the answer. A time of the event
            loop's clock; None for no limit.

    Raises:
        RequestError: The connection broke, or was idle for too long, before the answer was complete.
    """
    try:
        if until is None:
            return await anext(chunks, None)
        with anyio.CancelScope(deadline=until):
            return await anext(chunks, None)
    except RequestError:
        if not decoder.end.is_complete:
            raise
    return None
