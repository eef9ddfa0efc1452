"""Bound what JSON becomes in memory: parsing holds the event loop, and each container takes many times its text."""

from __future__ import annotations

# Smaller texts are parsed in a few milliseconds whatever they hold.
_UNCHECKED = 2**20
_MAX_CONTAINERS = 10**6
_MAX_VALUES = 10**7


def has_too_many_values(text: bytes | str) -> bool:
    """Whether a JSON text holds more than a million arrays and objects, or ten million values.

    Brackets and commas inside strings count too. No answer comes near either number.
    """
    if len(text) <= _UNCHECKED:
        return False
    opening, separator = ((b"[", b"{"), b",") if isinstance(text, bytes) else (("[", "{"), ",")
    containers = sum(text.count(mark) for mark in opening)  # type: ignore[arg-type]
    return containers > _MAX_CONTAINERS or text.count(separator) > _MAX_VALUES  # type: ignore[arg-type]
