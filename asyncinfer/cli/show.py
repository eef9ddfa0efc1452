"""Shows the rows of a run on the terminal, also of one that is in progress."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

from asyncinfer.cli.answer_view import without_controls
from asyncinfer.cli.messages import say
from asyncinfer.cli.row_files import TableFile, open_rows
from asyncinfer.data.json_values import as_text, json_text
from asyncinfer.dialects.fields import object_at
from asyncinfer.errors import InputError
from asyncinfer.run.failures import failures_path
from asyncinfer.scratch.view import Columns, RowFile
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation

# Between two looks at a file that grows (seconds).
_INTERVAL = 0.5
# After how many looks without a new row it is checked whether the process of the run still exists.
_IDLE_LOOKS = 10

Row = Conversation | Columns


def show_rows(
    path: Path, *, follow: bool = False, failures: bool = False, limit: int | None = None, as_json: bool = False
) -> None:
    """Print the rows of a file. On a terminal, a pager shows them, unless `follow` is set.

    Args:
        path: An output, a file of failed rows, or a scratch file.
        follow: Print further rows as they are saved, until the run ends. Wait for a run that has not begun.
        failures: Only the failed rows. For an output, these are in the file beside it.
        limit: At most so many rows.
        as_json: Print the lines as they are, without a pager.

    Raises:
        InputError: There is no such file.
    """
    if failures and failures_path(path).exists():
        path = failures_path(path)
    with closing(_waiting_for(path) if follow else open_rows(path)) as file:
        rows = _following(file) if follow else file.rows()
        if failures:
            rows = (row for row in rows if isinstance(row, Conversation) and FAILURE in row.metadata)
        shown = _show(islice(rows, limit), follow=follow, as_json=as_json)
        if failures and not shown:
            say(f"{file.path}: no failed rows")
        if file.unreadable:
            say(f"{file.path}: {file.unreadable} line(s) that are no rows are left out")


def _show(rows: Iterator[Row], *, follow: bool, as_json: bool) -> int:
    """Show rows, and return how many there are, as far as they were read."""
    numbers = count()
    numbered = zip(rows, numbers, strict=False)
    texts = (_json(row) if as_json else row_text(row, number) for row, number in numbered)
    if sys.stdout.isatty() and not follow and not as_json:
        _page(texts)
    else:
        for text in texts:
            print(text, flush=follow)
    return next(numbers)


def _json(row: Row) -> str:
    return row.to_json() if isinstance(row, Conversation) else json_text(row).decode()


def row_text(row: Row, number: int = 0) -> str:
    """A row as text: what is known about it, and its messages or its columns. Ends with an empty line.

    Args:
        number: Its place in the file, from 0, which is the title of a row of columns.
    """
    if isinstance(row, Conversation):
        lines = [f"--- {_title(row)}", *_messages(row)]
    else:
        lines = [f"--- row {number}", *(f"{name}: {as_text(value)}" for name, value in row.items())]
    return without_controls("\n".join(lines)) + "\n"


def _messages(row: Conversation) -> Iterator[str]:
    for message in row.messages:
        text = message.compute_flattened_text_content()
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or ()]
        yield from (f"{message.role.value}: {part}" for part in ([text] if text or not calls else []) + calls)
    if failure := object_at(row.metadata, FAILURE):
        yield f"failure: {failure.get('error_message')}"


def _title(row: Conversation) -> str:
    metadata = row.metadata
    failure, usage = object_at(metadata, FAILURE), object_at(metadata, "usage")
    parts = [row.conversation_id or ""]
    if failure:
        parts.append(f"row {failure.get('row')}, failed")
    elif reason := metadata.get("finish_reason"):
        parts.append(str(reason))
    if usage:
        parts.append(f"{usage.get('completion_tokens', 0)} tokens")
    return ", ".join(part for part in parts if part)


def _waiting_for(path: Path) -> RowFile | TableFile:
    """The rows of a file, as soon as there is one, or a run that saves rows for it."""
    is_announced = False
    while True:
        try:
            return open_rows(path)
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        if not is_announced:
            say(f"No run has saved rows for {path} yet. Waiting for one; Ctrl-C ends this.")
            is_announced = True
        time.sleep(_INTERVAL)


def _following(file: RowFile | TableFile) -> Iterator[Row]:
    """The rows of a file, and those that are added, until the run ends."""
    idle = 0
    while True:
        has_ended = file.has_ended()  # Before the last rows are read, so that none is missed.
        idle += 1
        for row in file.rows():
            idle = 0
            yield row
        if has_ended:
            return
        if idle >= _IDLE_LOOKS:
            idle = 0
            if file.was_killed():
                say(f"The run that saved {file.path} was killed. To go on, run its command again.")
                return
        time.sleep(_INTERVAL)


def _page(texts: Iterator[str]) -> None:
    """Show texts in the pager of `$PAGER`, or in `less`. They are read only as far as the user looks."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or shutil.which(command[0]) is None:
        for text in texts:
            print(text)
        return
    pager = subprocess.Popen(command, stdin=subprocess.PIPE, encoding="utf-8", errors="replace")
    assert pager.stdin is not None
    try:
        for text in texts:
            pager.stdin.write(f"{text}\n")
        pager.stdin.close()
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # The user has left the pager, or needs no more rows.
    _wait_for(pager)


def _wait_for(pager: subprocess.Popen[str]) -> None:
    """Wait until the user leaves the pager. As in the pager, Ctrl-C does not end it: it would keep the terminal."""
    while True:
        try:
            pager.communicate()
            return
        except KeyboardInterrupt:
            continue
