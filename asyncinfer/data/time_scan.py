"""The types of columns of times, which depend on their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType

# A place in a value: the names of properties. The elements of a list have one place.
_Place = tuple[str, ...]


class TimeScan:
    """Finds whether times have an offset from UTC. A column of Arrow cannot have both kinds of times.

    Args:
        fields: The types of the columns. Those of times are ANY_TIME.

    Attributes:
        declared: The types of the columns, with ANY_TIME for times whose kind depends on the values.
        fields: The types of the columns, by the values so far. Times without an offset are LOCAL_TIME. If some have
            an offset and others have none, they are TEXT.
    """

    def __init__(self, fields: Mapping[str, ColumnType]) -> None:
        self.declared = fields
        self._found: dict[_Place, set[bool]] = {}
        self._names = [name for name, kind in fields.items() if _has_times(kind)]
        self.fields = self._all_resolved()

    def use_text(self) -> None:
        """Have text for all times, because some values are not known yet."""
        self.fields = self.declared = {name: _as_text(kind) for name, kind in self.declared.items()}
        self._names = []

    def use_types_of(self, schema: Any) -> None:
        """Have the types of an older file for all times in the columns that it has.

        Args:
            schema: The Arrow schema of the file.
        """
        older = [name for name in self._names if name in schema.names]
        types = {name: _like(self.declared[name], schema.field(name).type) for name in older}
        self.declared = {**self.declared, **types}
        self._names = [name for name in self._names if name not in types]
        self.fields = self._all_resolved()

    def add(self, values: Mapping[str, Any]) -> None:
        """Look at the values of the columns, as `fitting` returns them."""
        for name in self._names:
            for place, has_offset in _times(self.declared[name], values.get(name), (name,)):
                found = self._found.setdefault(place, set())
                if has_offset not in found:
                    found.add(has_offset)
                    self.fields = self._all_resolved()

    def _all_resolved(self) -> dict[str, ColumnType]:
        return {name: self._resolved(kind, (name,)) for name, kind in self.declared.items()}

    def _resolved(self, kind: ColumnType, place: _Place) -> ColumnType:
        match kind:
            case ListType():
                return ListType(self._resolved(kind.items, place))
            case StructType():
                return StructType({name: self._resolved(part, (*place, name)) for name, part in kind.fields.items()})
            case Kind.ANY_TIME:
                found = self._found.get(place, {True})
                return Kind.TEXT if len(found) > 1 else Kind.TIME if True in found else Kind.LOCAL_TIME
            case _:
                return kind


def _has_times(kind: ColumnType) -> bool:
    match kind:
        case ListType():
            return _has_times(kind.items)
        case StructType():
            return any(map(_has_times, kind.fields.values()))
        case _:
            return kind is Kind.ANY_TIME


def _as_text(kind: ColumnType) -> ColumnType:
    """The type with text for times."""
    match kind:
        case ListType():
            return ListType(_as_text(kind.items))
        case StructType():
            return StructType({name: _as_text(part) for name, part in kind.fields.items()})
        case _:
            return Kind.TEXT if kind is Kind.ANY_TIME else kind


def _like(kind: ColumnType, older: Any) -> ColumnType:
    """The type with the kinds of times that an Arrow type has. They are text where the Arrow type is another one."""
    types = pyarrow("pyarrow.types")
    match kind:
        case ListType() if types.is_list(older):
            return ListType(_like(kind.items, older.value_type))
        case StructType() if types.is_struct(older):
            known = {field.name: field.type for field in older}
            return StructType({name: _like(part, known.get(name)) for name, part in kind.fields.items()})
        case Kind.ANY_TIME if older is not None and types.is_timestamp(older):
            return Kind.LOCAL_TIME if older.tz is None else Kind.TIME
        case _:
            return _as_text(kind)


def _times(kind: ColumnType, value: Any, place: _Place) -> Iterator[tuple[_Place, bool]]:
    """The places of the times in a value, and whether they have an offset."""
    match kind:
        case ListType() if value is not None:
            for part in cast(list[Any], value):
                yield from _times(kind.items, part, place)
        case StructType() if value is not None:
            for name, part in cast(dict[str, Any], value).items():
                yield from _times(kind.fields[name], part, (*place, name))
        case Kind.ANY_TIME if value is not None:
            yield place, cast(datetime, value).tzinfo is not None
        case _:
            return
