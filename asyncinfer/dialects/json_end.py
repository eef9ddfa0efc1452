"""Finds the end of JSON that arrives in pieces."""

from __future__ import annotations

import re

_MARKS = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class JsonEnd:
    """Scans the text of a JSON object or array, piece by piece, in linear time.

    Attributes:
        reached: Whether the object or array is complete. Whether it is valid JSON is not checked.
    """

    __slots__ = ("_begun", "_depth", "_escaped", "_quoted")

    def __init__(self) -> None:
        self._depth = 0
        self._begun = self._quoted = self._escaped = False

    @property
    def reached(self) -> bool:
        return self._begun and self._depth <= 0 and not self._quoted

    def feed(self, piece: str) -> None:
        """Read the next piece."""
        if not piece:
            return
        text = piece[1:] if self._escaped else piece
        for mark in _MARKS.findall(text):
            if mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted and mark in "{[":
                self._depth, self._begun = self._depth + 1, True
            elif not self._quoted and mark in "}]":
                self._depth -= 1
        backslashes = len(text) - len(text.rstrip("\\"))
        self._escaped = backslashes % 2 == 1  # The last backslash escapes the first character of the next piece.
