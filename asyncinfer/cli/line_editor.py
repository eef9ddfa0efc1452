"""Reads messages from a terminal: with prompt_toolkit if it is installed, otherwise line by line.

With prompt_toolkit (checked with 3.0.53, November 2026), Enter sends a message and Alt-Enter begins a new line. A text
that is pasted may have several lines. The arrow keys bring earlier messages back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asyncinfer.aio.iterate import iterate
from asyncinfer.aio.limiters import DISK
from asyncinfer.cli.history import HistoryFile

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "> "


def has_editor() -> bool:
    """Return whether lines can be edited."""
    return find_spec("prompt_toolkit") is not None


async def read_messages(history: HistoryFile | None, unsaved: Collection[str] = ()) -> AsyncGenerator[str]:
    """Yield the messages that the user types, until Ctrl-D.

    Args:
        history: The messages of earlier chats, to which the new ones are added. None: they are not saved.
        unsaved: Messages that are not saved, such as commands.
    """
    source = _edited(history, unsaved) if has_editor() else iterate(_lines())
    async with aclosing(source) as messages:
        async for message in messages:
            yield message


async def _edited(history: HistoryFile | None, unsaved: Collection[str]) -> AsyncGenerator[str]:
    session = await DISK.run(_session, history)
    while True:
        try:
            message = await session.prompt_async()
        except EOFError:
            return
        except KeyboardInterrupt:  # discards what was typed
            continue
        if history is not None and message.strip() and message.strip() not in unsaved:
            await DISK.run(history.append, message)
        yield message


def _session(history: HistoryFile | None) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=". ",
        key_bindings=_keys(),
        history=InMemoryHistory(None if history is None else history.load()),
        enable_open_in_editor=True,
    )


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    keys.add("enter")(send)
    keys.add("escape", "enter")(new_line)
    return keys


def _lines() -> Iterator[str]:
    with suppress(EOFError):
        while True:
            yield input(PROMPT)
