"""Puts OpenRouter's `reasoning_details` of a stream together, as they are in an answer that is not streamed.

Each part of the reasoning arrives in pieces with the same `type` and `index`; its signature may come in a piece of its
own. The parts that are sent back must be whole and in the same order. Sources: OpenRouter's "Reasoning tokens:
preserving reasoning", openrouter 1.3 (`ReasoningDetailUnion`), and langchain-ai/langchain#36401, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.fields import as_object, checked_depth, members_of
from asyncinfer.dialects.sent_back import known_blocks

# The fields that arrive in pieces.
_TEXTS = ("text", "summary", "data")
_ENCRYPTED = "reasoning.encrypted"
_SHARED = ("format", "id", "index")
# The fields of each type of parts.
_KEYS = {
    "reasoning.text": (*_SHARED, "text", "signature"),
    "reasoning.summary": (*_SHARED, "summary"),
    _ENCRYPTED: (*_SHARED, "data"),
    "reasoning.server_tool_call": (*_SHARED, "arguments", "result", "tool_name", "tool_call_id"),
}


def sent_back_details(details: Any) -> list[dict[str, Any]]:
    """Return the parts of an earlier answer as they are sent back. Parts of other types are left out."""
    return known_blocks(details, _KEYS)


@dataclass(slots=True)
class _Detail:
    fields: dict[str, Any]
    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def continues_with(self, piece: Mapping[str, Any]) -> bool:
        """Whether a piece belongs to this part. Encrypted parts without an index are whole."""
        if any(self.fields.get(name) != piece.get(name) for name in ("type", "index")):
            return False
        ids = {self.fields.get("id"), piece.get("id")} - {None}
        return len(ids) < 2 and not (piece.get("index") is None and piece.get("type") == _ENCRYPTED)

    def add(self, piece: Mapping[str, Any]) -> None:
        for name, value in piece.items():
            if name in _TEXTS and isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            elif value is not None or name not in self.fields:
                self.fields[name] = value

    def whole(self) -> dict[str, Any]:
        return {**self.fields, **{name: "".join(texts) for name, texts in self.texts.items()}}


class ReasoningDetails:
    """The `reasoning_details` of one streamed answer."""

    def __init__(self) -> None:
        self._details: list[_Detail] = []

    def add(self, pieces: Any) -> None:
        """Read the pieces in one event. Values that are not objects are ignored.

        Raises:
            ValueError: A piece is nested too deeply.
        """
        for piece in map(as_object, members_of(checked_depth(pieces))):
            if not piece:
                continue
            if not (self._details and self._details[-1].continues_with(piece)):
                self._details.append(_Detail({}))
            self._details[-1].add(piece)

    def replace(self, details: Any) -> None:
        """Read the parts of a whole message, which has everything so far. Raises ValueError as `add` does."""
        self._details = []
        for detail in members_of(checked_depth(details)):
            self._details.append(_Detail(dict(as_object(detail))))

    def extra(self) -> dict[str, Any]:
        """Return the field of the message that sends the parts back; an empty dict if there are none."""
        return {"reasoning_details": [detail.whole() for detail in self._details]} if self._details else {}
