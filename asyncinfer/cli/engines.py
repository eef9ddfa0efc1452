"""The tables of engines: one for the terminal, and one in Markdown for the README."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from asyncinfer.config.engine_type import config_name
from asyncinfer.engines.registry import ENGINES, EngineEntry, plugins
from asyncinfer.errors import ConfigError, error_repr
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.features import providers_table
from asyncinfer.types.paths import os_error_text

# The table in a Markdown file is between these lines.
BEGIN, END = "<!-- engines: begin -->", "<!-- engines: end -->"


def show_engines() -> None:
    """Print every engine, the extra that it needs and whether its key is set; then plug-ins and parameters."""
    table = Table("engine", "extra", "key", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, entry in ENGINES.items():
        table.add_row(config_name(name), _extra(entry), _key(name))
    console = Console(highlight=False, markup=False)
    console.print(table)
    for line in _plugin_lines():
        console.print(line)
    common = set[str].intersection(*(entry.load().get_supported_params() for entry in ENGINES.values()))
    console.print(f"\nAll of them support {', '.join(sorted(common))}.")
    console.print("asyncinfer engines --markdown shows the other parameters of each engine behind an API.")


def _extra(entry: EngineEntry) -> str:
    """The extra that the engine needs, and whether it is installed."""
    if entry.extra is None:
        return "-"
    return f"{entry.extra}: {'installed' if entry.installed() else 'not installed'}"


def _key(name: str) -> str:
    """The key that the engine needs, and whether it is set."""
    provider = CATALOG.get(name)
    needs = provider.auth.needs if provider is not None else ""
    if not needs:
        return "-"
    variables = re.findall(r"`(\w+)`", needs)
    if any(os.environ.get(variable, "").strip() for variable in variables):
        return f"{needs.replace('`', '')}: set"
    # Credentials may also be in files, which only the provider's own library finds.
    is_only_way = provider is not None and provider.auth.variable is not None
    return f"{needs.replace('`', '')}{': not set' if is_only_way else ''}"


def _plugin_lines() -> Iterator[str]:
    """Yield a line for each engine that another package adds."""
    for name, point in plugins().items():
        package = f" {point.dist.name} {point.dist.version}" if point.dist is not None else ""
        try:
            point.load()
        except Exception as error:
            yield f"plug-in {name}:{package}: cannot be loaded: {error_repr(error)}"
        else:
            yield f"plug-in {name}:{package} ({point.value})"


def markdown_table() -> str:
    """Return the table of the providers in the catalog, in Markdown."""
    return providers_table((config_name(name), provider) for name, provider in CATALOG.items())


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
