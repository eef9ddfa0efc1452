"""The columns that an output has only if an answer has a value for them: what comes with the text of an answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from asyncinfer.data.column_types import Kind
from asyncinfer.types.answer import ANSWER_METADATA, CHOICES, COST, LOGPROBS, saved_cost, saved_usage
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message

FINISH_REASON, USAGE = "finish_reason", "usage"
# The counts of the usage that every output has, and those that have columns of their own.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_OTHER_TOKENS = ("cached_tokens", "cache_creation_tokens", "reasoning_tokens")
_REASONING, _CALLS, _METADATA = "reasoning_content", "tool_calls", "metadata"
# The columns in their order, with what their values are. TEXT also stands for lists and objects.
_KINDS: dict[str, Kind] = {
    **dict.fromkeys((_REASONING, _CALLS, CHOICES, LOGPROBS), Kind.TEXT),
    COST: Kind.NUMBER,
    **dict.fromkeys(_OTHER_TOKENS, Kind.INTEGER),
    _METADATA: Kind.TEXT,
}
# Metadata without a column of its own; they share the column `metadata`. Many are in every response, and few people
# need them.
_IN_METADATA = tuple(name for name in ANSWER_METADATA if name not in {FINISH_REASON, USAGE, *_KINDS})
_MESSAGE_FIELDS = "message_fields"
# The fields of a message that have columns of their own, apart from its content.
_WRITTEN = frozenset({"role", _REASONING, _CALLS})
_PLAIN = _WRITTEN | {"content"}
_TEXT_FIELDS = frozenset({"type", "content"})


class OptionalColumns:
    """The columns that the answers of one run need.

    A column whose name is taken has the prefix `answer_`.
    """

    def __init__(self) -> None:
        self._taken = set[object]()
        self._needed = set[str]()

    def reserve(self, names: Iterable[object]) -> None:
        """Give no column one of these names."""
        self._taken.update(names)

    def add(self, answered: Conversation) -> None:
        """Find the columns that an answered conversation needs."""
        self._needed.update(_values(answered))

    def require(self, columns: Collection[str]) -> None:
        """Keep the optional columns that `columns` names."""
        self._needed.update(name for name in _KINDS if self.column(name) in columns)

    def require_all(self) -> None:
        """Use every column."""
        self._needed.update(_KINDS)

    def column(self, name: str) -> str:
        """The name of a column, with the prefix `answer_` if it is taken."""
        while name in self._taken:
            name = f"answer_{name}"
        return name

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns, with what their values are."""
        return {self.column(name): kind for name, kind in _KINDS.items() if name in self._needed}

    def values(self, answered: Conversation) -> dict[str, Any]:
        """The values of an answered conversation. Lists and objects are as in JSON."""
        if not self._needed:  # Saves 16 us for each plain answer, three times what it takes to read it.
            return {}
        values = _values(answered)
        return {self.column(name): values.get(name) for name in _KINDS if name in self._needed}


def _values(answered: Conversation) -> dict[str, Any]:
    """Everything that an answer has, except its text and what every output has."""
    answer, metadata, usage = answered.messages[-1], answered.metadata, saved_usage(answered)
    values: dict[str, Any] = {_REASONING: answer.reasoning_content, COST: saved_cost(answered)}
    values |= {name: metadata.get(name) for name in (CHOICES, LOGPROBS)}
    if answer.tool_calls:
        values[_CALLS] = [call.model_dump(mode="json", exclude_none=True) for call in answer.tool_calls]
    others = {name: metadata.get(name) for name in _IN_METADATA}
    if usage is not None:
        values |= {name: getattr(usage, name) for name in _OTHER_TOKENS}
        others[USAGE] = dict(usage.details) if usage.details else None
    others[_MESSAGE_FIELDS] = _message_fields(answer) or None
    values[_METADATA] = _present(others) or None
    return _present(values)


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _message_fields(answer: Message) -> dict[str, Any]:
    """The fields of a message that no other column has: unknown ones, and a content that has more than text."""
    is_text = all(item.model_fields_set <= _TEXT_FIELDS and item.is_text() for item in answer.content_items)
    if is_text and answer.model_fields_set <= _PLAIN:
        return {}
    return answer.model_dump(mode="json", exclude_none=True, exclude={*(_PLAIN if is_text else _WRITTEN)})
