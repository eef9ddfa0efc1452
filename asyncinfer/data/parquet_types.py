"""The types of columns in Parquet files, for the types of the input.

pyarrow 26 (November 2026).
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from asyncinfer.data.arrow_table import pyarrow


class _OwnObjectsError(Exception):
    """An extension type has Python objects of its own."""


def parquet_type(kind: Any) -> Any:
    """The Arrow type that a column of this Arrow type has in a Parquet file.

    Every Parquet reader knows it. Dictionary-encoded columns and extension types have the type of their values, and
    columns that Parquet cannot hold are text: unions, calendar intervals, and structs without fields. So are
    extension types whose Python objects are not those of their storage.
    """
    try:
        plain = _plain_type(kind)
    except _OwnObjectsError:
        return pyarrow().string()
    return plain if _is_writable(plain) else pyarrow().string()


def _plain_type(kind: Any) -> Any:
    """The type without dictionaries, run ends and extensions, at any depth."""
    arrow, types = pyarrow(), pyarrow("pyarrow.types")
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if isinstance(kind, arrow.ExtensionType) and kind.__arrow_ext_scalar_class__() is not arrow.ExtensionScalar:
        raise _OwnObjectsError
    if isinstance(kind, arrow.BaseExtensionType):
        # Its Python objects are booleans, and its storage has integers.
        return arrow.bool_() if kind.extension_name == "arrow.bool8" else _plain_type(kind.storage_type)
    parts = [kind.field(number) for number in range(kind.num_fields)]
    plain = [part.with_type(_plain_type(part.type)) for part in parts]
    return kind if plain == parts else _with_parts(kind, plain)


def _with_parts(kind: Any, parts: list[Any]) -> Any:
    """A nested type with other parts. Unions stay what they are."""
    arrow, types = pyarrow(), pyarrow("pyarrow.types")
    if types.is_struct(kind):
        return arrow.struct(parts)
    if types.is_map(kind):
        key, item = parts[0].type
        return arrow.map_(key, item)
    if types.is_fixed_size_list(kind):
        return arrow.list_(parts[0], kind.list_size)
    for is_such, make in (
        (types.is_list, arrow.list_),
        (types.is_large_list, arrow.large_list),
        (types.is_list_view, arrow.list_view),
        (types.is_large_list_view, arrow.large_list_view),
    ):
        if is_such(kind):
            return make(parts[0])
    return kind


@lru_cache(maxsize=256)  # Each shard of an output asks again.
def _is_writable(kind: Any) -> bool:
    """Whether pyarrow makes values of this type, and writes them."""
    arrow = pyarrow()
    try:
        table = arrow.table({"column": arrow.array([None], kind)})
        pyarrow("pyarrow.parquet").write_table(table, io.BytesIO())
    except Exception:  # pyarrow raises OSError and its own errors, which have several base classes.
        return False
    return True
