"""Markdown that grows: complete blocks are printed once, the last one is drawn again."""

from __future__ import annotations

import asyncio
import threading
from io import StringIO

import anyio
import pytest
from rich.console import Console
from rich.live import Live

from asyncinfer.cli.answer_view import answer_view, without_controls
from asyncinfer.cli.live_markdown import LiveMarkdown, rendered, split_blocks

ANSWER = "# Title\n\nA *text*.\n\n1. one\n2. two\n\n   more\n\n```python\n# no title\n\nx = 1\n```\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\nlast"


def shown(text: str, width: int = 60) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(rendered(text))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_parts_of_any_size_end_as_the_whole_text(size: int) -> None:
    printed, pending = list[str](), ""
    for place in range(0, len(ANSWER), size):
        complete, pending = split_blocks(pending + ANSWER[place : place + size])
        printed += [complete] if complete else []
    assert "".join([*printed, pending]).replace("\n", "") == ANSWER.replace("\n", "")
    assert any("x = 1" in part and part.count("```") == 2 for part in printed), "a block of code stays together"


def test_open_block_of_code_is_not_complete() -> None:
    assert split_blocks("text\n\n```\na\n\nb\n\n# c\n") == ("text\n", "```\na\n\nb\n\n# c\n")


@pytest.mark.parametrize("height", [5, 50])
def test_each_line_is_in_the_terminal_once_at_the_end(height: int) -> None:
    console = Console(file=StringIO(), width=40, height=height, force_terminal=True, color_system=None)
    view = LiveMarkdown(console)
    lines = [f"line {n}" for n in range(40)]
    for line in lines:
        view.add(f"- {line}\n")
        view.refresh()
    view.add("\n\nthe end")
    view.close()
    output = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    final = output[output.rindex("line 0") :]
    assert [line for line in lines if line in final] == lines
    assert final.rstrip().endswith("the end")


async def test_cursor_is_shown_again_if_a_cancellation_comes_while_the_view_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, start = StringIO(), Live.start
    begins, goes_on, started = threading.Event(), threading.Event(), threading.Event()

    def start_slowly(live: Live) -> None:
        begins.set()
        goes_on.wait(10)
        start(live)
        started.set()

    async def show_nothing() -> None:
        async with answer_view(markdown=True):
            await anyio.sleep_forever()

    monkeypatch.setattr("asyncinfer.cli.answer_view.can_render", bool)
    monkeypatch.setattr("asyncinfer.cli.answer_view.Console", lambda: Console(file=output, force_terminal=True))
    monkeypatch.setattr(Live, "start", start_slowly)
    task = asyncio.create_task(show_nothing())
    await anyio.to_thread.run_sync(begins.wait, 10)
    task.cancel()  # as Ctrl-C does
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.wait([task])
    await anyio.to_thread.run_sync(started.wait, 10)
    assert output.getvalue().count("\x1b[?25l") == output.getvalue().count("\x1b[?25h") > 0


def test_html_links_images_and_line_breaks_are_kept() -> None:
    text = shown("a <b>c</b>\nnext [x](http://h/) ![y](http://i/)\n\n<div>block</div>")
    for part in ("<b>c</b>", "x (http://h/)", "y (http://i/)", "<div>block</div>"):
        assert part in text
    assert text.splitlines()[0].rstrip() == "a <b>c</b>"


def test_control_characters_are_removed() -> None:
    assert without_controls("a\x1b[31m\x07\x9b\tb\n\u2028é") == "a[31m\tb\n\u2028é"
