"""The ids of rows in jobs. An id is made of the row's key, so results are matched by the content of requests."""

from __future__ import annotations

from asyncinfer.run.rows import Row
from asyncinfer.scratch import keys
from asyncinfer.scratch.index import KEY_BYTES

RowId = tuple[bytes, int]
"""The key of a row, and how many earlier rows have the same key."""


def id_of(row: Row) -> RowId:
    """Return the key of a row, and its number among the rows with this key."""
    return row.key, row.n


def custom_id(row_id: RowId) -> str:
    """Return the id of a row in a job: letters, digits and `-`."""
    return keys.row_key_text(*row_id)


def row_of(text: str) -> RowId | None:
    """Return the row with this id; None if no row can have it."""
    key, _, n = text.partition("-")
    try:
        found = (bytes.fromhex(key), int(n or 0))
    except ValueError:
        return None
    return found if len(found[0]) == KEY_BYTES and custom_id(found) == text else None
