"""`asyncinfer report`: writes the report of a run from its saved events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asyncinfer.cli.exit_codes import exit_code


def report(
    file: Annotated[
        Path, typer.Argument(help="The output of a run with --save-events, or its file OUTPUT.events.json.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page. By default: OUTPUT.report.html.")
    ] = None,
) -> None:
    """Write the HTML report of a run, also of one that was killed or still runs."""

    def run() -> int:
        from asyncinfer.report import write_report

        page = output or file.with_name(f"{file.name.removesuffix('.events.json')}.report.html")
        write_report(file, page)
        print(page)
        return 0

    raise typer.Exit(exit_code(run, verbose=False))
