"""The columns that an answer adds to a row of the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import ColumnType, Kind, arrow_type
from asyncinfer.data.fitted_values import fitting
from asyncinfer.data.optional_columns import FINISH_REASON, TOKENS, OptionalColumns
from asyncinfer.data.parsed_values import parsed_json
from asyncinfer.data.schema_fields import fields_of
from asyncinfer.data.time_scan import TimeScan
from asyncinfer.errors import ConfigError
from asyncinfer.types.answer import saved_usage
from asyncinfer.types.conversation import Conversation

_ANSWER = "answer"
# The columns that every output has or may need. Those of typed answers have no column `answer` if all fit.
_RESERVED = frozenset([_ANSWER, FINISH_REASON, *TOKENS])


class AnswerSchema(NamedTuple):
    """What is known about the answers of a run that are JSON.

    Args:
        schema: Their JSON schema.
        values: Returns the JSON values that a text may stand for, the validated one first, and raises ValueError if
            there are none. If this is None, the whole text is the JSON.
    """

    schema: Mapping[str, Any]
    values: Callable[[str], Sequence[Any]] | None = None


class AnswerColumns:
    """The columns of the answers of one run.

    A typed answer has a column for each property. If a key or a value does not fit them, the whole text is in `answer`
    too; without such an answer, there is no column `answer`. `OptionalColumns` are those for what comes with the text.

    Args:
        schema: What the answers are; None if they are text.
        has_types: Whether the output has a type for each column. Otherwise dates, lists and objects are as in JSON.

    Raises:
        ConfigError: A property of the schema has the name of another column of the answer.
    """

    def __init__(self, schema: AnswerSchema | None = None, *, has_types: bool = True) -> None:
        fields = fields_of(schema.schema if schema is not None else None)
        self._fields = fields if has_types else {name: _plain(kind) for name, kind in fields.items()}
        if taken := [name for name in self._fields if name in _RESERVED]:
            raise ConfigError(
                f"the property {taken[0]!r} of the typed answers has the name of another column of the answer; rename "
                "it in the class or in the schema"
            )
        self._schema, self._times = schema, TimeScan(self._fields)
        self._has_answer = not self._fields
        self._optional = OptionalColumns()
        self._optional.reserve(self.reserved)

    @property
    def reserved(self) -> frozenset[str]:
        """The names that columns of the input must not have."""
        return _RESERVED.union(self._fields)

    def reserve(self, names: Iterable[object]) -> None:
        """Give no optional column one of these names, which are those of the input."""
        self._optional.reserve(names)

    def unique_name(self, name: str) -> str:
        """The name of a further column, with a prefix if it is taken."""
        return self._optional.column(name)

    def observe(self, conversation: Conversation) -> None:
        """Find the columns that an answered conversation needs."""
        self._optional.add(conversation)
        if self._fields:
            values, is_lossless = self._typed(self._times.schema_types, conversation)
            self._times.add(values)
            self._has_answer = self._has_answer or not is_lossless

    @property
    def undecided(self) -> Sequence[str]:
        """The columns whose types depend on their values."""
        return self._times.names

    def require_all(self) -> None:
        """Use every optional column."""
        self._has_answer = True
        self._optional.require_all()
        self._times.use_text()

    def require(self, names: Sequence[str], schema: Any | None) -> None:
        """Keep the optional columns of an older output.

        Args:
            names: The columns of the older output.
            schema: Its Arrow schema; None if it has none. Times that do not fit its types are null.
        """
        self._has_answer = self._has_answer or _ANSWER in names
        self._optional.require(names)
        if schema is not None:
            self._times.use_types_of(schema)

    @property
    def kinds(self) -> dict[str, ColumnType]:
        """The columns, with the types of their values. TEXT also stands for JSON of any type."""
        first = {_ANSWER: Kind.TEXT} if self._has_answer else {}
        counts = dict.fromkeys(TOKENS, Kind.INTEGER)
        return {**self._times.types, **first, FINISH_REASON: Kind.TEXT, **counts, **self._optional.kinds}

    def arrow_fields(self) -> list[Any]:
        """The Arrow fields of the columns."""
        return [pyarrow().field(name, arrow_type(kind)) for name, kind in self.kinds.items()]

    def values(self, conversation: Conversation) -> dict[str, Any]:
        """The values of an answered conversation. Columns that are null may be missing."""
        answer, usage = conversation.messages[-1], saved_usage(conversation)
        values, is_lossless = self._typed(self._times.types, conversation) if self._fields else ({}, False)
        if not is_lossless:
            values[_ANSWER] = answer.text if answer.content is not None else None
        counts = {name: getattr(usage, name, None) for name in TOKENS}
        reason = conversation.metadata.get(FINISH_REASON)
        return {**values, FINISH_REASON: reason, **counts, **self._optional.values(conversation)}

    def _typed(self, fields: Mapping[str, ColumnType], conversation: Conversation) -> tuple[dict[str, Any], bool]:
        """The properties of a typed answer, and whether they are the whole answer."""
        for value in self._values(conversation):
            if isinstance(value, dict):
                return fitting(fields, cast(dict[str, Any], value))
        return {}, False

    def _values(self, conversation: Conversation) -> Iterator[object]:
        """Yield the JSON values that an answer stands for, that of the validated answer first."""
        text = conversation.messages[-1].text
        if conversation.parsed is not None:
            with suppress(ValueError):  # A serializer of the class may raise.
                yield parsed_json(conversation.parsed)
        if self._schema is not None and self._schema.values is not None:
            with suppress(ValueError):
                yield from self._schema.values(text)
        with suppress(ValueError):
            yield from_json(text)


def _plain(kind: ColumnType) -> ColumnType:
    return kind if kind in (Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER) else Kind.TEXT
