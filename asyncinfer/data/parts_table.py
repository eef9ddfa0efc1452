"""Several files as one table: the local files that match a pattern, such as `data/*.parquet`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from asyncinfer.data.arrow_table import pyarrow
from asyncinfer.data.layout import is_url
from asyncinfer.data.table import Table, TableRow
from asyncinfer.errors import ConfigError, InputError, error_text
from asyncinfer.types.names import listed_names
from asyncinfer.types.paths import exists, expanded, is_file


class PartsTable:
    """The rows of several tables, one table after the other. All have the same columns.

    Args:
        name: The pattern.
    """

    path: Path | None = None

    def __init__(self, name: str, parts: Sequence[Table]) -> None:
        self.name, self.parts = name, parts
        self._schema: Any = None

    def prepare(self) -> Generator[None]:
        for part in self.parts:
            yield from part.prepare()
        first = self.column_names()
        for part in self.parts[1:]:
            found = part.column_names()
            if found is not None and first is not None and set(found) != set(first):
                others = f"{self.parts[0].name} has {listed_names(first)}"
                raise InputError(f"{part.name}: has the columns {listed_names(found)}, but {others}")
            yield
        self._schema = self._common_schema()

    def column_names(self) -> tuple[str, ...] | None:
        return self.parts[0].column_names()

    def arrow_schema(self) -> Any | None:
        return self._schema

    def rows(self) -> Generator[TableRow]:
        for part in self.parts:
            for line, values in part.rows():
                yield TableRow(None if line is None else f"{line} of {part.name}", values)

    def close(self) -> None:
        for part in self.parts:
            part.close()

    def _common_schema(self) -> Any | None:
        """The schema whose types hold the values of all parts; None if a part has none."""
        schemas = [part.arrow_schema() for part in self.parts]
        if any(schema is None for schema in schemas):
            return None
        try:
            return pyarrow().unify_schemas(schemas, promote_options="permissive")
        except Exception as error:
            raise InputError(f"{self.name}: the types of the columns differ: {error_text(error)}") from None


def matching_files(pattern: str) -> list[str] | None:
    """The files that match a pattern, in the order of their names; None if `pattern` is a path or a URL.

    Raises:
        InputError: No file matches.
        ConfigError: The pattern is a URL.
    """
    if is_url(pattern):
        if "*" in pattern:
            raise ConfigError(f"input.path: {pattern} is a pattern, which is possible only for local files")
        return None
    path = expanded(pattern, "input.path")
    if not has_magic(pattern) or exists(path):
        return None
    found = glob(str(path), recursive=True)  # noqa: PTH207 (a path may be absolute)
    files = sorted(name for name in found if is_file(Path(name)))
    if not files:
        raise InputError(f"{pattern}: no file matches this pattern")
    return files
