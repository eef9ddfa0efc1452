"""Merges adjacent messages of one role, for chat templates and APIs in which the roles must alternate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from asyncinfer.types.conversation import Message


def merged_messages(messages: Sequence[Message], *, as_text: bool = False) -> Sequence[Message]:
    """Return `messages` with adjacent messages of one role as one message, whose content is the list of their items.

    A message with tool calls, the id of a call, a name or additional keys stays alone.

    Args:
        as_text: Join the texts of adjacent messages without other items, each on a line of its own.

    Returns:
        `messages` itself if there is nothing to merge.
    """
    if not any(_belong_together(one, other) for one, other in pairwise(messages)):
        return messages
    return [_as_one(group, as_text) for group in _groups(messages)]


def _groups(messages: Sequence[Message]) -> Iterator[list[Message]]:
    group = [messages[0]]
    for message in messages[1:]:
        if not _belong_together(group[-1], message):
            yield group
            group = []
        group.append(message)
    yield group


def _belong_together(one: Message, other: Message) -> bool:
    return one.role is other.role and _is_plain(one) and _is_plain(other)


def _is_plain(message: Message) -> bool:
    return not (message.tool_calls or message.tool_call_id or message.name or message.model_extra)


def _as_one(messages: list[Message], as_text: bool) -> Message:
    if len(messages) == 1:
        return messages[0]
    items = [item for message in messages for item in message.content_items]
    joins = as_text and all(item.is_text() for item in items)
    content = "\n".join(item.content or "" for item in items) if joins else items
    reasoning = "\n".join(message.reasoning_content for message in messages if message.reasoning_content)
    return messages[0].model_copy(update={"content": content, "reasoning_content": reasoning or None})
