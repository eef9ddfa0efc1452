"""The entry point of the command line.

The commands are imported within `main`, because imports take a part of a second, in which Ctrl-C may be pressed.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn, TextIO

from asyncinfer.cli.closed_output import OUTPUT_CLOSED, discard_output


def main() -> None:
    """Run the command line."""
    try:
        _open_streams()
        from asyncinfer.cli.app import app

        app()
    except KeyboardInterrupt:
        from asyncinfer.cli.exit_codes import INTERRUPTED

        _exit(INTERRUPTED)
    except SystemExit as end:
        # Typer and rich exit with 1 when they get a BrokenPipeError.
        _exit(OUTPUT_CLOSED if isinstance(end.__context__, BrokenPipeError) else end.code)
    except OSError as error:  # The help cannot be written, for instance.
        _exit(_code_of(error))


def _code_of(error: OSError) -> int:
    """Show an error that was raised outside of a command. Returns the exit code."""
    from asyncinfer.cli.exit_codes import exit_code

    def fail() -> int:
        raise error

    return exit_code(fail, verbose=False)


def _exit(code: int | str | None) -> NoReturn:
    """End the process, after what is buffered for stdout is written."""
    if not code:
        from asyncinfer.cli.exit_codes import exit_code

        code = exit_code(lambda: 0, verbose=False)
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()  # The interpreter would report the error a second time.
    sys.exit(code)


def _open_streams() -> None:
    """Make stdin, stdout and stderr usable, and set their encodings."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # It is closed. A file that is opened later must not take its place.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        # JSON Lines are UTF-8, whatever the locale. A terminal keeps its encoding, and shows `?` for what it lacks.
        if isinstance(stream, io.TextIOWrapper):
            tty = stream.isatty()
            stream.reconfigure(encoding=None if tty else "utf-8", errors="replace" if tty else None)
    questions: TextIO = sys.stdin
    if isinstance(questions, io.TextIOWrapper) and not questions.isatty():
        questions.reconfigure(encoding="utf-8-sig", errors="replace")
