"""Shows the progress of a run while a block of code runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from asyncinfer.aio.limiters import DISK
from asyncinfer.run.progress import OnProgress
from asyncinfer.types.results import Progress

if TYPE_CHECKING:
    from asyncinfer.display.progress_bar import ProgressView


@asynccontextmanager
async def shown_progress(show: bool, on_progress: OnProgress | None) -> AsyncGenerator[OnProgress | None]:
    """Show a progress bar while the block runs, if there is a terminal or a notebook.

    Args:
        show: Whether to show the bar. If not, the callback for the run is `on_progress` itself.
        on_progress: Another callback for the progress.

    Yields:
        The callback for the run. It updates the bar, and calls `on_progress`.
    """
    view = await DISK.run(_open) if show else None
    if view is None:
        yield on_progress
        return

    def report(progress: Progress) -> object:
        view.update(progress)
        return on_progress(progress) if on_progress is not None else None

    try:
        yield report
    finally:
        with anyio.CancelScope(shield=True):
            await DISK.run(view.close)


def _open() -> ProgressView | None:
    from asyncinfer.display.progress_bar import open_view

    return open_view()
