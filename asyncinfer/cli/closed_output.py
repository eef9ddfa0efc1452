"""Stdout that nobody reads any more: `head` at the other end of a pipe has ended, or the terminal was closed.

Other programs get SIGPIPE then, and end without a message. Python ignores this signal, and raises BrokenPipeError. If a
terminal was closed, it raises OSError with EIO.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TextIO

# The exit code, which a shell reports for a program that SIGPIPE (13) ended.
OUTPUT_CLOSED = 128 + 13

_ERRORS = frozenset([errno.EPIPE, errno.EIO])


def is_output_closed(error: BaseException | None, stream: TextIO | None = None) -> bool:
    """Whether an error was raised because nobody reads `stream`, by default stdout."""
    return isinstance(error, OSError) and error.errno in _ERRORS and _has_no_reader(stream or sys.stdout)


def discard_output() -> None:
    """Discard what is written to stdout from now on, and what is buffered."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _has_no_reader(stream: TextIO) -> bool:
    if not hasattr(select, "poll"):  # On Windows.
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)  # The two events are reported in any case.
    except (OSError, ValueError):  # It has no file, as in a test.
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
