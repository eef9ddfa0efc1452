"""Shows the progress of a run, and its summary at the end, on stderr."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from asyncinfer.types.results import Progress, RunSummary

# Seconds between two lines of progress if stderr is no terminal.
_LINE_INTERVAL = 5.0


class Display:
    """A progress bar if stderr is a terminal. Otherwise, one line every few seconds."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bars.add_task("rows", total=None, note="")
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        done = progress.completed + progress.failed
        if self._console.is_terminal:
            self._bars.update(self._task, completed=done, total=progress.total, note=note(progress))
        elif time.monotonic() - self._last_line >= _LINE_INTERVAL:
            self._last_line = time.monotonic()
            self._console.print(f"{done}/{progress.total} rows, {note(progress)}", soft_wrap=True)


def note(progress: Progress) -> str:
    """Return tokens and tokens per second; also resumed and failed rows, and why the run waits, if there are any."""
    tokens = progress.usage.completion_tokens
    parts = [f"{tokens} tokens", f"{tokens / max(progress.seconds, 1e-9):.0f} tokens/s"]
    if progress.resumed:
        parts.append(f"{progress.resumed} resumed")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.waiting:
        parts.append(progress.waiting)
    return ", ".join(parts)


def show_summary(summary: RunSummary, output_path: str | None) -> None:
    """Print the summary of a run."""
    console = Console(stderr=True, highlight=False, markup=False)
    usage = summary.usage
    table = Table.grid(padding=(0, 2))
    resumed = f" ({summary.resumed} resumed)" if summary.resumed else ""
    table.add_row("rows", f"{summary.completed} of {summary.total} finished{resumed}")
    table.add_row("failures", str(summary.failed))
    if summary.retried:
        table.add_row("requests", f"{summary.attempts}, of which {summary.refused} refused, {summary.retried} retried")
    table.add_row("tokens", f"{usage.prompt_tokens} in, {usage.completion_tokens} out")
    table.add_row("tokens/s", f"{usage.completion_tokens / max(summary.seconds, 1e-9):.1f}")
    table.add_row("time", f"{summary.seconds:.1f} s")
    if summary.completed:
        table.add_row("output", str(output_path))
    console.print(table)
    for index, detail in summary.failure_samples[:5]:
        console.print(f"row {index} failed: {detail.error_message}", soft_wrap=True)
    if summary.failed:
        console.print("Run the same command again to retry the rows that failed.", soft_wrap=True)
