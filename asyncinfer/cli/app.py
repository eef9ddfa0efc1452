"""The commands of the command line. Each one is a file in `commands/`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from asyncinfer.cli.commands.ask import ask
from asyncinfer.cli.commands.batch import batch
from asyncinfer.cli.commands.cache import cache
from asyncinfer.cli.commands.dotted_paths import DottedPathsCommand
from asyncinfer.cli.commands.engines import engines
from asyncinfer.cli.commands.infer import infer
from asyncinfer.cli.commands.report import report
from asyncinfer.cli.commands.serve import serve
from asyncinfer.cli.commands.show import show

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run chat models from the command line.",
)
app.command(cls=DottedPathsCommand)(infer)
app.command(cls=DottedPathsCommand)(serve)
app.add_typer(batch, name="batch")
app.command()(ask)
app.command()(engines)
app.command()(report)
app.command()(show)
app.add_typer(cache)


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        print(version("asyncinfer"))
        raise typer.Exit
