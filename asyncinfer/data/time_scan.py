"""The types of columns of times, which depend on their values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.column_types import ColumnType, Kind, ListType, StructType

# Where a value is: the column, then the names of properties; None stands for all elements of a list.
_ValuePath = tuple[str | None, ...]


class TimeScan:
    """Finds whether times have an offset from UTC. A column of Arrow cannot have both kinds of times.

    Args:
        schema_types: The types of the columns. Those of times are ANY_TIME.

    Attributes:
        schema_types: The types of the columns, with ANY_TIME for times whose kind depends on the values.
        names: The columns whose types depend on their values.
        types: The types of the columns, by the values so far. Times without an offset are LOCAL_TIME. If some have an
            offset and others have none, they are TEXT.
    """

    def __init__(self, schema_types: Mapping[str, ColumnType]) -> None:
        self.schema_types = schema_types
        self._found: dict[_ValuePath, set[bool]] = {}
        self.types = self._types_by_values()

    def use_text(self) -> None:
        """Use TEXT for all times."""
        self._decide(self.schema_types, lambda _: Kind.TEXT)

    def use_types_of(self, schema: Any) -> None:
        """Use the time types of an older file, for the columns that it has.

        Args:
            schema: The Arrow schema of the file.
        """
        self._decide(schema.names, lambda path: _time_kind_at(schema, path))

    def add(self, values: Mapping[str, Any]) -> None:
        """Look at the values of the columns, as `fitting` returns them."""
        for name in self.names:
            for path, has_offset in _times(self.schema_types[name], values.get(name), (name,)):
                found = self._found.setdefault(path, set())
                if has_offset not in found:
                    found.add(has_offset)
                    self.types = self._types_by_values()

    def _decide(self, names: Collection[str], kind_at: Callable[[_ValuePath], Kind]) -> None:
        """Give the times in these columns kinds that no longer depend on the values."""
        self.schema_types = {
            name: _with_times(kind, kind_at, (name,)) if name in names else kind
            for name, kind in self.schema_types.items()
        }
        self.types = self._types_by_values()

    def _types_by_values(self) -> dict[str, ColumnType]:
        types = {name: _with_times(kind, self._kind_at, (name,)) for name, kind in self.schema_types.items()}
        self.names = [name for name, kind in types.items() if kind != self.schema_types[name]]
        return types

    def _kind_at(self, path: _ValuePath) -> Kind:
        found = self._found.get(path, {True})
        return Kind.TEXT if len(found) > 1 else Kind.TIME if True in found else Kind.LOCAL_TIME


def _with_times(kind: ColumnType, kind_at: Callable[[_ValuePath], Kind], path: _ValuePath) -> ColumnType:
    """Return the type with another kind in place of each ANY_TIME."""
    match kind:
        case ListType():
            return ListType(_with_times(kind.items, kind_at, (*path, None)))
        case StructType():
            fields = {name: _with_times(field, kind_at, (*path, name)) for name, field in kind.fields.items()}
            return StructType(fields)
        case Kind.ANY_TIME:
            return kind_at(path)
        case _:
            return kind


def _time_kind_at(schema: Any, path: _ValuePath) -> Kind:
    """Return the kind of the times at a path in an Arrow schema; TEXT if there are no times."""
    types = pyarrow("pyarrow.types")
    found = schema.field(path[0]).type
    for name in path[1:]:
        if name is None and types.is_list(found):
            found = found.value_type
        elif name is not None and types.is_struct(found) and found.get_field_index(name) >= 0:
            found = found.field(name).type
        else:
            return Kind.TEXT
    if not types.is_timestamp(found):
        return Kind.TEXT
    return Kind.LOCAL_TIME if found.tz is None else Kind.TIME


def _times(kind: ColumnType, value: Any, path: _ValuePath) -> Iterator[tuple[_ValuePath, bool]]:
    """The paths of the times in a value, and whether they have an offset."""
    match kind:
        case ListType() if value is not None:
            for item in cast(list[Any], value):
                yield from _times(kind.items, item, (*path, None))
        case StructType() if value is not None:
            for name, item in cast(dict[str, Any], value).items():
                yield from _times(kind.fields[name], item, (*path, name))
        case Kind.ANY_TIME if value is not None:
            yield path, cast(datetime, value).tzinfo is not None
        case _:
            return
