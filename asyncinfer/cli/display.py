"""Shows the progress of a run, and its summary at the end, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Self

from rich.console import Console

from asyncinfer.cli.messages import is_json, log_progress, say
from asyncinfer.display.counts import one_line, progress_text
from asyncinfer.display.progress_bar import ProgressBars
from asyncinfer.types.results import EndpointSummary, FailureDetail, Progress, RunSummary

# Seconds between two lines of progress if stderr is no terminal.
_LINE_INTERVAL = 5.0
# How many failed rows are shown. The file of failed rows has all of them.
_SHOWN = 5


class Display:
    """A progress bar if stderr is a terminal. Otherwise, one line every few seconds.

    Attributes:
        last: The last progress that was shown.
    """

    def __init__(self) -> None:
        self.last = Progress()
        self._console = Console(stderr=True, highlight=False, markup=False)
        # Rich takes every stream for a terminal if FORCE_COLOR is set.
        self._has_bar = self._console.is_terminal and sys.stderr.isatty() and not is_json()
        self._bars = ProgressBars(self._console)
        self._run = self._bars.add_run()
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._has_bar:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_bar:
            with suppress(OSError):  # The terminal is closed.
                self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""
        self.last = progress
        if self._has_bar:
            with suppress(OSError):
                self._bars.show(self._run, progress)
        elif time.monotonic() - self._last_line >= _LINE_INTERVAL:
            self._last_line = time.monotonic()
            done = progress.completed + progress.failed
            log_progress(f"{done}/{progress.total} rows, {progress_text(progress)}", progress=summary_fields(progress))


def show_summary(summary: RunSummary, output_path: str | None) -> None:
    """Print the summary of a run."""
    if is_json():
        fields = {"summary": summary_fields(summary), "output_path": output_path}
        say(f"{summary.completed} of {summary.total} rows finished", **fields)
        return
    lines = [*_summary_lines(summary, output_path)]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        say(f"{name:<{width}}  {value}")
    show_failures(summary.failure_samples, summary.failed)
    if summary.failed:
        say(advice(summary))


def show_failures(failures: list[tuple[int, FailureDetail]], count: int) -> None:
    """Print the first failed rows, each message once, and how many more there are."""
    messages = dict[str, int]()
    for index, detail in failures:
        messages.setdefault(detail.error_message, index)
    first = list(messages.items())[:_SHOWN]
    # The reason why a run ended early has the error of one of its rows in it.
    shown = [(text, index) for text, index in first if not any(f": {text}" in other for other, _ in first)]
    for message, index in shown:
        say(f"row {index} failed: {message}", row=index)
    if count > len(shown):
        say(f"... and {count - len(shown)} more failed rows")


def advice(summary: RunSummary) -> str:
    """What to do about the failed rows."""
    if summary.retryable == summary.failed:
        return "Run the same command again to retry the rows that failed."
    if summary.retryable:
        return (
            f"Run the same command again to retry the {summary.retryable} failed row(s) that may succeed. The others "
            "fail again until you correct them or the settings."
        )
    return "These rows fail again until you correct them or the settings. Then run the same command again."


def _summary_lines(summary: RunSummary, output_path: str | None) -> Iterator[tuple[str, str]]:
    usage = summary.usage
    resumed = f" ({summary.resumed} resumed)" if summary.resumed else ""
    yield "rows", f"{summary.completed} of {summary.total} finished{resumed}"
    if summary.deduplicated or summary.cached:
        yield "not sent", f"{summary.deduplicated} duplicates, {summary.cached} answered from the cache"
    yield "failures", str(summary.failed)
    common = summary.commonest_failure
    if common is not None and common.rows > 1:
        yield "", f"{common.rows} of them: {one_line(common.error_message, 200)}"
    if summary.cut_by_length:
        yield "cut by length", f"{summary.cut_by_length} answer(s); see generation.max_new_tokens"
    if summary.filtered:
        yield "filtered", f"{summary.filtered} answer(s), stopped by a content filter"
    if summary.refused or summary.retried:
        yield "requests", f"{summary.attempts}, of which {summary.refused} refused, {summary.retried} retried"
    for endpoint in summary.endpoints:
        yield "endpoint", _endpoint(endpoint)
    yield "tokens", f"{usage.prompt_tokens} in, {usage.completion_tokens} out"
    if summary.cost is not None:
        yield "cost", f"{summary.cost.text}{summary.cost.price_list}"
    yield "tokens/s", f"{usage.completion_tokens / max(summary.seconds, 1e-9):.1f}"
    yield "time", f"{summary.seconds:.1f} s"
    if summary.completed:
        yield "output", str(output_path)
    if summary.failures_path is not None:
        yield "failed rows", str(summary.failures_path)


def _endpoint(endpoint: EndpointSummary) -> str:
    """One line about an endpoint."""
    counts = [f"{endpoint.answered} rows answered", f"{endpoint.attempts} requests"]
    counts += [f"{endpoint.refused} refused"] if endpoint.refused else []
    counts += [f"{endpoint.failed} failed"] if endpoint.failed else []
    problem = f"; put aside: {one_line(endpoint.problem, 200)}" if endpoint.problem is not None else ""
    return f"{endpoint.endpoint}: {', '.join(counts)}{problem}"


def summary_fields(counts: Progress | RunSummary) -> dict[str, object]:
    """Return the counts that are set, for the JSON lines of the log."""
    values = asdict(counts) | {"usage": counts.usage.to_dict(), "seconds": round(counts.seconds, 1)}
    return {name: value for name, value in values.items() if value is not None}
