"""A headless browser, controlled through the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from shutil import which
from subprocess import DEVNULL
from typing import Any

import aiohttp
import anyio
from anyio.streams.text import TextReceiveStream

from tests.examples.programs import HANG_GUARD

CHROMIUM = which("chromium") or which("chromium-browser")


class Page:
    """One page of the browser.

    Attributes:
        events: The events of the browser so far: each has a `method` and `params`.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)
        self.events: list[dict[str, Any]] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        message = await self._receive(lambda message: message.get("id") == number)
        assert "error" not in message, message
        return message["result"]

    async def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)
        await self._receive(lambda message: message.get("method") == "Page.loadEventFired")

    async def run(self, script: str) -> Any:
        """Run the body of an async function in the page, and return its JSON result."""
        expression = f"(async () => {{ {script} }})()"
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript condition holds. It is checked at each change of the page."""
        await self.run(f"""
            await new Promise((resolve) => {{
                const check = () => {{ if ({condition}) {{ observer.disconnect(); resolve(); }} }};
                const observer = new MutationObserver(check);
                const changes = {{ subtree: true, childList: true, characterData: true, attributes: true }};
                observer.observe(document, changes);
                check();
            }});
        """)

    async def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            message = await self._socket.receive_json()
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message


@asynccontextmanager
async def open_page(url: str, profile: Path) -> AsyncGenerator[Page]:
    """The page at `url`, in a browser of its own. `profile`: a folder for the files of the browser."""
    async with new_page(profile) as page:
        await page.open(url)
        yield page


@asynccontextmanager
async def new_page(profile: Path) -> AsyncGenerator[Page]:
    """An empty page, in a browser of its own. `profile` as in `open_page`."""
    async with _browser(profile) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/json/list") as response:
            [target] = [one for one in await response.json() if one["type"] == "page"]
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Page(socket)


@asynccontextmanager
async def _browser(profile: Path) -> AsyncGenerator[str]:
    """The debugging port of a new browser."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [CHROMIUM, *options, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    process = await anyio.open_process(command, stdout=DEVNULL, start_new_session=True)
    assert process.stderr is not None
    log = TextReceiveStream(process.stderr)
    async with anyio.create_task_group() as tasks:
        try:
            with anyio.fail_after(HANG_GUARD):
                port = await _debugging_port(log)
                tasks.start_soon(_read_to_the_end, log)  # The browser waits if nobody reads.
                yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # The browser and the processes that it started.
    await process.aclose()


async def _debugging_port(log: TextReceiveStream) -> str:
    text = ""
    async for part in log:
        text += part
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", text):
            return found[1]
    raise AssertionError(f"the browser ended: {text}")


async def _read_to_the_end(log: TextReceiveStream) -> None:
    async for _ in log:
        pass
