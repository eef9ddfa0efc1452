"""Shows an answer on stdout while it grows: as plain text, or as rendered Markdown on a terminal.

Writing to a terminal or a pipe blocks as long as its reader does, so a worker thread writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from rich.console import Console

from asyncinfer.aio.limiters import DISK
from asyncinfer.aio.tasks import task_group

# Seconds between two pictures of an answer in Markdown.
_INTERVAL = 0.1
# Control characters, with which an answer could change the terminal. Tabs and line breaks are harmless.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A pipe takes this many characters, at most 4096 bytes, as a whole. Python without buffers (PYTHONUNBUFFERED) does not
# notice that a longer text was written in part, because the reader closed the pipe.
_PIECE = 1024

Show = Callable[[str], Awaitable[None]]


def can_render(wanted: bool) -> bool:
    """Return whether answers are rendered as Markdown: if that is wanted, and if stdout is a terminal that can."""
    return wanted and sys.stdout.isatty() and not Console().is_dumb_terminal


@asynccontextmanager
async def answer_view(*, markdown: bool) -> AsyncGenerator[Show]:
    """Show one answer. If it does not end with a line break, one follows, also if the block is left early.

    Args:
        markdown: Render it as Markdown, if `can_render` says so.

    Yields:
        The function that shows the next part of the answer.
    """
    async with _rendered() if can_render(markdown) else _plain() as show:
        yield show


@asynccontextmanager
async def _plain() -> AsyncGenerator[Show]:
    is_terminal = sys.stdout.isatty()
    last = [""]  # the last character

    async def show(text: str) -> None:
        if text := without_controls(text) if is_terminal else text:
            last[0] = text[-1]
            await DISK.run(_write, text, abandon_on_cancel=True)

    try:
        yield show
    except BaseException:
        if last[0] not in ("", "\n"):
            await _end_line()
        raise
    if last[0] != "\n":  # An empty answer is an empty line.
        await DISK.run(_write, "\n")


async def _end_line() -> None:
    with anyio.move_on_after(1, shield=True):
        await DISK.run(_write, "\n", abandon_on_cancel=True)


@asynccontextmanager
async def _rendered() -> AsyncGenerator[Show]:
    from asyncinfer.cli.live_markdown import LiveMarkdown  # Only a terminal needs the parser.

    view = LiveMarkdown(Console())

    async def show(text: str) -> None:
        view.add(without_controls(text))

    async def refresh() -> None:
        while True:
            await DISK.run(view.refresh)
            await anyio.sleep(_INTERVAL)

    try:
        async with task_group() as tasks:
            tasks.start_soon(refresh)
            yield show
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await DISK.run(view.close)


def without_controls(text: str) -> str:
    """Return `text` without control characters."""
    return _CONTROL.sub("", text)


def _write(text: str) -> None:
    for start in range(0, len(text), _PIECE):
        sys.stdout.write(text[start : start + _PIECE])
    sys.stdout.flush()
