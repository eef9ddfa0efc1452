"""The columns of an output file and their Arrow types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.parquet_types import parquet_type


class Kind(StrEnum):
    """The type of a column that is neither list nor struct.

    TIME has a time zone, LOCAL_TIME has none. ANY_TIME is replaced by `TimeScan`.
    """

    BOOLEAN = "bool_"
    INTEGER = "int64"
    NUMBER = "float64"
    TEXT = "string"
    BYTES = "binary"
    DATE = "date32"
    TIME = "timestamp[us, tz=UTC]"
    LOCAL_TIME = "timestamp[us]"
    ANY_TIME = "timestamp"


class ListType(NamedTuple):
    """Lists whose elements all have one type."""

    items: ColumnType


class StructType(NamedTuple):
    """Objects with these keys."""

    fields: Mapping[str, ColumnType]


ColumnType = Kind | ListType | StructType


class KeptColumns:
    """The columns of the input that an output has, in order.

    Args:
        names: The names of the columns.
        schema: The Arrow schema of the input; None if it has none.
        kinds: What the values of the columns are, for an input without a schema.
    """

    def __init__(self, names: Sequence[str], schema: Any | None, kinds: Mapping[str, Kind]) -> None:
        self.names = tuple(names)
        self._schema, self._kinds = schema, kinds

    def pick(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of these columns. Columns that the row does not have are missing."""
        return {name: values[name] for name in self.names if name in values}

    def arrow_fields(self) -> list[Any]:
        """The Arrow fields of the columns."""
        arrow = pyarrow()
        if self._schema is not None:
            fields = [self._schema.field(name) for name in self.names]
            return [field.with_type(parquet_type(field.type)).with_nullable(True) for field in fields]
        return [arrow.field(name, arrow_type(self._kinds.get(name, Kind.TEXT))) for name in self.names]


class ColumnScan:
    """Collects the columns of rows that may have different ones, and what their values are."""

    def __init__(self) -> None:
        self._columns: dict[str, KindScan] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = KindScan()
            column.add(value)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order in which they occurred first."""
        return tuple(self._columns)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What the values of each column are. Columns without any value are missing."""
        return {name: kind for name, column in self._columns.items() if (kind := column.kind) is not None}


class KindScan:
    """Finds the kind that represents all values of a column exactly."""

    def __init__(self) -> None:
        self._kinds: set[Kind] = set()
        self._fits_number = True

    def add(self, value: Any) -> None:
        if value is None or Kind.TEXT in self._kinds:
            return
        kind = kind_of(value)
        self._kinds.add(kind)
        if kind is Kind.INTEGER and self._fits_number:
            self._fits_number = int(float(int(value))) == int(value)  # Numbers of numpy compare as floats.

    @property
    def kind(self) -> Kind | None:
        """The kind; None if there was no value."""
        if self._kinds == {Kind.INTEGER, Kind.NUMBER} and self._fits_number:
            return Kind.NUMBER
        return next(iter(self._kinds), None) if len(self._kinds) < 2 else Kind.TEXT


def arrow_type(kind: ColumnType) -> Any:
    """The Arrow type of the values of a column."""
    arrow = pyarrow()
    match kind:
        case ListType():
            return arrow.list_(arrow_type(kind.items))
        case StructType():
            return arrow.struct([(name, arrow_type(part)) for name, part in kind.fields.items()])
        case Kind.TIME:
            return arrow.timestamp("us", tz="UTC")
        case Kind.LOCAL_TIME:
            return arrow.timestamp("us")
        case _:
            return getattr(arrow, kind.value)()


def kind_of(value: Any) -> Kind:
    """What a value is. What has no kind of its own, such as a list, is written as text."""
    match value:
        case bool():
            return Kind.BOOLEAN
        case int():
            return Kind.INTEGER if is_int64(value) else Kind.TEXT
        case float():
            return Kind.NUMBER
        case bytes():
            return Kind.BYTES
        case datetime():
            has_nanoseconds = getattr(value, "nanosecond", 0) != 0  # As those of pandas may have.
            return Kind.TIME if value.tzinfo is not None and not has_nanoseconds else Kind.TEXT
        case date():
            return Kind.DATE
        case _:
            plain = getattr(value, "item", None)  # Numbers of numpy. Its times are text: pyarrow takes few of them.
            is_number = callable(plain) and getattr(value, "ndim", 1) == 0 and value.dtype.kind in "biuf"
            return kind_of(plain()) if is_number and plain is not None else Kind.TEXT


def is_int64(value: int) -> bool:
    """Whether an integer fits a column of integers."""
    return -(1 << 63) <= value < 1 << 63
