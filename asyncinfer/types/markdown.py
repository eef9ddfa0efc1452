"""Conversations and results in Markdown, as notebooks show them.

IPython calls `_repr_markdown_` (IPython 9.18, November 2026: "Rich display" of its documentation), and the notebook
renders the text: Markdown, HTML and formulas. Texts of users and models are therefore escaped and put into `<pre>`, so
that they have no markup and load nothing. An image is shown only if its bytes are in the conversation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from asyncinfer.types.data_urls import data_url
from asyncinfer.types.masking import mask_options
from asyncinfer.types.media_types import sniffed_type
from asyncinfer.types.short_repr import data_label

if TYPE_CHECKING:
    from asyncinfer.types.content import ContentItem
    from asyncinfer.types.conversation import Conversation
    from asyncinfer.types.message import Message
    from asyncinfer.types.tools import ToolCall

# The images that all browsers show, and the largest one (bytes) that is put into a notebook.
_SHOWN_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_LARGEST_IMAGE = 4_000_000
# The largest text (characters) that is shown in full.
_LONGEST_TEXT = 20_000
# The most bytes of images, and the most characters, of all messages together. Notebooks save what they show.
_ALL_IMAGES = 8_000_000
_ALL_TEXTS = 500_000
# The characters that have a meaning in HTML, Markdown or formulas, as HTML entities. HTML does not allow U+0000.
# Surrogates cannot be encoded.
_ENTITIES = {ord(char): f"&#{ord(char)};" for char in "&<>\"'\\`*_{}[]()#+-.!|~$:@/="} | dict.fromkeys(
    (0, *range(0xD800, 0xE000)), "\ufffd"
)


class _Room:
    """How much more may be shown: characters of texts, and bytes of images."""

    def __init__(self) -> None:
        self.texts, self.images = _ALL_TEXTS, _ALL_IMAGES

    def take_text(self, length: int) -> int:
        """Return how many characters of a text are shown."""
        shown = min(length, _LONGEST_TEXT, self.texts)
        self.texts -= shown
        return shown

    def takes_image(self, size: int) -> bool:
        """Whether an image is shown."""
        if size > min(_LARGEST_IMAGE, self.images):
            return False
        self.images -= size
        return True


def conversation_markdown(conversation: Conversation) -> str:
    """Return the messages, under their roles. The last messages of a very long conversation are only counted."""
    room, shown = _Room(), list[str]()
    for message in conversation.messages:
        if not room.texts:
            shown.append(f"*{len(conversation.messages) - len(shown):,} more messages*")
            break
        shown.append(message_markdown(message, room))
    return "\n\n".join(shown) or "*no messages*"


def message_markdown(message: Message, room: _Room | None = None) -> str:
    """Return a message: its role as a heading, its reasoning, its content and its tool calls."""
    room = room or _Room()
    name = f" ({inline(message.name)})" if message.name else ""
    parts = [f"#### {message.role.value}{name}"]
    if message.reasoning_content:
        parts += ["*reasoning*", text_block(message.reasoning_content, room)]
    parts += [item_markdown(item, room) for item in message.content_items]
    parts += [_call(call, room) for call in message.tool_calls or ()]
    return "\n\n".join(parts)


def item_markdown(item: ContentItem, room: _Room | None = None) -> str:
    """Return a text, an image, or the description of an item that cannot be shown."""
    room = room or _Room()
    if item.is_text():
        return text_block(item.content or "", room)
    data = item.binary or _data_of(item.content or "")
    if data is None:
        return f"{item.type.value}: <code>{inline(_cut(str(mask_options(item.content)), room))}</code>"
    label = inline(data_label(data))
    kind = sniffed_type(data)
    if kind not in _SHOWN_IMAGES or not room.takes_image(len(data)):
        return label
    return f"![{label}](data:{kind};base64,{base64.b64encode(data).decode()})"


def text_block(text: str, room: _Room | None = None) -> str:
    """Return a paragraph that shows `text` unchanged, with its line breaks."""
    # CommonMark, "HTML blocks": a block that begins with `<pre` continues over empty lines until `</pre>`.
    return f'<pre style="white-space: pre-wrap">{_escaped(_cut(text, room or _Room()))}</pre>'


def inline(text: str) -> str:
    """Return `text` as a part of a line."""
    return _escaped(" ".join(text.split()))


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of two columns: names and values."""
    lines = [f"| {inline(name)} | {inline(str(value))} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def failure_lines(failures: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Yield a line of a list for each failed row."""
    for index, error in failures:
        yield f"- row {index}: {inline(error)}"


def _call(call: ToolCall, room: _Room) -> str:
    return f"<pre><code>{_escaped(_cut(f'{call.function.name}({call.function.arguments})', room))}</code></pre>"


def _cut(text: str, room: _Room) -> str:
    """Return the part of a text that may still be shown."""
    shown = room.take_text(len(text))
    return text if shown == len(text) else f"{text[:shown]}\n... {len(text):,} characters in total"


def _escaped(text: str) -> str:
    return text.translate(_ENTITIES)


def _data_of(url: str) -> bytes | None:
    """Return the bytes in a data URL; None if it is another URL, or if it is not valid."""
    parts = data_url(url)
    if parts is None or not parts.is_base64:
        return None
    try:
        return base64.b64decode(parts.data, validate=True)
    except ValueError:
        return None
