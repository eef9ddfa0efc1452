"""Bounds the size of parsed JSON: parsing blocks the event loop, and containers use far more memory than their text."""

from __future__ import annotations

# Smaller texts are parsed within a few milliseconds, whatever they contain.
_UNCHECKED = 2**20
_MAX_CONTAINERS = 10**6
_MAX_VALUES = 10**7


def has_too_many_values(text: bytes | str) -> bool:
    """Whether a JSON text holds more than a million arrays and objects, or ten million values.

    Brackets and commas inside strings count too. Real answers stay far below both numbers.
    """
    if len(text) <= _UNCHECKED:
        return False
    opening, separator = ((b"[", b"{"), b",") if isinstance(text, bytes) else (("[", "{"), ",")
    containers = sum(text.count(mark) for mark in opening)  # type: ignore[arg-type]
    return containers > _MAX_CONTAINERS or text.count(separator) > _MAX_VALUES  # type: ignore[arg-type]
