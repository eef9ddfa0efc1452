"""Merges adjacent messages of one role, for chat templates and APIs in which the roles must alternate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from asyncinfer.types.message import Message

IsSent = Callable[[str], bool]


def _every_key(key: str) -> bool:
    return True


def merged_messages(
    messages: Sequence[Message], *, as_text: bool = False, is_sent: IsSent = _every_key
) -> Sequence[Message]:
    """Return `messages` with adjacent messages of one role as one message, whose content is the list of their items.

    Messages stay apart if the merged message would not say the same: those with different names, with additional keys
    that are sent, with the id of a call, and content after tool calls.

    Args:
        as_text: Join the texts of adjacent messages without other items, each on a line of its own.
        is_sent: Whether an additional key of messages is sent.

    Returns:
        `messages` itself if there is nothing to merge.
    """
    if not any(one.role is other.role for one, other in pairwise(messages)):
        return messages
    groups = list(_groups(messages, is_sent))
    return messages if len(groups) == len(messages) else [_as_one(group, as_text) for group in groups]


def _groups(messages: Sequence[Message], is_sent: IsSent) -> Iterator[list[Message]]:
    group = [messages[0]]
    for message in messages[1:]:
        if not _belong_together(group, message, is_sent):
            yield group
            group = []
        group.append(message)
    yield group


def _belong_together(group: list[Message], other: Message, is_sent: IsSent) -> bool:
    last = group[-1]
    if last.role is not other.role or last.name != other.name:
        return False
    if other.content and any(message.tool_calls for message in group):
        return False
    return _can_merge(last, is_sent) and _can_merge(other, is_sent)


def _can_merge(message: Message, is_sent: IsSent) -> bool:
    extra = message.model_extra or {}
    return message.tool_call_id is None and not any(is_sent(key) for key, value in extra.items() if value is not None)


def _as_one(messages: list[Message], as_text: bool) -> Message:
    if len(messages) == 1:
        return messages[0]
    items = [item for message in messages for item in message.content_items]
    joins = as_text and all(item.is_text() for item in items)
    content = "\n".join(item.content or "" for item in items) if joins else items
    reasoning = "\n".join(message.reasoning_content for message in messages if message.reasoning_content)
    calls = [call for message in messages for call in message.tool_calls or ()]
    # Without calls, some chat templates need a content, even an empty one.
    fields = {"content": content, "reasoning_content": reasoning or None}
    if calls:
        fields = {**fields, "content": content or None, "tool_calls": calls}
    return messages[0].model_copy(update=fields)
