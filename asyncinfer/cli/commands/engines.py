"""`asyncinfer engines`: lists the engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asyncinfer.cli.exit_codes import exit_code


def engines(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the engines behind an API and their features, in Markdown.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="With --markdown: write the table into this file, between the lines <!-- engines: begin --> and"
            " <!-- engines: end -->."
        ),
    ] = None,
) -> None:
    """List the engines of this version."""
    from asyncinfer.cli.engines import markdown_table, show_engines, write_table

    def run() -> int:
        if not markdown:
            show_engines()
        elif write is None:
            print(markdown_table())
        else:
            write_table(write)
        return 0

    if write is not None and not markdown:
        raise typer.BadParameter("needs --markdown", param_hint="--write")
    raise typer.Exit(exit_code(run, verbose=False))
