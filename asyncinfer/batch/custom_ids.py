"""The ids of rows in jobs. An id is made of the row's key, so that results are matched by what was asked."""

from __future__ import annotations

from asyncinfer.scratch.index import KEY_BYTES
from asyncinfer.scratch.keys import row_id

RowId = tuple[bytes, int]
"""The key of a row, and how many earlier rows have the same key."""


def custom_id(row: RowId) -> str:
    """Return the id of a row in a job: letters, digits and `-`."""
    return row_id(*row)


def row_of(text: str) -> RowId | None:
    """Return the row with this id; None if no row can have it."""
    key, _, n = text.partition("-")
    try:
        found = (bytes.fromhex(key), int(n or 0))
    except ValueError:
        return None
    return found if len(found[0]) == KEY_BYTES and custom_id(found) == text else None
