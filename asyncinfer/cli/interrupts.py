"""Handles signals: Ctrl-C stops one answer of a chat; it, SIGTERM and SIGHUP end commands, at once or in two steps."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from asyncinfer.aio.tasks import task_group
from asyncinfer.cli.messages import say
from asyncinfer.run.stop import Stop


@asynccontextmanager
async def interrupt_stops() -> AsyncGenerator[None]:
    """Ctrl-C ends the block, and not the program."""
    with anyio.CancelScope() as block, anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with task_group() as tasks:

            async def handle_signals() -> None:
                async for _ in signals:
                    block.cancel()

            tasks.start_soon(handle_signals)
            yield
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def ended_by_signals() -> AsyncGenerator[None]:
    """SIGINT, SIGTERM and SIGHUP cancel the block, so that it can clean up.

    Raises:
        KeyboardInterrupt: One of them came.
    """
    with anyio.CancelScope() as block, anyio.open_signal_receiver(*_stopping_signals()) as signals:
        async with task_group() as tasks:

            async def handle_signals() -> None:
                async for _ in signals:
                    block.cancel()

            tasks.start_soon(handle_signals)
            yield
            tasks.cancel_scope.cancel()
    if block.cancelled_caught:
        raise KeyboardInterrupt


@asynccontextmanager
async def interruptible(
    stop: Stop,
    running: str = "rows",
    stopped: str = "Saved rows stay saved; run the same command again to go on.",
) -> AsyncGenerator[None]:
    """The first SIGINT, SIGTERM or SIGHUP requests `stop`; the second cancels the block. Saved rows stay saved.

    Args:
        running: What is finished before the command ends, for messages.
        stopped: What a message says when the block was cancelled.
    """
    with anyio.CancelScope() as block, anyio.open_signal_receiver(*_stopping_signals()) as signals:
        async with task_group() as tasks:

            async def handle_signals() -> None:
                async for number in signals:
                    if stop.is_requested:
                        block.cancel()
                        return
                    stop.request()
                    say(_stopping(number, running))

            tasks.start_soon(handle_signals)
            yield
            tasks.cancel_scope.cancel()
    if block.cancelled_caught:
        say(f"Stopped at once. {stopped}".rstrip())
        raise KeyboardInterrupt


def _stopping_signals() -> list[signal.Signals]:
    """The signals that stop a run. SIGHUP comes when a terminal is closed; `nohup` ignores it, Windows lacks it."""
    stopping = [signal.SIGINT, signal.SIGTERM]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        stopping.append(hangup)
    return stopping


def _stopping(number: signal.Signals, running: str) -> str:
    if number == signal.SIGINT:
        return f"\nStopping after the running {running}. Press Ctrl-C again to stop now."
    return f"Got {number.name}: stopping after the running {running}. Send it again to stop now."
