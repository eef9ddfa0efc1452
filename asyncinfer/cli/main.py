"""The entry point of the command line. Each command is a file in `commands/`."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import Annotated, TextIO

import typer

from asyncinfer.cli.commands.ask import ask
from asyncinfer.cli.commands.engines import engines
from asyncinfer.cli.commands.infer import infer
from asyncinfer.cli.commands.options import DOTTED_PATHS
from asyncinfer.cli.commands.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run chat models from the command line.",
)
app.command(context_settings=DOTTED_PATHS)(infer)
app.command(context_settings=DOTTED_PATHS)(serve)
app.command()(ask)
app.command()(engines)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # JSON Lines are UTF-8, whatever the locale. A terminal keeps its encoding, and shows `?` for what it lacks.
        if isinstance(stream, io.TextIOWrapper):
            tty = stream.isatty()
            stream.reconfigure(encoding=None if tty else "utf-8", errors="replace" if tty else None)
    questions: TextIO = sys.stdin
    if isinstance(questions, io.TextIOWrapper) and not questions.isatty():
        questions.reconfigure(encoding="utf-8-sig", errors="replace")
    app()


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if show_version:
        print(version("asyncinfer"))
        raise typer.Exit
