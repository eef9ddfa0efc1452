"""Writes messages as the input items of a request to the Responses API.

Sources: `ResponseInputItemParam` of openai-python 3.57 and OpenAI's guides "Conversation state" and "Reasoning models",
November 2026.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from asyncinfer.dialects.answer_text import text_of
from asyncinfer.dialects.fields import as_object, given_fields, members_of
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.dialects.openai.responses.answer_items import sent_back_item
from asyncinfer.dialects.openai.responses.content import FILE_KEYS, IMAGE_KEYS, TEXT_KEYS, written_content
from asyncinfer.dialects.openai.responses.output_reader import (
    CALL,
    CALL_KEYS,
    MESSAGE,
    OUTPUT_ITEMS,
    PHASE,
    REASONING,
    REASONING_ITEMS,
    messages_in,
)
from asyncinfer.dialects.openai.responses.tools import TOOL_KEYS
from asyncinfer.dialects.unsent_keys import SentKeys
from asyncinfer.errors import invalid_request
from asyncinfer.types.merging import merged_messages
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall

Json = dict[str, Any]
# The keys of an earlier answer that are sent back.
_SENT_BACK = frozenset({OUTPUT_ITEMS, PHASE, REASONING_ITEMS})
# The additional keys that the API has a field for.
SENT_KEYS = SentKeys(text=TEXT_KEYS, image=IMAGE_KEYS, document=FILE_KEYS, tool=TOOL_KEYS)


def input_items(messages: Sequence[Message], quirks: Quirks, *, stored: bool = False) -> list[Json]:
    """Return the input items of a request.

    Args:
        stored: The API stores its answers, so that it knows reasoning items by their ids. Otherwise, reasoning without
            its content is not sent, because the API answers 404 to it.

    Raises:
        RequestError: The server does not support an image or a document.
    """
    if quirks.merges_messages:
        messages = merged_messages(messages, is_sent=_SENT_BACK.__contains__)
    numbers = count()
    return [item for message in messages for item in _items(message, quirks, stored, numbers)]


def _items(message: Message, quirks: Quirks, stored: bool, numbers: Iterator[int]) -> Iterator[Json]:
    match message.role:
        case Role.ASSISTANT:
            yield from _answer(message, quirks, stored, numbers)
        case Role.TOOL:
            output = written_content(message.content, quirks)
            yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
        case _:
            yield {"role": message.role.value, "content": written_content(message.content, quirks)}


def _answer(message: Message, quirks: Quirks, stored: bool, numbers: Iterator[int]) -> Iterator[Json]:
    """Yield the items of an earlier answer: those that the API sent, if the message still has their text and calls."""
    kept = kept_items(message)
    items = [item for item in kept if stored or _is_self_contained(item)]
    if is_whole(message, kept):
        yield from items
        return
    reasoning = [item for item in items if item.get("type") not in (MESSAGE, CALL)]
    yield from reasoning
    if not reasoning and quirks.reasoning is not None and message.reasoning_content:
        yield reasoning_item(f"rs_{next(numbers)}", message.reasoning_content)
    yield from _texts(message)
    yield from (call_item(call) for call in message.tool_calls or ())


def kept_items(message: Message) -> list[Json]:
    """Return the output items that an answer keeps, as they may be sent back."""
    extra = message.model_extra or {}
    given = members_of(extra.get(OUTPUT_ITEMS) or extra.get(REASONING_ITEMS))
    return [sent for item in given if (sent := sent_back_item(as_object(item))) is not None]


def is_whole(message: Message, kept: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message keeps all its items, and its text and its calls have not been changed since."""
    if not (message.model_extra or {}).get(OUTPUT_ITEMS):
        return False
    texts, calls = messages_in(kept), [item for item in kept if item.get("type") == CALL]
    ours = message.tool_calls or []
    if "".join(text_of(item.get("content")) for item in texts) != message.text or len(ours) != len(calls):
        return False
    return all(map(_is_same_call, ours, calls))


def _is_same_call(call: ToolCall, item: Mapping[str, Any]) -> bool:
    """Whether an item is this call. Its arguments may be written differently, for instance with other spaces."""
    if (call.id, call.function.name) != (item.get("call_id"), item.get("name")):
        return False
    ours, theirs = call.function.arguments, item.get("arguments")
    return ours == theirs or (isinstance(theirs, str) and _canonical(ours) == _canonical(theirs))


def _canonical(arguments: str) -> str:
    """Return the arguments of a call in a form that is the same for equal arguments. Other text stays unchanged."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def _is_self_contained(item: Mapping[str, Any]) -> bool:
    """Whether an item can be read without a copy at the API. Reasoning needs its encrypted or its plain content."""
    return item.get("type") != REASONING or bool(item.get("encrypted_content") or item.get("content"))


def _texts(message: Message) -> Iterator[Json]:
    """Yield the texts of an answer, each as a message of its own."""
    if any(not item.is_text() for item in message.content_items):
        raise invalid_request("this API accepts no images and documents in messages of the assistant")
    phase = (message.model_extra or {}).get(PHASE)
    labelled = {PHASE: phase} if isinstance(phase, str) else {}
    for item in message.content_items:
        if item.content or not message.tool_calls:
            yield {"role": "assistant", "content": item.content or "", **labelled}


def call_item(call: ToolCall, **fields: Any) -> Json:
    """Return a function call as an item. `fields`: further fields, such as the id of the item and its status."""
    function = {"call_id": call.id, "name": call.function.name, "arguments": call.function.arguments}
    return {"type": CALL, **fields, **function, **given_fields(call.model_extra, CALL_KEYS)}


def reasoning_item(id: str, text: str, **fields: Any) -> Json:
    """Return a text of reasoning as an item. `fields`: further fields, such as the status."""
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": REASONING, "id": id, "summary": [], "content": content, **fields}
