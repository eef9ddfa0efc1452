"""Handles signals: Ctrl-C stops one answer of a chat. It, SIGTERM and SIGHUP end commands, at once or in two steps."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from asyncinfer.aio.tasks import task_group
from asyncinfer.cli.messages import say
from asyncinfer.run.stop import Stop


@asynccontextmanager
async def interrupt_stops() -> AsyncGenerator[None]:
    """Ctrl-C ends the block, and not the program."""
    async with _signals_cancel([signal.SIGINT]):
        yield


@asynccontextmanager
async def ended_by_signals() -> AsyncGenerator[None]:
    """SIGINT, SIGTERM and SIGHUP cancel the block, so that it can clean up.

    Raises:
        KeyboardInterrupt: One of them came.
    """
    async with _signals_cancel(_stopping_signals()) as block:
        yield
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

    def is_second(number: signal.Signals) -> bool:
        if stop.is_requested:
            return True
        stop.request()
        say(_stopping(number, running))
        return False

    async with _signals_cancel(_stopping_signals(), is_second) as block:
        yield
    if block.cancelled_caught:
        say(f"Stopped at once. {stopped}".rstrip())
        raise KeyboardInterrupt


@asynccontextmanager
async def _signals_cancel(
    numbers: Sequence[signal.Signals], cancels: Callable[[signal.Signals], bool] = lambda _: True
) -> AsyncGenerator[anyio.CancelScope]:
    """Signals cancel the block, and not the program. Yields the scope of the block.

    Args:
        cancels: Called with each signal. Returns whether it cancels the block.
    """
    with anyio.CancelScope() as block, anyio.open_signal_receiver(*numbers) as signals:
        async with task_group() as tasks:

            async def handle_signals() -> None:
                async for number in signals:
                    if cancels(number):
                        block.cancel()

            tasks.start_soon(handle_signals)
            yield block
            tasks.cancel_scope.cancel()


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
