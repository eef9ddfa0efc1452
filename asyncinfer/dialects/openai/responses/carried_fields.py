"""Carries the fields of an answer that must be sent back, but do not exist in the Responses API. A server needs this.

Examples are the thinking blocks of Anthropic and Bedrock, OpenRouter's `reasoning_details`, and the signatures of
Gemini's calls. A streamed answer carries the output items of another API too, because the items of its events can have
neither their ids nor their order.

They are in the `encrypted_content` of a reasoning item, as JSON in base64. It is not secret. Clients send it back
unchanged and do not read it. But a client may send any content there, so it is checked like every other field of a
request.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json

from asyncinfer.dialects.fields import as_object, checked_depth, members_of, object_at
from asyncinfer.dialects.openai.responses.output_reader import OUTPUT_ITEMS, REASONING, REASONING_ITEMS
from asyncinfer.types.message import Message
from asyncinfer.types.tools import ToolCall

Json = dict[str, Any]
Item = Mapping[str, Any]
_BEGIN = "asyncinfer:"
_FIELDS, _CALLS = "fields", "calls"
# The fields of messages and of calls that are carried.
_OF_MESSAGES = ("extra_content", "reasoning_details", "thinking_blocks")
_OF_ITEMS = (OUTPUT_ITEMS, REASONING_ITEMS)
_OF_CALLS = ("extra_content",)
# Parsing an object takes a few microseconds, and blocks the event loop.
_MOST_CONTAINERS, _MOST_VALUES = 20_000, 200_000


def carried_content(message: Message, *, with_items: bool = False) -> str | None:
    """Return the `encrypted_content` that carries the fields of an answer; None if there is nothing to carry.

    Args:
        with_items: Whether it also carries the output items that the answer keeps from another API.
    """
    fields = _present(message.model_extra, _OF_MESSAGES)
    if with_items:
        fields |= _items_of(message)
    calls = {call.id: extra for call in message.tool_calls or () if (extra := _present(call.model_extra, _OF_CALLS))}
    carried: Json = {name: value for name, value in ((_FIELDS, fields), (_CALLS, calls)) if value}
    return _BEGIN + b64encode(to_json(carried)).decode() if carried else None


def _items_of(message: Message) -> Json:
    """Return the output items that an answer keeps, unless they are only plain reasoning: the stream has it too."""
    kept = _present(message.model_extra, _OF_ITEMS)
    reasoning = [as_object(item) for item in members_of(kept.get(REASONING_ITEMS))]
    is_plain = all(item.get("content") and not item.get("encrypted_content") for item in reasoning)
    return {} if OUTPUT_ITEMS not in kept and is_plain else kept


def _present(extra: Mapping[str, Any] | None, names: Iterable[str]) -> Json:
    return {name: extra[name] for name in names if extra.get(name)} if extra else {}


def is_carrier(item: Item) -> bool:
    """Whether an item has only carried fields."""
    return _has_carried(item) and not item.get("content") and not item.get("summary")


def _has_carried(item: Item) -> bool:
    content = item.get("encrypted_content")
    return item.get("type") == REASONING and isinstance(content, str) and content.startswith(_BEGIN)


def carrier_item(id: str, content: str, status: str) -> Json:
    """Return a reasoning item that has only carried fields."""
    return {"type": REASONING, "id": id, "summary": [], "content": [], "status": status, "encrypted_content": content}


class CarriedReader:
    """Reads the carried fields in the items of one request."""

    def __init__(self) -> None:
        self._containers = self._values = 0

    def read(self, items: Sequence[Item]) -> tuple[list[Item], Json]:
        """Return the items of an answer without the carried fields, and the carried fields.

        Raises:
            ValueError: They cannot be read, or the request has too many of them.
        """
        found: Json = {}
        plain: list[Item] = []
        for item in items:
            if not _has_carried(item):
                plain.append(item)
                continue
            found |= self._parsed(item["encrypted_content"].removeprefix(_BEGIN))
            if not is_carrier(item):
                plain.append({name: value for name, value in item.items() if name != "encrypted_content"})
        return plain, found

    def _parsed(self, content: str) -> Json:
        try:
            text = b64decode(content, validate=True)
            self._containers += text.count(b"{") + text.count(b"[")
            self._values += text.count(b",")
            if self._containers > _MOST_CONTAINERS or self._values > _MOST_VALUES:
                raise ValueError
            return {**as_object(checked_depth(from_json(text, allow_inf_nan=False)))}
        except ValueError:
            raise ValueError("`encrypted_content` does not come from an earlier answer of this server") from None


def with_carried(message: Message, carried: Item) -> Message:
    """Return a message with the fields that its items have carried."""
    if not carried:
        return message
    fields = _present(object_at(carried, _FIELDS), (*_OF_MESSAGES, *_OF_ITEMS))
    if not fields.keys().isdisjoint(_OF_ITEMS):
        fields = dict.fromkeys(_OF_ITEMS) | fields  # They replace those that the items of the stream make.
    extras = object_at(carried, _CALLS)
    calls = [_with_extra(call, object_at(extras, call.id)) for call in message.tool_calls or ()]
    return message.model_copy(update={**fields, "tool_calls": calls or None})


def _with_extra(call: ToolCall, extra: Item) -> ToolCall:
    return call.model_copy(update=_present(extra, _OF_CALLS)) if extra else call
