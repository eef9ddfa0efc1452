"""Shows the rows of a run on the terminal, also of one that is in progress."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

from asyncinfer.cli.answer_view import without_controls
from asyncinfer.cli.messages import say
from asyncinfer.run.failures import failures_path
from asyncinfer.scratch.view import RowFile
from asyncinfer.types.answer import FAILURE
from asyncinfer.types.conversation import Conversation

# Between two looks at a file that grows (seconds).
_INTERVAL = 0.5


def show_rows(
    path: Path, *, follow: bool = False, failures: bool = False, limit: int | None = None, as_json: bool = False
) -> None:
    """Print the rows of a file. On a terminal, a pager shows them, unless `follow` is set.

    Args:
        path: An output, a file of failed rows, or a scratch file.
        follow: Print further rows as they are saved, until the run ends.
        failures: Only the failed rows. For an output, these are in the file beside it.
        limit: At most so many rows.
        as_json: Print the lines as they are, without a pager.

    Raises:
        InputError: There is no such file.
    """
    if failures and failures_path(path).exists():
        path = failures_path(path)
    file = RowFile(path)
    try:
        rows = _following(file) if follow else file.rows()
        if failures:
            rows = (row for row in rows if FAILURE in row.metadata)
        texts = (row.to_json() if as_json else row_text(row) for row in islice(rows, limit))
        if sys.stdout.isatty() and not follow and not as_json:
            _page(texts)
        else:
            for text in texts:
                print(text, flush=follow)
    finally:
        file.close()
    if file.unreadable:
        say(f"{file.path}: {file.unreadable} line(s) hold no conversation. Only conversations are shown, not tables")


def row_text(row: Conversation) -> str:
    """A row as text: what is known about it, and its messages. Ends with an empty line."""
    lines = [f"--- {_title(row)}"]
    for message in row.messages:
        text = message.compute_flattened_text_content()
        calls = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or ()]
        lines += [f"{message.role.value}: {part}" for part in ([text] if text or not calls else []) + calls]
    if isinstance(failure := row.metadata.get(FAILURE), dict):
        lines.append(f"failure: {cast(dict[str, Any], failure).get('error_message')}")
    return without_controls("\n".join(lines)) + "\n"


def _title(row: Conversation) -> str:
    metadata = row.metadata
    failure, usage = metadata.get(FAILURE), metadata.get("usage")
    parts = [row.conversation_id or ""]
    if isinstance(failure, dict):
        parts.append(f"row {cast(dict[str, Any], failure).get('row')}, failed")
    elif reason := metadata.get("finish_reason"):
        parts.append(str(reason))
    if isinstance(usage, dict):
        parts.append(f"{cast(dict[str, Any], usage).get('completion_tokens', 0)} tokens")
    return ", ".join(part for part in parts if part)


def _following(file: RowFile) -> Iterator[Conversation]:
    """The rows of a file, and those that are added, until the run ends."""
    while True:
        has_ended = file.has_ended()  # Before the last rows are read, so that none is missed.
        yield from file.rows()
        if has_ended:
            return
        time.sleep(_INTERVAL)


def _page(texts: Iterator[str]) -> None:
    """Show texts in the pager of `$PAGER`, or in `less`. They are read only as far as the user looks."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or shutil.which(command[0]) is None:
        for text in texts:
            print(text)
        return
    with subprocess.Popen(command, stdin=subprocess.PIPE, encoding="utf-8", errors="replace") as pager:
        assert pager.stdin is not None
        try:
            for text in texts:
                pager.stdin.write(f"{text}\n")
            pager.stdin.close()
        except BrokenPipeError:
            return  # The user has left the pager.
