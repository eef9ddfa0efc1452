"""Reads what a message keeps of an earlier answer, so that only what answers have is sent back to an API.

A conversation may come from somebody else, such as the client of a server. Blocks of other types, with a URL or the id
of a stored file in them, would make the API read something that this client may not read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asyncinfer.dialects.fields import as_object, members_of

Json = dict[str, Any]
KeysOfType = Mapping[str, Collection[str]]


def known_blocks(blocks: Any, keys: KeysOfType) -> list[Json]:
    """Return the blocks of known types, with their known fields. Fields that hold an object or a list are left out.

    Args:
        blocks: A list of blocks, one block, or anything else, which has no blocks.
        keys: The names of the fields, for each value of the field `type`. `type` is always kept.
    """
    found = (known_block(as_object(block), keys) for block in members_of(blocks))
    return [block for block in found if block is not None]


def known_block(block: Mapping[str, Any], keys: KeysOfType) -> Json | None:
    """Return a block with its known fields; None if its type is not known."""
    kind = block.get("type")
    names = keys.get(kind) if isinstance(kind, str) else None
    return None if names is None else {"type": kind, **plain_fields(block, names)}


def plain_fields(block: Mapping[str, Any], names: Collection[str]) -> Json:
    """Return the fields with these names that hold a text, a number, a boolean or null."""
    return {name: value for name, value in block.items() if name in names and not isinstance(value, dict | list)}
