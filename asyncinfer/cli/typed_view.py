"""Shows typed answers: as indented JSON, in colour on a terminal."""

from __future__ import annotations

import sys
from contextlib import suppress

from pydantic_core import to_json
from rich.console import Console

from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.answer_view import without_controls
from asyncinfer.types.conversation import Conversation


def typed_text(answered: Conversation) -> str:
    """Return the typed answer of a conversation as indented JSON; its text if it has none, or if that is impossible."""
    if answered.parsed is None:
        return answered.text
    try:
        return to_json(answered.parsed, indent=2, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:  # A serializer of the user's class raised an error.
        return answered.text


async def show_typed(answered: Conversation) -> None:
    """Print the typed answer of a conversation on stdout."""
    await DISK.run(_print, answered)


def _print(answered: Conversation) -> None:
    text = typed_text(answered)
    if sys.stdout.isatty() and answered.parsed is not None:
        text = without_controls(text)
        with suppress(ValueError):  # It is the text of the answer, which is not only JSON.
            Console().print_json(text)
            return
    print(text, flush=True)
