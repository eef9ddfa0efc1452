"""Values of Arrow as Python objects, also those that no Python object can represent.

pyarrow 26 (November 2026): `to_pylist` raises an error for a whole batch if one time is outside Python's years 1 to
9999, and cuts the nanoseconds of times of day.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.errors import InputError, error_text


class ArrowText(str):
    """The text of a value that no Python object represents.

    Attributes:
        scalar: The value.
    """

    scalar: Any

    @classmethod
    def of(cls, scalar: Any) -> ArrowText:
        """The text of an Arrow scalar."""
        try:
            text = cls(scalar.cast("string").as_py())
        except Exception:  # Lists and structs have no text.
            text = cls(scalar)
        text.scalar = scalar
        return text


def exact_rows(batch: Any) -> list[dict[str, Any] | InputError]:
    """The rows of a batch, one value after the other, which is slow. A row that cannot be read is an error."""
    columns = {field.name: [_value(field.name, scalar) for scalar in batch[field.name]] for field in batch.schema}
    return [_row({name: values[row] for name, values in columns.items()}) for row in range(batch.num_rows)]


def has_nanosecond_times(schema: Any) -> bool:
    """Whether a column has times of day whose nanoseconds Python cannot represent."""
    return any(str(field.type) == "time64[ns]" for field in schema)


def _value(column: str, scalar: Any) -> Any:
    try:
        value = scalar.as_py()
    except (OverflowError, ValueError) as error:
        if isinstance(error, UnicodeError):
            return InputError(f"column {column!r}: not valid UTF-8 text")
        return ArrowText.of(scalar)
    except Exception as error:
        return InputError(f"column {column!r}: {error_text(error)}")
    cuts = value is not None and str(scalar.type) == "time64[ns]" and scalar.value % 1000
    return ArrowText.of(scalar) if cuts else value


def _row(values: dict[str, Any]) -> dict[str, Any] | InputError:
    return next((value for value in values.values() if isinstance(value, InputError)), values)
