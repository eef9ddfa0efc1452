"""The event loop on which a call runs."""

from __future__ import annotations

import asyncio


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        RuntimeError: asyncio does not run here. The message says what to do on another async library.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise RuntimeError(
        "asyncinfer runs on asyncio, and there is no running asyncio event loop here. On another async library, such "
        "as trio, call the blocking method in a thread: `await trio.to_thread.run_sync(engine.generate, conversation)`"
    )
