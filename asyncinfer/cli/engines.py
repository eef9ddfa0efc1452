"""The table of engines."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from asyncinfer.config import InferenceEngineType
from asyncinfer.engines.registry import ENGINES
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.providers.features import providers_table


def show_engines() -> None:
    """Print every engine of this version: what installs it, whether it is, what it supports."""
    table = Table("engine", "extra", "installed", "supported parameters")
    for name, entry in ENGINES.items():
        supported = ", ".join(sorted(entry.load().get_supported_params()))
        table.add_row(_written(name), entry.extra or "", "yes" if entry.installed() else "no", supported)
    Console().print(table)


def markdown_table() -> str:
    """The providers of the catalog, with what each can do."""
    classes = {_written(name): entry.class_path.partition(":")[2] for name, entry in ENGINES.items()}
    rows = ((_written(name), CATALOG[name]) for name in ENGINES if name in CATALOG)
    return providers_table(rows, lambda name: classes[name])


def _written(name: str) -> str:
    """As configurations write it: `GOOGLE_GEMINI`, whose value is a shorter one."""
    return name.name if isinstance(name, InferenceEngineType) else name
