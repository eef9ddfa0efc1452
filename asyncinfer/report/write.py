"""Writes the report of a run from its saved events."""

from __future__ import annotations

import os
from pathlib import Path

from asyncinfer.errors import ConfigError
from asyncinfer.report.page import save_page
from asyncinfer.report.storage import load_record
from asyncinfer.types.paths import PATH_ERRORS, advice, expanded, os_error_text


def write_report(source: str | os.PathLike[str], report_path: str | os.PathLike[str]) -> None:
    """Write the HTML report of a run, also of one that was interrupted or still runs. Blocks.

    Args:
        source: The output of the run, or the file with its saved events (`<output_path>.events.json`).
        report_path: The page to write.

    Raises:
        InputError: There are no saved events.
        ConfigError: The page cannot be written.
        MissingDependencyError: A package for the page is not installed.
    """
    record, path = load_record(expanded(source, "the file of the events")), expanded(report_path, "report_path")
    try:
        save_page(record, Path(path))
    except ConfigError:
        raise
    except PATH_ERRORS as error:
        raise ConfigError(f"{path} cannot be written: {os_error_text(error)}; {advice(error)}") from None
