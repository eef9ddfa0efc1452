"""The tables of engines: one for the terminal, and one in Markdown for the README."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from asyncinfer.config import InferenceEngineType
from asyncinfer.engines.registry import ENGINES
from asyncinfer.errors import ConfigError
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.features import providers_table
from asyncinfer.types.paths import os_error_text

# The table in a Markdown file is between these lines.
BEGIN, END = "<!-- engines: begin -->", "<!-- engines: end -->"


def show_engines() -> None:
    """Print every engine of this version: its extra, whether it is installed, and the parameters that it supports."""
    table = Table("engine", "extra", "installed", "supported parameters")
    for name, entry in ENGINES.items():
        supported = ", ".join(sorted(entry.load().get_supported_params()))
        table.add_row(_config_name(name), entry.extra or "", "yes" if entry.installed() else "no", supported)
    Console().print(table)


def markdown_table() -> str:
    """Return the table of the providers in the catalog, in Markdown."""
    return providers_table((_config_name(name), provider) for name, provider in CATALOG.items())


def write_table(path: Path) -> None:
    """Write the table into a Markdown file, between the lines `BEGIN` and `END`.

    Raises:
        ConfigError: The file cannot be read or written, or does not contain both lines.
    """
    try:
        path.write_bytes(_with_table(path.read_bytes(), path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be changed: {os_error_text(error)}") from None


def _with_table(text: bytes, path: Path) -> bytes:
    before, begin, rest = text.partition(BEGIN.encode())
    _, end, after = rest.partition(END.encode())
    if not begin or not end:
        raise ConfigError(f"{path}: contains no line {BEGIN} with a line {END} after it")
    return b"".join((before, begin, f"\n{markdown_table()}\n".encode(), end, after))


def _config_name(name: str) -> str:
    """Return the name as configurations contain it: `GOOGLE_GEMINI`, although the value of that member is `GEMINI`."""
    return name.name if isinstance(name, InferenceEngineType) else name
