"""`asyncinfer cache`: shows and empties the cache of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asyncinfer.cli.exit_codes import exit_code

cache = typer.Typer(name="cache", no_args_is_help=True, help="Show or empty the cache of answers.")

_File = Annotated[
    Path | None, typer.Option("--cache_path", "--cache-path", help="The file. By default, in the user's cache folder.")
]


@cache.command()
def info(cache_path: _File = None) -> None:
    """Show where the cache is, how many answers it holds, and how large it is."""
    from asyncinfer.cli.cache import show_info

    raise typer.Exit(exit_code(lambda: show_info(cache_path), verbose=False))


@cache.command()
def clear(cache_path: _File = None) -> None:
    """Remove all answers from the cache."""
    from asyncinfer.cli.cache import clear_cache

    raise typer.Exit(exit_code(lambda: clear_cache(cache_path), verbose=False))
