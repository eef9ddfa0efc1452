"""Requests, and servers that answer with given bytes, for the tests of the transports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import pytest
from pydantic_core import to_json

from asyncinfer import RequestError
from asyncinfer.transport.base import Transport
from asyncinfer.types.http import HttpRequest, ResponseLimits

KEY = "sk-very-secret"
DEFAULT_LIMITS = ResponseLimits()


def to(url: str, text: str = "hi", timeout: float = 10.0, limits: ResponseLimits = DEFAULT_LIMITS) -> HttpRequest:
    """A question for the API at `url`."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    body = to_json({"messages": [{"role": "user", "content": text}]})
    return HttpRequest(f"{url}/chat/completions", headers, body, timeout=timeout, limits=limits)


async def failure(transport: Transport, request: HttpRequest) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await transport.send(request)
    return caught.value


def all_text(error: BaseException | None) -> str:
    """The texts of an exception, its causes and its contexts."""
    text = ""
    while error is not None:
        text += f"{error}\n{error!r}\n"
        error = error.__cause__ or error.__context__
    return text


@asynccontextmanager
async def raw_server(response: bytes) -> AsyncGenerator[str]:
    """The URL of a server that answers the head of each connection's first request with these bytes, and reads no more."""
    done, handlers = asyncio.Event(), list[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await done.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        done.set()
        await asyncio.gather(*[task for task in handlers if task is not None])


@contextmanager
def deaf_port() -> Generator[int]:
    """A port that accepts no connection, because its queue of connections is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            caller = sockets.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
