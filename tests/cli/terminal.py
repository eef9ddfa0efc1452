"""A program on a pseudo-terminal, to which a test types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from types import TracebackType
from typing import Self

from tests.cli.conftest import ROOT, environment

CTRL_C, CTRL_D, ALT_ENTER, UP = "\x03", "\x04", "\x1b\r", "\x1b[A"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z=>])")


def pasted(text: str) -> str:
    """Return what a terminal sends for a pasted text (bracketed paste)."""
    return f"\x1b[200~{text}\x1b[201~"


class Terminal:
    """The command line on a terminal of its own: stdin, stdout and stderr.

    Attributes:
        shown: What the program has written so far, with its control sequences.
    """

    def __init__(self, *args: str, columns: int = 80, **variables: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {name: value for name, value in environment().items() if name != "COLUMNS"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.scripted", *args],
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **variables},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_make_ctrl_c_a_signal,
        )
        os.close(slave)
        self.shown = ""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, text: str) -> str:
        """Wait until `text` is shown after what an earlier call found. Return what was shown until then, as text."""
        while (place := self.shown.find(text, self._seen)) < 0:
            assert self._read(), f"{text!r} is not in {self.shown[self._seen :]!r}"
        start, self._seen = self._seen, place + len(text)
        return plain(self.shown[start : self._seen])

    def wait_for_prompt(self) -> None:
        """Wait until the line editor accepts input: it switches bracketed paste on."""
        self.wait_for("\x1b[?2004h")

    def ends(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        while self._read():
            pass
        return self._process.wait(60)

    def _read(self) -> bool:
        """Read what the program writes next. False: it has ended."""
        if not select.select([self._master], [], [], 30)[0]:
            return False
        data = _read(self._master)
        self.shown += data.decode()
        return bool(data)


def all_shown(master: int) -> str:
    """Return what programs write to a pseudo-terminal until all of them have ended."""
    return b"".join(iter(lambda: _read(master), b"")).decode()


def _read(master: int) -> bytes:
    """Read what a program writes next. Empty: no program has the terminal open."""
    try:
        return os.read(master, 1 << 16)
    except OSError:  # Linux raises it when the other side is closed.
        return b""


def _make_ctrl_c_a_signal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A process that a shell starts in the background ignores SIGINT. If the tests run there, a child inherits that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def plain(shown: str) -> str:
    """Return what was shown, without control sequences."""
    return _SEQUENCE.sub("", shown).replace("\r", "")
