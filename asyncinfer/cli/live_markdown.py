"""Renders Markdown that grows.

A block of Markdown is complete as soon as another one begins. Complete blocks are printed once, and scroll away as
other output does. Only the last block is drawn again while it grows.

Uses rich (checked with 14.3, November 2026) and markdown-it-py, with which rich parses. Its tokens have the lines of
their block in `map`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text

# Rich leaves out HTML, which an answer may contain as text.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("image")


class LiveMarkdown:
    """Shows a growing text in Markdown on a terminal. `refresh` and `close` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._pending, self._changed = "", False
        self._has_printed = False
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),  # what is printed there appears above the answer
        )

    def add(self, text: str) -> None:
        """Add text. The next refresh shows it."""
        with self._lock:
            self._pending += text
            self._changed = True

    def refresh(self) -> None:
        """Print the blocks that are complete, and draw the last one again."""
        self._live.start()  # Only the first call has an effect.
        with self._lock:
            if not self._changed:
                return
            complete, self._pending = split_blocks(self._pending)
            pending, self._changed = self._pending, False
        self._live.update(_Tail(pending, after_a_block=self._has_printed or bool(complete)))
        if complete:
            self._print(complete)  # draws the tail below it
        else:
            self._live.refresh()

    def close(self) -> None:
        """Print what is left."""
        self._live.update(Text(""))
        self._live.stop()
        if self._pending.strip():
            self._print(self._pending)

    def _print(self, text: str) -> None:
        self._console.print(Group(Text(""), rendered(text)) if self._has_printed else rendered(text))
        self._has_printed = True


class _Tail:
    """The last lines of a text in Markdown, as many as the terminal has. What has scrolled away cannot be erased."""

    def __init__(self, text: str, *, after_a_block: bool) -> None:
        self._text, self._after_a_block = text, after_a_block

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(rendered(self._text), options, pad=False) if self._text.strip() else []
        lines = [[], *lines] if self._after_a_block else lines
        for line in lines[-max(1, console.size.height - 2) :]:
            yield from line
            yield Segment.line()


def split_blocks(text: str) -> tuple[str, str]:
    """Return the blocks of `text` that are complete, and the last one, which may grow."""
    starts = list(_starts(text))
    if len(starts) < 2:
        return "", text
    lines = text.split("\n")
    return "\n".join(lines[: starts[-1]]), "\n".join(lines[starts[-1] :])


def _starts(text: str) -> Iterator[int]:
    """Yield the first line of each block."""
    for token in _PARSER.parse(text):
        if token.level == 0 and token.nesting >= 0 and token.map is not None:
            yield token.map[0]


def rendered(text: str) -> Markdown:
    """Return a text in Markdown for rich.

    Links and images are shown with their URLs, HTML is shown as text, and line breaks stay where they are.
    """
    markdown = Markdown("", hyperlinks=False)
    markdown.markup, markdown.parsed = text, _PARSER.parse(text)
    for block in markdown.parsed:
        for part in block.children or ():
            part.type = "hardbreak" if part.type == "softbreak" else part.type
    return markdown
