"""Limits the size of parsed JSON. Parsing blocks the event loop, and parsed JSON uses far more memory than its text."""

from __future__ import annotations

# Smaller texts are parsed within a few milliseconds, whatever they contain.
_UNCHECKED = 2**20
# pydantic's parser holds the global interpreter lock, so a thread would not help. It takes about 1 us for a container
# or a new key, and 0.2 us for another value. The log probabilities of 9,000 tokens, with 20 alternatives each, are
# within these bounds.
_MAX_CONTAINERS = 400_000
_MAX_KEYS = 600_000
_MAX_VALUES = 2_000_000


def has_too_many_values(text: bytes | str) -> bool:
    """Whether a JSON text has more than 400,000 arrays and objects, 600,000 keys, or 2 million values.

    Brackets, colons and commas inside strings count too.
    """
    if len(text) <= _UNCHECKED:
        return False
    return (
        _count(text, "[") + _count(text, "{") > _MAX_CONTAINERS
        or _count(text, ":") > _MAX_KEYS
        or _count(text, ",") > _MAX_VALUES
    )


def _count(text: bytes | str, mark: str) -> int:
    return text.count(mark.encode()) if isinstance(text, bytes) else text.count(mark)
