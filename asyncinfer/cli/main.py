"""The entry point of the command line.

The commands are imported within `main`, because imports take a part of a second, in which Ctrl-C may be pressed.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def main() -> None:
    """Run the command line."""
    try:
        _open_streams()
        from asyncinfer.cli.app import app

        app()
    except KeyboardInterrupt:
        from asyncinfer.cli.exit_codes import INTERRUPTED

        sys.exit(INTERRUPTED)


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
