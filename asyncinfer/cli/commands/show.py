"""`asyncinfer show`: shows the rows of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asyncinfer.cli.exit_codes import exit_code


def show(
    file: Annotated[
        Path, typer.Argument(help="The output of a run, also one that is not finished; or a scratch or failures file.")
    ],
    follow: Annotated[
        bool,
        typer.Option(
            "-f", "--follow", help="Print further rows as they are saved, until the run ends. Wait for its start."
        ),
    ] = False,
    failures: Annotated[bool, typer.Option("--failures", help="Show only the rows that failed.")] = False,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, metavar="N", help="Show at most N rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON lines.")] = False,
) -> None:
    """Show the rows of a run, from its output or from what it has saved so far."""

    def run() -> int:
        from asyncinfer.cli.show import show_rows

        show_rows(file, follow=follow, failures=failures, limit=limit, as_json=as_json)
        return 0

    raise typer.Exit(exit_code(run, verbose=False))
