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
    """One piece of a call. A text that is empty, or a missing index, says nothing."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


def piece_in(part: Mapping[str, Any]) -> CallPiece:
    """The piece that an entry of OpenAI's `delta.tool_calls` is.

    Raises:
        TypeError, AttributeError: it cannot be read.
    """
    function = group(part, "function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):  # whole, as some servers send them
        arguments = json.dumps(arguments, ensure_ascii=False)
    name = as_text(function.get("name") or "")
    return CallPiece(as_count(part.get("index")), as_id(part.get("id")), name, as_text(arguments or ""))


@dataclass(slots=True)
class StreamedCall:
    """A call of which the first piece has come. `event`: the number of the event that began it."""

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
        """Whether the arguments say that there are none, with which some servers begin each call."""
        return self._size < _LONGEST_EMPTY and "".join(self.arguments.split()) in ("{}", "null")

    @property
    def is_begun(self) -> bool:
        """Whether arguments have come."""
        return any(part.strip() for part in self._parts)

    def add(self, piece: CallPiece) -> None:
        self.index = self.index if self.index is not None else piece.index
        self.id, self.name = self.id or piece.id, self.name or piece.name
        self._parts.append(piece.arguments)
        self._size += len(piece.arguments)
        self._end.feed(piece.arguments)

    def clear(self) -> None:
        """Forget the arguments that have come."""
        self._parts, self._size, self._end = [], 0, JsonEnd()
