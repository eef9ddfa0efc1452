"""Tables of Apache Arrow: Parquet and Arrow files, data frames, and data sets of the Hugging Face hub.

pyarrow 26 (November 2026).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from asyncinfer.data.arrow_values import exact_rows, has_nanosecond_times
from asyncinfer.data.stored_file import StoredFile
from asyncinfer.data.table import TableRow
from asyncinfer.errors import InputError, MissingDependencyError, error_text
from asyncinfer.types.paths import NotAFileError, open_regular, os_error_text

# The rows and the bytes that are converted to Python objects at once.
_MOST_ROWS = 1024
_MOST_BYTES = 4 << 20
_READ_AHEAD = 1 << 20


def pyarrow(module: str = "pyarrow") -> Any:
    """Import a module of pyarrow.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingDependencyError("pyarrow", "data") from None


class ArrowTable(ABC):
    """A table whose rows come in batches of Arrow. A subclass says where from."""

    name: str
    path: Path | None = None
    _schema: Any = None

    def prepare(self) -> Generator[None]:
        if self._schema is None:
            with self._batches() as (schema, _):
                self._schema = _checked(schema, self.name)
        yield

    def column_names(self) -> tuple[str, ...]:
        return tuple(self._schema.names)

    def arrow_schema(self) -> Any:
        return self._schema

    def rows(self) -> Generator[TableRow]:
        count = 0
        with self._batches() as (_, batches):
            while (batch := self._next(batches, count)) is not None:
                for part in _parts(batch):
                    for values in self._python(part, count):
                        yield TableRow(None, values)
                    count += part.num_rows

    def close(self) -> None:
        return

    @abstractmethod
    def _batches(self) -> AbstractContextManager[tuple[Any, Iterator[Any]]]:
        """The schema, and the record batches or tables."""

    def _next(self, batches: Iterator[Any], count: int) -> Any | None:
        try:
            return next(batches, None)
        except Exception as error:  # pyarrow raises OSError and its own errors, which have several base classes.
            raise self._broken(error, count) from None

    def _python(self, batch: Any, count: int) -> Sequence[dict[str, Any] | InputError]:
        try:
            if not has_nanosecond_times(batch.schema):
                return batch.to_pylist()
        except (OverflowError, ValueError):  # Some rows have values that Python cannot represent.
            pass
        except Exception as error:
            raise self._broken(error, count) from None
        return exact_rows(batch)

    def _broken(self, error: Exception, count: int) -> InputError:
        return InputError(f"{self.name}: after row {count}: cannot be read further: {error_text(error)}")


class FileTable(ArrowTable):
    """A file of Arrow data. Reads one part of it at a time."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self.name, self.path = file.name, file.path

    def prepare(self) -> Generator[None]:
        yield from self._file.prepare()
        yield from super().prepare()

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _opened(self, kind: str) -> Generator[Any]:
        """The open file, for pyarrow. `kind` names the format in messages."""
        arrow = pyarrow()
        try:
            file = open_regular(self._file.local)
        except NotAFileError as error:
            raise InputError(f"{self.name}: {os_error_text(error)}; save the data to a file first") from None
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {os_error_text(error)}") from None
        with file:
            if not file.read(1):
                raise InputError(f"{self.name}: is empty, and so not a {kind} file")
            file.seek(0)
            with arrow.PythonFile(file, mode="r") as opened:
                yield opened


class ParquetTable(FileTable):
    """A Parquet file. Memory holds one batch, not a whole row group."""

    def row_count(self) -> int:
        """The number of rows. The metadata at the end of the file has it.

        Raises:
            InputError: It is not a Parquet file.
        """
        with self._parquet() as opened:
            return opened.metadata.num_rows

    @contextmanager
    def _batches(self) -> Generator[tuple[Any, Iterator[Any]]]:
        with self._parquet() as opened:
            batches = opened.iter_batches(batch_size=_batch_rows(opened.metadata), use_threads=False)
            yield opened.schema_arrow, batches

    @contextmanager
    def _parquet(self) -> Generator[Any]:
        parquet = pyarrow("pyarrow.parquet")
        with self._opened("Parquet") as file:
            try:
                opened = parquet.ParquetFile(file, buffer_size=_READ_AHEAD, pre_buffer=False)
            except Exception as error:
                what = f"is not a Parquet file, or it is truncated: {error_text(error)}"
                raise InputError(f"{self.name}: {what}") from None
            with opened:
                yield opened


class ArrowFileTable(FileTable):
    """A file in Arrow's IPC format, which may also be a stream (as `datasets` saves it) or a Feather file."""

    @contextmanager
    def _batches(self) -> Generator[tuple[Any, Iterator[Any]]]:
        ipc = pyarrow("pyarrow.ipc")
        with self._opened("Arrow") as file:
            try:
                is_stream = bytes(file.read(6)) != b"ARROW1"
                file.seek(0)
                reader = ipc.open_stream(file) if is_stream else ipc.open_file(file)
            except Exception as error:
                what = f"is not an Arrow file, or it is truncated: {error_text(error)}"
                raise InputError(f"{self.name}: {what}") from None
            if is_stream:
                yield reader.schema, iter(reader)
            else:
                yield reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))


class MemoryTable(ArrowTable):
    """A table in memory."""

    def __init__(self, data: Any, name: str = "input") -> None:
        self.name = name
        self._data = data

    def _batches(self) -> AbstractContextManager[tuple[Any, Iterator[Any]]]:
        return nullcontext((self._data.schema, iter(self._data.to_batches())))


def _batch_rows(metadata: Any) -> int:
    """How many rows of a Parquet file make about `_MOST_BYTES`."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    return max(1, min(_MOST_ROWS, _MOST_BYTES * metadata.num_rows // max(size, 1)))


def _parts(batch: Any) -> Iterator[Any]:
    """The batch in parts of about `_MOST_BYTES`."""
    rows = max(1, min(_MOST_ROWS, _MOST_BYTES * batch.num_rows // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _checked(schema: Any, name: str) -> Any:
    names: list[str] = schema.names
    if repeated := sorted({column for column in names if names.count(column) > 1}):
        raise InputError(f"{name}: the column {repeated[0]!r} occurs twice; give each its own name")
    return schema
