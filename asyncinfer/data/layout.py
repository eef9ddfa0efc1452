"""The format and the compression of a file, by its settings and its extension."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from asyncinfer.config import InputFormat, InputParams, OutputFormat, OutputParams
from asyncinfer.data.compression import Compression
from asyncinfer.errors import ConfigError

_COMPRESSIONS = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}
_INPUTS = {
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.CSV,
    ".parquet": InputFormat.PARQUET,
    ".pq": InputFormat.PARQUET,
    ".arrow": InputFormat.ARROW,
    ".feather": InputFormat.ARROW,
}
_OUTPUTS = {
    ".csv": OutputFormat.CSV,
    ".tsv": OutputFormat.CSV,
    ".parquet": OutputFormat.PARQUET,
    ".pq": OutputFormat.PARQUET,
}
# Formats of tables that are not written. Any other ending may be that of a JSONL file.
_NOT_WRITTEN = frozenset(
    (
        *(".arrow", ".feather", ".ipc", ".orc", ".avro", ".xlsx", ".xlsm", ".xls", ".ods"),
        *(".sqlite", ".sqlite3", ".db", ".duckdb", ".h5", ".hdf5", ".pkl", ".pickle", ".npy", ".npz"),
    )
)
# The formats whose files are read as a stream, and so may be compressed as a whole.
_STREAMED = (InputFormat.JSONL, InputFormat.CSV, InputFormat.OPENAI_BATCH)


class InputLayout(NamedTuple):
    """How an input file is read."""

    format: InputFormat = InputFormat.JSONL
    compression: Compression = Compression.NONE
    delimiter: str = ","


class OutputLayout(NamedTuple):
    """How an output file is written.

    Args:
        has_rows: Whether it holds rows; otherwise conversations.
    """

    format: OutputFormat
    compression: Compression
    delimiter: str
    has_rows: bool

    @property
    def has_schema(self) -> bool:
        """Whether its columns have types."""
        return self.format is OutputFormat.PARQUET

    @property
    def for_reading(self) -> InputLayout:
        """How such a file is read."""
        return InputLayout(InputFormat(self.format.value), self.compression, self.delimiter)

    @property
    def is_plain(self) -> bool:
        """Whether it is an uncompressed file of conversations."""
        return not self.has_rows and self.compression is Compression.NONE


def is_url(path: str) -> bool:
    """Whether fsspec must read the file: `s3://bucket/file`, but not `file:///tmp/file`."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and "/" not in scheme and scheme.lower() != "file"


def input_layout(path: str, params: InputParams) -> InputLayout:
    """The layout of an input file.

    Raises:
        ConfigError: A file of this format cannot be compressed as a whole.
    """
    suffix, compression = _suffix(path)
    chosen = params.format or _INPUTS.get(suffix, InputFormat.JSONL)
    if compression is not Compression.NONE and chosen not in _STREAMED:
        raise ConfigError(f"input.path: a {chosen.value} file cannot be compressed as a whole; decompress {path} first")
    return InputLayout(chosen, compression, params.delimiter or ("\t" if suffix == ".tsv" else ","))


def output_layout(path: str | None, params: OutputParams | None) -> OutputLayout:
    """The layout of the output file. A path of None stands for answers that are not written.

    Raises:
        ConfigError: A file of this format cannot be compressed as a whole, or cannot hold conversations; or the ending
            is that of a format that is not written.
    """
    params = params or OutputParams()
    suffix, compression = _suffix(path or "")
    if params.format is None and suffix in _NOT_WRITTEN:
        raise ConfigError(
            f"output.path: {path}: {suffix} files are not written. Choose a name that ends with .jsonl, .csv, .tsv or "
            ".parquet, or set output.format"
        )
    chosen = params.format or _OUTPUTS.get(suffix, OutputFormat.JSONL)
    if compression is not Compression.NONE and chosen is OutputFormat.PARQUET:
        ending = PurePosixPath(path or "").suffix
        raise ConfigError(f"output.path: Parquet compresses its own data; remove {ending} from {path}")
    if params.rows is False and chosen is not OutputFormat.JSONL:
        raise ConfigError(f"output.rows: a {chosen.value} file cannot hold conversations; leave `rows` out")
    has_rows = chosen is not OutputFormat.JSONL if params.rows is None else params.rows
    return OutputLayout(chosen, compression, "\t" if suffix == ".tsv" else ",", has_rows)


def split_ending(name: str) -> tuple[str, str]:
    """The name of a file without its extension, and the extension with that of a compression: `.jsonl.gz`."""
    path = PurePosixPath(name)
    if path.suffix.lower() in _COMPRESSIONS:
        inner = PurePosixPath(path.stem)
        return inner.stem, inner.suffix + path.suffix
    return path.stem, path.suffix


def _suffix(path: str) -> tuple[str, Compression]:
    """The extension in lower case, without that of a compression."""
    name = PurePosixPath(urlsplit(path).path if is_url(path) else path).name.lower()
    compression = _COMPRESSIONS.get(PurePosixPath(name).suffix, Compression.NONE)
    if compression is not Compression.NONE:
        name = PurePosixPath(name).stem
    return PurePosixPath(name).suffix, compression
