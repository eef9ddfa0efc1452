"""The table of engines."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from asyncinfer.engines.registry import ENGINES


def show_engines() -> None:
    """Print every engine of this version: what installs it, whether it is, what it supports."""
    table = Table("engine", "extra", "installed", "supported parameters")
    for name, entry in ENGINES.items():
        supported = ", ".join(sorted(entry.load().get_supported_params()))
        table.add_row(str(name), entry.extra or "", "yes" if entry.installed() else "no", supported)
    Console().print(table)
