"""Decodes the bytes of tokens into text that can no longer change: whole characters, and no part of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class TextStream:
    """Text that grows token by token. Text that may be the beginning of a stop string is held back.

    Args:
        stop_strings: The text ends before the first of them.
        marker: All text from this string on is kept in `held`, until the end.

    Attributes:
        held: The text that is held back.
        stopped: Whether a stop string was found.
    """

    def __init__(self, stop_strings: Iterable[str] = (), marker: str = "") -> None:
        self._stop_strings = tuple(stop for stop in stop_strings if stop)
        self._marker = marker
        self._held_back = (*self._stop_strings, marker) if marker else self._stop_strings
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._released: list[str] = []
        self.held = ""
        self.stopped = False

    @property
    def text(self) -> str:
        return "".join(self._released) + self.held

    def push(self, piece: bytes) -> str:
        """Add the bytes of a token. Returns the text that can no longer change. Sets `stopped` at a stop string."""
        return self._add(self._decoder.decode(piece))

    def finish(self) -> str:
        """The stream has ended. Returns the text that was held back, except the text from the marker on."""
        return "" if self.stopped else self._add(self._decoder.decode(b"", True), final=True)

    def _add(self, new: str, *, final: bool = False) -> str:
        text = self.held + new
        ends = [at for stop in self._stop_strings if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            text = text[: min(ends)]
        length = self._releasable(text, final=final or self.stopped)
        self.held = text[length:]
        if length:
            self._released.append(text[:length])
        return text[:length]

    def _releasable(self, text: str, *, final: bool) -> int:
        """How many characters of `text` can no longer change."""
        if self._marker and (at := text.find(self._marker)) >= 0:
            return at
        if final:
            return len(text)
        return len(text) - max((_overlap(text, string) for string in self._held_back), default=0)


def _overlap(text: str, string: str) -> int:
    """The length of the longest end of `text` that is a beginning of `string`, but not all of it."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
