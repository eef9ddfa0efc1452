"""The progress bars of runs: of rich on a terminal, and as an output of IPython in a notebook.

Rich's own display in a notebook needs ipywidgets. An output of IPython that is updated in place does not (IPython 9.18,
November 2026: `display(..., display_id=True)` returns a handle with `update`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.jupyter import JupyterMixin
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from asyncinfer.display.counts import progress_text
from asyncinfer.types.results import Progress


class ProgressView(Protocol):
    """Shows the progress of one run."""

    def update(self, progress: Progress) -> None:
        """Show how far the run is. Does not block."""
        ...

    def close(self) -> None:
        """Show the last state, and leave it there. Blocks while the terminal does."""
        ...


def open_view() -> ProgressView | None:
    """Begin to show the progress of a run, in a notebook or on the terminal of stderr. Blocks while the terminal does.

    Returns:
        None if there is neither. Nothing is shown then.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if console.is_jupyter:
        return _NotebookView()
    # Rich takes every stream for a terminal if FORCE_COLOR is set.
    return _TerminalView(console) if console.is_terminal and _is_terminal(sys.stderr) else None


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. While bars are shown, rich replaces stdout and stderr with its own objects."""
    stream = getattr(stream, "rich_proxied_file", stream)
    return stream is not None and stream.isatty()


class ProgressBars(RichProgress):
    """A bar for each run, and below each bar a text that may need several lines."""

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        # While bars are shown, rich writes all that is printed to their console, which writes to stderr.
        prints = _is_terminal(sys.stdout)
        super().__init__(TextColumn("{task.description}"), *columns, console=console, redirect_stdout=prints)

    def add_run(self) -> TaskID:
        """Add a bar."""
        return self.add_task("rows", total=None, counts="")

    def show(self, run: TaskID, progress: Progress) -> None:
        """Show how far a run is."""
        done = progress.completed + progress.failed
        self.update(run, completed=done, total=progress.total, counts=progress_text(progress))

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(task.fields["counts"])


class _TerminalView:
    """A bar on the terminal. All runs of the process share one display, with a bar for each of them."""

    _lock = threading.Lock()
    _bars: ProgressBars | None = None
    _open = 0

    def __init__(self, console: Console) -> None:
        kind = type(self)
        with self._lock:
            if kind._bars is None:
                kind._bars = ProgressBars(console)
            self._own, kind._open = kind._bars, kind._open + 1
            self._run = self._own.add_run()
            with suppress(OSError):  # The terminal is closed.
                self._own.start()

    def update(self, progress: Progress) -> None:
        self._own.show(self._run, progress)

    def close(self) -> None:
        kind = type(self)
        self._own.stop_task(self._run)
        with self._lock:
            kind._open -= 1
            if kind._open == 0:
                kind._bars = None
                with suppress(OSError):
                    self._own.stop()


class _NotebookView(JupyterMixin):
    """A bar in the output of a notebook's cell."""

    def __init__(self) -> None:
        self._bars = ProgressBars(Console(highlight=False, markup=False))
        self._run = self._bars.add_run()
        display: Any = import_module("IPython.display").display
        self._output: Any = display(self, display_id=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from self._bars.get_renderables()

    def update(self, progress: Progress) -> None:
        self._bars.show(self._run, progress)
        self._output.update(self)

    def close(self) -> None:
        self._bars.stop_task(self._run)
