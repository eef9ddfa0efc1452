"""Conversations and results in Markdown, as notebooks show them.

IPython calls `_repr_markdown_` (IPython 9.18, November 2026: "Rich display" of its documentation), and the notebook
renders the text: Markdown, HTML and formulas. Texts of users and models are therefore escaped and put into `<pre>`:
none of their characters is markup, and none loads anything. Only images whose bytes are at hand are shown.
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
    from asyncinfer.types.conversation import ContentItem, Conversation, Message
    from asyncinfer.types.tools import ToolCall

# The images that all browsers show, and the largest one (bytes) that is put into a notebook.
_SHOWN_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_LARGEST_IMAGE = 4_000_000
# The largest text (characters) that is shown in full.
_LONGEST_TEXT = 20_000
# The characters that have a meaning in HTML, Markdown or formulas, as HTML entities. HTML does not allow U+0000.
_ENTITIES = {ord(char): f"&#{ord(char)};" for char in "&<>\"'\\`*_{}[]()#+-.!|~$:@/="} | {0: "\ufffd"}


def conversation_markdown(conversation: Conversation) -> str:
    """Return all messages, under their roles."""
    return "\n\n".join(map(message_markdown, conversation.messages)) or "*no messages*"


def message_markdown(message: Message) -> str:
    """Return a message: its role as a heading, its reasoning, its content and its tool calls."""
    name = f" ({inline(message.name)})" if message.name else ""
    parts = [f"#### {message.role.value}{name}"]
    if message.reasoning_content:
        parts += ["*reasoning*", text_block(message.reasoning_content)]
    parts += map(item_markdown, message.content_items)
    parts += map(_call, message.tool_calls or ())
    return "\n\n".join(parts)


def item_markdown(item: ContentItem) -> str:
    """Return a text, an image, or the description of an item that is not at hand."""
    if item.is_text():
        return text_block(item.content or "")
    data = item.binary or _data_of(item.content or "")
    if data is None:
        return f"{item.type.value}: <code>{inline(str(mask_options(item.content)))}</code>"
    label = inline(data_label(data))
    kind = sniffed_type(data)
    if kind not in _SHOWN_IMAGES or len(data) > _LARGEST_IMAGE:
        return label
    return f"![{label}](data:{kind};base64,{base64.b64encode(data).decode()})"


def text_block(text: str) -> str:
    """Return a paragraph that shows `text` unchanged, its line breaks included."""
    shown = text[:_LONGEST_TEXT]
    cut = f"\n... {len(text):,} characters in total" if len(text) > _LONGEST_TEXT else ""
    # CommonMark, "HTML blocks": a block that begins with `<pre` continues over empty lines until `</pre>`.
    return f'<pre style="white-space: pre-wrap">{_escaped(shown + cut)}</pre>'


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


def _call(call: ToolCall) -> str:
    return f"<pre><code>{_escaped(f'{call.function.name}({call.function.arguments})')}</code></pre>"


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
