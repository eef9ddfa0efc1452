"""Values of Arrow as Python objects, also those that no Python object can represent.

pyarrow 26 (November 2026): `to_pylist` raises an error for a whole batch if one time is outside Python's years 1 to
9999, and cuts the nanoseconds of times of day.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from asyncinfer.errors import InputError, error_text

_NANOSECONDS = "time64[ns]"


class ExactValue:
    """A Python object for a value that no Python object represents exactly, such as a time after the year 9999.

    Attributes:
        scalar: The value.
    """

    scalar: Any


class ArrowText(ExactValue, str):
    """The text of a value."""


class ArrowList(ExactValue, list[Any]):
    """A list, or the pairs of a map. Parts that Python cannot represent are texts."""


class ArrowDict(ExactValue, dict[str, Any]):
    """A struct. Parts that Python cannot represent are texts."""


def exact_rows(batch: Any) -> list[dict[str, Any] | InputError]:
    """The rows of a batch, one value after the other, which is slow. A row that cannot be read is an error."""
    columns = {field.name: [_value(field.name, scalar) for scalar in batch[field.name]] for field in batch.schema}
    return [_row({name: values[row] for name, values in columns.items()}) for row in range(batch.num_rows)]


def has_nanosecond_times(schema: Any) -> bool:
    """Whether a column has times of day whose nanoseconds Python cannot represent, also inside other values."""
    return any(_NANOSECONDS in str(field.type) for field in schema)


def _value(column: str, scalar: Any) -> Any:
    try:
        return _python(scalar)
    except UnicodeError:
        return InputError(f"column {column!r}: not valid UTF-8 text")
    except Exception as error:
        return InputError(f"column {column!r}: {error_text(error)}")


def _python(scalar: Any) -> Any:
    """The Python object for a scalar."""
    try:
        value = scalar.as_py()
    except UnicodeError:
        raise
    except (OverflowError, ValueError):
        return _exact(scalar)
    kind = str(scalar.type)
    if value is None or _NANOSECONDS not in kind or (kind == _NANOSECONDS and scalar.value % 1000 == 0):
        return value
    return _exact(scalar)


def _exact(scalar: Any) -> Any:
    types = import_module("pyarrow.types")
    if isinstance(inner := getattr(scalar, "value", None), import_module("pyarrow").Scalar):
        return _python(inner)  # Of a dictionary, a union or an extension type.
    if types.is_struct(scalar.type):
        value = _struct(scalar)
    elif types.is_map(scalar.type):
        value = ArrowList((_python(pair[0]), _python(pair[1])) for pair in scalar.values)
    elif types.is_nested(scalar.type):
        value = ArrowList(map(_python, scalar.values))
    else:
        value = ArrowText(scalar.cast("string").as_py())
    value.scalar = scalar
    return value


def _struct(scalar: Any) -> ArrowDict | ArrowList:
    """The fields of a struct, as pairs if some have the same name."""
    fields = [(field.name, _python(scalar[number])) for number, field in enumerate(scalar.type)]
    values = ArrowDict(fields)
    return values if len(values) == len(fields) else ArrowList(fields)


def _row(values: dict[str, Any]) -> dict[str, Any] | InputError:
    return next((value for value in values.values() if isinstance(value, InputError)), values)
