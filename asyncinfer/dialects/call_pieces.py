"""The pieces in which tool calls are streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.fields import as_count, as_id, as_text, group
from asyncinfer.dialects.json_end import JsonEnd

_LONGEST_EMPTY = 64


@dataclass(frozen=True, slots=True)
class CallPiece:
    """One piece of a call. Fields that the piece does not have are empty, or None for `index`."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


def piece_in(part: Mapping[str, Any]) -> CallPiece:
    """Read an entry of OpenAI's `delta.tool_calls`.

    Raises:
        TypeError, AttributeError: the entry cannot be read.
    """
    function = group(part, "function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):  # whole, as some servers send them
        arguments = json.dumps(arguments, ensure_ascii=False)
    name = as_text(function.get("name") or "")
    return CallPiece(as_count(part.get("index")), as_id(part.get("id")), name, as_text(arguments or ""))


@dataclass(slots=True)
class StreamedCall:
    """A call whose first piece has come. `event`: the number of the event that began it."""

    index: int | None
    event: int
    id: str = ""
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    renamed: bool = False  # its name came again, alone, after its arguments were whole
    guessed: bool = False  # a piece came without index and id, or with the name again and without the id
    _parts: list[str] = field(default_factory=list[str])
    _size: int = 0
    _end: JsonEnd = field(default_factory=JsonEnd)

    @property
    def arguments(self) -> str:
        return "".join(self._parts)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments have ended."""
        return self._end.reached

    @property
    def is_empty(self) -> bool:
        """Whether the arguments are `{}` or `null`. Some servers begin every call with one of these."""
        return self._size < _LONGEST_EMPTY and "".join(self.arguments.split()) in ("{}", "null")

    @property
    def is_begun(self) -> bool:
        """Whether any arguments have come."""
        return any(part.strip() for part in self._parts)

    def add(self, piece: CallPiece) -> None:
        self.index = self.index if self.index is not None else piece.index
        self.id, self.name = self.id or piece.id, self.name or piece.name
        self._parts.append(piece.arguments)
        self._size += len(piece.arguments)
        self._end.feed(piece.arguments)

    def clear(self) -> None:
        """Drop the arguments that have come."""
        self._parts, self._size, self._end = [], 0, JsonEnd()
