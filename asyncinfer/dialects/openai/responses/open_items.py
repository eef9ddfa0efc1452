"""The output items of a streamed response, while they grow. A server needs this.

Source: `ResponseStreamEvent` and `ResponseOutputItem` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from asyncinfer.dialects.openai.responses.input_writer import call_item, reasoning_item
from asyncinfer.dialects.openai.responses.output_writer import message_item, new_id, refusal_part, text_part
from asyncinfer.dialects.openai.responses.status import IN_PROGRESS
from asyncinfer.types.stream import ToolCallDelta
from asyncinfer.types.tools import FunctionCall, ToolCall

Json = dict[str, Any]
# The fields of events that concern the only part of an item.
_FIRST_PART: Json = {"content_index": 0}


class OpenItem(ABC):
    """An output item that grows.

    Args:
        index: Its index among the output items.

    Attributes:
        id: Its id, the same in all events and in the final response.
        status: `in_progress` until the item is complete.
    """

    prefix: ClassVar[str]
    delta_event: ClassVar[str]
    done_event: ClassVar[str]

    def __init__(self, index: int) -> None:
        self.id, self.index, self.status = new_id(self.prefix), index, IN_PROGRESS
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The text so far; the arguments so far, if the item is a function call."""
        return "".join(self._pieces)

    def grow(self, piece: str) -> Json:
        """Add text, and return the further fields of the event that announces it."""
        self._pieces.append(piece)
        return _FIRST_PART

    def part(self) -> Json | None:
        """The content part of the item as it is now; None if the item has no parts."""
        return None

    @abstractmethod
    def fields(self) -> Json:
        """Return the item as it is now."""

    @abstractmethod
    def done_fields(self) -> Json:
        """Return the fields of the event that has the whole text."""


class OpenReasoning(OpenItem):
    """A reasoning item that grows."""

    prefix = "rs"
    delta_event, done_event = "response.reasoning_text.delta", "response.reasoning_text.done"

    def part(self) -> Json:
        """The text of the reasoning."""
        return {"type": "reasoning_text", "text": self.text}

    def fields(self) -> Json:
        """Return the item as it is now."""
        item = reasoning_item(self.id, self.text, status=self.status)
        return item if self.text else {**item, "content": []}

    def done_fields(self) -> Json:
        """Return the text."""
        return {**_FIRST_PART, "text": self.text}


class _OpenAnswer(OpenItem):
    """A message that grows, with one part."""

    prefix = "msg"

    @abstractmethod
    def part(self) -> Json:
        """The only part of the message."""

    def fields(self) -> Json:
        """Return the item as it is now. The parts of a new message are announced by events of their own."""
        parts = [] if self.status == IN_PROGRESS else [self.part()]
        return message_item(self.id, parts, status=self.status)


class OpenMessage(_OpenAnswer):
    """A message with a text that grows."""

    delta_event, done_event = "response.output_text.delta", "response.output_text.done"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.logprobs: list[Json] = []

    def part(self) -> Json:
        """The text of the message, with the log probabilities."""
        return text_part(self.text, logprobs=self.logprobs)

    def done_fields(self) -> Json:
        """Return the text and the log probabilities."""
        return {**_FIRST_PART, "text": self.text, "logprobs": self.logprobs}


class OpenRefusal(_OpenAnswer):
    """A message with a refusal that grows."""

    delta_event, done_event = "response.refusal.delta", "response.refusal.done"

    def part(self) -> Json:
        """The refusal."""
        return refusal_part(self.text)

    def done_fields(self) -> Json:
        """Return the refusal."""
        return {**_FIRST_PART, "refusal": self.text}


class OpenCall(OpenItem):
    """A function call that grows.

    Args:
        first: The first piece of the call, with its id and its name.
    """

    prefix = "fc"
    delta_event, done_event = "response.function_call_arguments.delta", "response.function_call_arguments.done"

    def __init__(self, index: int, first: ToolCallDelta) -> None:
        super().__init__(index)
        self._call_id, self._name = first.id, first.name

    def grow(self, piece: str) -> Json:
        """Add to the arguments. The event has no further fields."""
        super().grow(piece)
        return {}

    def fields(self) -> Json:
        """Return the item as it is now."""
        function = FunctionCall(name=self._name, arguments=self.text)
        return call_item(ToolCall(id=self._call_id, function=function), id=self.id, status=self.status)

    def done_fields(self) -> Json:
        """Return the name and the arguments."""
        return {"name": self._name, "arguments": self.text}
