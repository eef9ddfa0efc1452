"""Lists names in messages."""

from __future__ import annotations

from collections.abc import Iterable

_MOST = 30


def listed_names(names: Iterable[object]) -> str:
    """Return names for a message, at most 30 of them. Names with white space at an end are in quotes."""
    texts = [text if (text := str(name)) and text == text.strip() else repr(text) for name in names]
    more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return ", ".join([*texts[:_MOST], *more])


def no_column(name: str, columns: Iterable[object]) -> str:
    """Return the message that there is no column of this name. It lists the columns."""
    return f"there is no column {name!r}; the columns are {listed_names(columns)}"
