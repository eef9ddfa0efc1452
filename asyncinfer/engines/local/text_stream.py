"""Turn the bytes of tokens into text that is certain: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class TextStream:
    """Text as it grows. What could still turn out to begin a stop string is held back.

    From `mark` on everything is kept in `held`, to the end.
    """

    def __init__(self, stops: Iterable[str] = (), mark: str = "") -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._mark = mark
        self._needles = (*self._stops, mark) if mark else self._stops
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._certain: list[str] = []
        self.held = ""
        self.stopped = False

    @property
    def text(self) -> str:
        return "".join(self._certain) + self.held

    def push(self, piece: bytes) -> str:
        """Add a token's bytes; the text that has become certain. Sets `stopped` at a stop string."""
        return self._add(self._decoder.decode(piece))

    def finish(self) -> str:
        """What was held back for what might have followed."""
        return "" if self.stopped else self._add(self._decoder.decode(b"", True), final=True)

    def _add(self, new: str, *, final: bool = False) -> str:
        text = self.held + new
        cuts = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if cuts:
            self.stopped = True
            text = text[: min(cuts)]
        certain = self._certain_length(text, final=final or self.stopped)
        self.held = text[certain:]
        if certain:
            self._certain.append(text[:certain])
        return text[:certain]

    def _certain_length(self, text: str, *, final: bool) -> int:
        if self._mark and (at := text.find(self._mark)) >= 0:
            return at
        if final:
            return len(text)
        return len(text) - max((_overlap(text, needle) for needle in self._needles), default=0)


def _overlap(text: str, needle: str) -> int:
    """The length of the longest end of `text` that begins `needle` without completing it."""
    for length in range(min(len(text), len(needle) - 1), 0, -1):
        if text.endswith(needle[:length]):
            return length
    return 0
