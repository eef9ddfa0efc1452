"""Warns of keys of messages, content items and tools that an API has no place for."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolDefinition

Warn = Callable[[str], None]
# Keys of answers and tool results of any API. They are for the reader of the answer, or for the APIs that know them.
# The text already says what `is_error` and `refusal` say.
OF_ANSWERS = frozenset(
    {
        *("annotations", "audio", "citations", "extra_content", "is_error", "logprobs", "output_items", "parsed"),
        *("phase", "provider_specific_fields", "reasoning", "reasoning_details", "reasoning_items"),
        *("refusal", "thinking_blocks"),
    }
)
# The name of a file does not change the answer.
_FILE_NAMES = frozenset({"filename", "name"})
_LONGEST = 60
_NO_KEYS: frozenset[str] = frozenset()


def no_warning(text: str) -> None:
    """Ignore a warning."""


@dataclass(frozen=True, slots=True)
class SentKeys:
    """The additional keys that an API has a place for. For other keys there is a warning.

    Args:
        message: Keys of messages.
        text, image, document: Keys of content items.
        tool: Keys of tools.
    """

    message: frozenset[str] = _NO_KEYS
    text: frozenset[str] = _NO_KEYS
    image: frozenset[str] = _NO_KEYS
    document: frozenset[str] = _NO_KEYS
    tool: frozenset[str] = _NO_KEYS

    def check(self, conversation: Conversation, warn: Warn) -> None:
        """Warn of each kind of key that is not sent."""
        for message in conversation.messages:
            if message.model_extra or message.name is not None:
                _warn("a message", _keys_of(message), self.message, warn)
            if isinstance(message.content, list):
                self._check_items(message.content, warn)
        for tool in conversation.tools or ():
            _warn("a tool", _keys_of_tool(tool), self.tool, warn)

    def _check_items(self, items: Iterable[ContentItem], warn: Warn) -> None:
        for item in items:
            if item.model_extra and item.is_text():
                _warn("a text", item.model_extra, self.text, warn)
            elif item.model_extra and item.is_image():
                _warn("an image", item.model_extra, self.image, warn)
            elif item.model_extra:
                _warn("a document", item.model_extra, self.document | _FILE_NAMES, warn)


def warn_of_names(conversation: Conversation, sent: Container[Role], warn: Warn) -> None:
    """Warn of names of messages that are not sent. There is no warning for a tool message: its call has the name.

    Args:
        sent: The roles whose messages are sent with their names.
    """
    for message in conversation.messages:
        if message.name is not None and message.role not in sent and message.role is not Role.TOOL:
            warn(f"the key 'name' of a message of the role {message.role.value} is not sent: this API refuses it")


def _keys_of(message: Message) -> Mapping[str, Any]:
    """Return the additional keys of a message that are not those of an answer. There is no warning for the `name` of
    a tool message."""
    extra = {key: value for key, value in (message.model_extra or {}).items() if key not in OF_ANSWERS}
    return {**extra, "name": message.name} if message.role is not Role.TOOL else extra


def _keys_of_tool(tool: ToolDefinition) -> Mapping[str, Any]:
    return {**(tool.model_extra or {}), **(tool.function.model_extra or {})}


def _warn(owner: str, keys: Mapping[str, Any], sent: frozenset[str], warn: Warn) -> None:
    for key, value in keys.items():
        if value is not None and key not in sent:
            warn(f"the key {key[:_LONGEST]!r} of {owner} is not sent: this API has no field for it")
