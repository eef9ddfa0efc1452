"""Pieces of tool calls, as a stream delivers them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.fields import as_count, as_id, as_text, object_at
from asyncinfer.dialects.json_end import JsonEnd

# The most calls in a streamed answer. No model makes this many; each piece is compared with all of them.
MOST_STREAMED_CALLS = 256
_LONGEST_EMPTY = 64
_PLACEHOLDERS = ("{}", "null")


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
        TypeError, AttributeError: The entry cannot be read.
    """
    function = object_at(part, "function") or part  # Some servers leave out the inner object.
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list):  # Some servers send the parsed arguments, all at once.
        arguments = json.dumps(arguments, ensure_ascii=False)
    name = as_text(function.get("name") or "")
    return CallPiece(as_count(part.get("index")), as_id(part.get("id")), name, as_text(arguments or ""))


@dataclass(slots=True)
class StreamedCall:
    """A tool call of which at least one piece has arrived.

    Attributes:
        event: The number of the event in which its first piece arrived.
        renamed: Its name arrived again, without arguments, after its own arguments were complete.
        guessed: A piece was assigned to it without an index and an id, or with a repeated name and no id.
        position: Its position in the complete answer, once nothing can change it.
        is_passed_on: Its id, its name and the beginning of its arguments were passed on.
    """

    index: int | None
    event: int
    id: str = ""
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    renamed: bool = False
    guessed: bool = False
    position: int | None = None
    is_passed_on: bool = False
    _parts: list[str] = field(default_factory=list[str])
    _taken: int = 0  # The number of parts that `take` has returned.
    _beginning: str = ""  # The arguments without white space, as long as they may be a placeholder.
    _may_be_empty: bool = True
    _size: int = 0
    _end: JsonEnd = field(default_factory=JsonEnd)

    @property
    def arguments(self) -> str:
        return "".join(self._parts)

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are complete."""
        return self._end.reached

    @property
    def has_placeholder(self) -> bool:
        """Whether the arguments are `{}` or `null`. Some servers begin every call with such a placeholder."""
        return self._may_be_empty and self._size < _LONGEST_EMPTY and self._beginning in _PLACEHOLDERS

    @property
    def may_be_empty(self) -> bool:
        """Whether the arguments are blank, a placeholder, or the beginning of one."""
        return self._may_be_empty

    @property
    def has_arguments(self) -> bool:
        """Whether any text of the arguments has arrived."""
        return any(part.strip() for part in self._parts)

    def add(self, piece: CallPiece) -> None:
        self.index = self.index if self.index is not None else piece.index
        self.id, self.name = self.id or piece.id, self.name or piece.name
        self._parts.append(piece.arguments)
        if self._may_be_empty:
            self._beginning += "".join(piece.arguments.split())
            self._may_be_empty = any(placeholder.startswith(self._beginning) for placeholder in _PLACEHOLDERS)
        self._size += len(piece.arguments)
        self._end.feed(piece.arguments)

    def clear(self) -> None:
        """Remove the arguments received so far."""
        self._parts, self._size, self._end = [], 0, JsonEnd()
        self._beginning, self._may_be_empty = "", True

    def take(self) -> str:
        """Return the arguments that no earlier call has returned. They must not be removed afterwards."""
        parts = self._parts[self._taken :]
        self._taken = len(self._parts)
        return parts[0] if len(parts) == 1 else "".join(parts)
