"""A server process for examples/web_app.py, and a client of its chats."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import aiohttp
import anyio

from tests.examples.programs import EXAMPLES, HANG_GUARD, environment


@asynccontextmanager
async def web_app(config: Path) -> AsyncGenerator[str]:
    """The URL of the application, in a process of its own.

    The process inherits a socket that already listens. So clients may connect at once: they wait until it accepts.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        descriptor = listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "--fd", str(descriptor), "--log-level", "warning"]
        command += ["--timeout-graceful-shutdown", "5", "--app-dir", str(EXAMPLES), "web_app:app"]
        variables = environment(CHAT_CONFIG=str(config))
        async with await anyio.open_process(
            command, env=variables, pass_fds=[descriptor], stdin=DEVNULL, stdout=None, stderr=None
        ) as process:
            try:
                with anyio.fail_after(HANG_GUARD):
                    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                with anyio.CancelScope(shield=True), anyio.fail_after(HANG_GUARD):
                    await process.wait()


async def chat(session: aiohttp.ClientSession, url: str, question: str) -> AsyncGenerator[tuple[str, Any]]:
    """The events of one answer: their types and data."""
    body = {"messages": [{"role": "user", "content": question}]}
    async with session.post(f"{url}/chat", json=body) as response:
        response.raise_for_status()
        kind = "message"
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)
                kind = "message"


async def answer(session: aiohttp.ClientSession, url: str, question: str) -> str:
    """The text of an answer that ends well."""
    events = [event async for event in chat(session, url, question)]
    assert events[-1] == ("done", "")
    return "".join(data for _, data in events)
