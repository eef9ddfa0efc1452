"""The columns that an answer adds to a row of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from pydantic_core import from_json, to_jsonable_python

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import Kind, arrow_type
from asyncinfer.data.json_values import json_text
from asyncinfer.data.schema_fields import fields_of, fitting
from asyncinfer.errors import ConfigError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message

_ANSWER, _REASON = "answer", "finish_reason"
_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
# The columns that an output has only if an answer has a value for them, with the keys that show it in JSON.
_REASONING, _CALLS = "reasoning_content", "tool_calls"
_KEYS = {_REASONING: b'"reasoning_content":', _CALLS: b'"tool_calls":'}
_RESERVED = frozenset([_ANSWER, _REASON, *_TOKENS, *_KEYS])


class AnswerShape(NamedTuple):
    """What is known about the answers of a run that are JSON.

    Args:
        schema: Their JSON schema.
        values: Returns the JSON values that the text of an answer stands for, that of the validated answer first.
            Raises ValueError if there are none. None: the whole text is the JSON.
    """

    schema: Mapping[str, Any]
    values: Callable[[str], Sequence[Any]] | None = None


class AnswerColumns:
    """The columns of the answers of one run.

    Typed answers have a column for each property of their schema, and no column `answer`, unless an answer has
    something that these columns do not hold: further keys, or values that do not fit. It is whole in `answer` too.

    Args:
        shape: What the answers are; None if they are text.

    Raises:
        ConfigError: A property of the schema has the name of another column of the answer.
    """

    def __init__(self, shape: AnswerShape | None = None) -> None:
        self._fields = fields_of(shape.schema if shape is not None else None)
        if taken := [name for name in self._fields if name in _RESERVED]:
            raise ConfigError(
                f"the property {taken[0]!r} of the typed answers has the name of another column of the answer; rename "
                "it in the class or in the schema, or write conversations, to an output_path that ends in .jsonl"
            )
        self._shape = shape
        self._found = set[str]() if self._fields else {_ANSWER}

    @property
    def reserved(self) -> frozenset[str]:
        """The names that columns of the input must not have."""
        return _RESERVED.union(self._fields)

    def look_at(self, text: bytes, conversation: Conversation | None = None) -> None:
        """Learn which columns the output needs.

        Args:
            text: The JSON of an answered conversation.
            conversation: The conversation itself, if there is one.
        """
        self._found.update(name for name, key in _KEYS.items() if key in text)
        if not self._fields or _ANSWER in self._found:
            return
        if not self._typed(conversation or Conversation.from_json(text))[1]:
            self._found.add(_ANSWER)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns, with what their values are."""
        first = {_ANSWER: Kind.TEXT} if _ANSWER in self._found else {}
        last = {name: Kind.TEXT for name in _KEYS if name in self._found}
        return {**self._fields, **first, _REASON: Kind.TEXT, **dict.fromkeys(_TOKENS, Kind.INTEGER), **last}

    def arrow_fields(self) -> list[Any]:
        """The Arrow fields of the columns."""
        return [pyarrow().field(name, arrow_type(kind)) for name, kind in self.kinds.items()]

    def values(self, conversation: Conversation) -> dict[str, Any]:
        """The values of an answered conversation. Columns that are null may be missing."""
        answer = conversation.messages[-1]
        usage: Mapping[str, Any] = conversation.metadata.get("usage") or {}
        values, is_whole = self._typed(conversation) if self._fields else ({}, False)
        if not is_whole:
            values[_ANSWER] = answer.text if answer.content is not None else None
        values |= {_REASON: conversation.metadata.get(_REASON), **{name: usage.get(name) for name in _TOKENS}}
        if self._found:
            others = {_REASONING: answer.reasoning_content, _CALLS: _calls(answer)}
            values |= {name: value for name, value in others.items() if name in self._found}
        return values

    def _typed(self, conversation: Conversation) -> tuple[dict[str, Any], bool]:
        """The properties of a typed answer, and whether they are the whole answer."""
        for value in self._values(conversation):
            if isinstance(value, dict):
                return fitting(self._fields, cast(dict[str, Any], value))
        return {}, False

    def _values(self, conversation: Conversation) -> Iterator[object]:
        """Yield the JSON values that an answer stands for, that of the validated answer first."""
        text = conversation.messages[-1].text
        if conversation.parsed is not None:
            yield to_jsonable_python(conversation.parsed, by_alias=True, fallback=str)
        if self._shape is not None and self._shape.values is not None:
            with suppress(ValueError):
                yield from self._shape.values(text)
        with suppress(ValueError):
            yield from_json(text)


def _calls(answer: Message) -> str | None:
    if not answer.tool_calls:
        return None
    return json_text([call.model_dump(mode="json", exclude_none=True) for call in answer.tool_calls]).decode()
