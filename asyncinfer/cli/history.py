"""The messages of earlier chats, which the arrow keys bring back. They are in a file that only its owner can read."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from asyncinfer.scratch.atomic import replacing
from asyncinfer.types.paths import PATH_ERRORS, open_regular

log = logging.getLogger("asyncinfer")

# How many messages the file keeps. It is shortened when it has twice as many.
_MOST = 1000


def history_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the file: in `$XDG_STATE_HOME`, or in `~/.local/state`.

    XDG Base Directory Specification 0.8: a relative path in the variable is not valid, and is ignored.

    Args:
        environ: The environment variables; those of this process by default.
    """
    given = Path((os.environ if environ is None else environ).get("XDG_STATE_HOME", ""))
    folder = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return folder / "asyncinfer" / "chat_history.jsonl"


class HistoryFile:
    """Texts in a file, one JSON string per line. A file that cannot be used is logged at level debug, and is no error.

    Its methods block.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[str]:
        """Return the newest texts, oldest first."""
        try:
            with open_regular(self._path) as file:
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            log.debug("%s cannot be read: %s", self._path, error)
            return []
        texts = [text for line in lines if (text := _text(line)) is not None]
        if len(texts) >= 2 * _MOST:
            self._replace(texts[-_MOST:])
        return texts[-_MOST:]

    def append(self, text: str) -> None:
        """Add a text."""
        with self._logged_errors():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as file:
                file.write(_line(text))

    def _replace(self, texts: list[str]) -> None:
        with self._logged_errors():
            with self._opened():  # The new file gets the permissions of this one, which are private now.
                pass
            with replacing(self._path) as file:
                file.writelines(map(_line, texts))

    def _opened(self) -> BinaryIO:
        """Open the file for writing at its end. Only its owner can read it, whatever its permissions were."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.fdopen(os.open(self._path, flags, 0o600), "ab")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # The path may be a link to a device.
            os.fchmod(file.fileno(), 0o600)
        return file

    @contextmanager
    def _logged_errors(self) -> Generator[None]:
        try:
            yield
        except PATH_ERRORS as error:
            log.debug("%s cannot be written: %s", self._path, error)


def _line(text: str) -> bytes:
    return json.dumps(text).encode() + b"\n"


def _text(line: str) -> str | None:
    try:
        text = json.loads(line)
    except ValueError:
        return None
    return text if isinstance(text, str) else None
