"""The columns that an output has only if an answer has a value for them: what comes with the text of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from asyncinfer.data.column_types import ColumnScan, Kind
from asyncinfer.types.answer import ANSWER_METADATA, CHOICES, COST, LOGPROBS
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message

FINISH_REASON, USAGE = "finish_reason", "usage"
# The counts of the usage that every output has.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")
_REASONING, _CALLS, _METADATA = "reasoning_content", "tool_calls", "metadata"
# The metadata that have columns of their own.
_OWN = (CHOICES, LOGPROBS, COST)
# The other metadata, which are together in one column: many are in every response of an API, and few people need them.
_OTHERS = tuple(name for name in ANSWER_METADATA if name not in {FINISH_REASON, USAGE, *_OWN})
_MESSAGE_FIELDS = "message_fields"
# The columns in their order. The other counts of the usage, whose names are not all known, follow the cost.
_FIRST, _LAST = (_REASONING, _CALLS, *_OWN), _METADATA
# The fields of a message that have columns of their own, apart from its content.
_WRITTEN = frozenset({"role", _REASONING, _CALLS})
_PLAIN = _WRITTEN | {"content"}


class OptionalColumns:
    """The columns that the answers of one run need.

    A column whose name is taken has the prefix `answer_`.
    """

    def __init__(self) -> None:
        self._taken = set[object]()
        self._names = dict[str, str]()
        self._scan = ColumnScan()

    def avoid(self, names: Iterable[object]) -> None:
        """Give no column that is found later one of these names."""
        self._taken.update(names)

    def add(self, answered: Conversation) -> None:
        """Find the columns that an answered conversation needs."""
        values = _values(answered)
        for name in values:
            if name not in self._names and values[name] is not None:
                self._names[name] = self.free_name(name)
        self._scan.add(values)

    def free_name(self, name: str) -> str:
        """The name of a column, with the prefix `answer_` if it is taken. Nothing else gets this name."""
        while name in self._taken:
            name = f"answer_{name}"
        self._taken.add(name)
        return name

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns, with what their values are. TEXT also stands for lists and objects."""
        kinds = self._scan.kinds
        return {self._names[name]: kinds[name] for name in sorted(self._names, key=_place)}

    def values(self, answered: Conversation) -> dict[str, Any]:
        """The values of an answered conversation. Lists and objects are as in JSON."""
        if not self._names:
            return {}
        values = _values(answered)
        return {column: values.get(name) for name, column in self._names.items()}


def usage_of(answered: Conversation) -> Mapping[str, Any]:
    """The counts of tokens in the metadata. The file may have been edited."""
    usage: object = answered.metadata.get(USAGE)
    return cast(dict[str, Any], usage) if isinstance(usage, dict) else {}


def _place(name: str) -> tuple[int, str]:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST) + (name == _LAST), name


def _values(answered: Conversation) -> dict[str, Any]:
    """Everything that an answer has, except its text and what every output has. Values may be None."""
    answer, metadata = answered.messages[-1], answered.metadata
    values = {name: count for name, count in usage_of(answered).items() if name not in TOKENS}
    values |= {name: metadata[name] for name in _OWN if name in metadata}
    if type(cost := values.get(COST)) is int:
        values[COST] = float(cost)
    if answer.reasoning_content is not None:
        values[_REASONING] = answer.reasoning_content
    if answer.tool_calls:
        values[_CALLS] = [call.model_dump(mode="json", exclude_none=True) for call in answer.tool_calls]
    others = {name: metadata[name] for name in _OTHERS if metadata.get(name) is not None}
    if fields := _message_fields(answer):
        others[_MESSAGE_FIELDS] = fields
    if others:
        values[_METADATA] = others
    return values


def _message_fields(answer: Message) -> dict[str, Any]:
    """The fields of a message that no other column has: unknown ones, and a content that is not a text."""
    is_text = answer.content is None or isinstance(answer.content, str)
    if is_text and answer.model_fields_set <= _PLAIN:
        return {}
    return answer.model_dump(mode="json", exclude_none=True, exclude={*(_PLAIN if is_text else _WRITTEN)})
