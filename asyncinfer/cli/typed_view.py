"""Shows typed answers: as indented JSON, in colour on a terminal."""

from __future__ import annotations

import sys

from pydantic_core import to_json
from rich.console import Console

from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.answer_view import without_controls
from asyncinfer.types.conversation import Conversation


def typed_text(answered: Conversation) -> str:
    """Return the typed answer of a conversation as indented JSON; its text if it has none."""
    if answered.parsed is None:
        return answered.text
    return to_json(answered.parsed, indent=2, inf_nan_mode="constants", fallback=str).decode()


async def show_typed(answered: Conversation) -> None:
    """Print the typed answer of a conversation on stdout."""
    await DISK.run(_print, answered)


def _print(answered: Conversation) -> None:
    text = typed_text(answered)
    if sys.stdout.isatty() and answered.parsed is not None:
        Console().print_json(without_controls(text))
    else:
        print(text, flush=True)
