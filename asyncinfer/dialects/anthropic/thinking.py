"""Puts the thinking blocks of a stream together, as they are in an answer that is not streamed.

Anthropic accepts an earlier thought only as a whole, with its signature. Sources: "Extended thinking: streaming
thinking" and anthropic-python 2.14, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.answer_text import reasoning_of
from asyncinfer.dialects.anthropic.content import THINKING, THOUGHTS
from asyncinfer.dialects.fields import checked_depth


@dataclass(slots=True)
class _Block:
    start: Mapping[str, Any]
    pieces: list[str] = field(default_factory=list[str])
    signature: str | None = None

    def whole(self) -> dict[str, Any]:
        signature = {} if self.signature is None else {"signature": self.signature}
        if not self.pieces:
            return {**self.start, **signature}
        return {**self.start, "thinking": reasoning_of(self.start.get("thinking")) + "".join(self.pieces), **signature}


class ThinkingBlocks:
    """The thinking blocks of one streamed answer."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._by_index: dict[int | None, _Block] = {}

    def begin(self, index: int | None, start: Mapping[str, Any]) -> None:
        """Read the start of a block. `index`: the index of the block in the answer.

        Raises:
            ValueError: It is nested too deeply.
        """
        self._by_index.pop(index, None)
        if start.get("type") in THOUGHTS:
            self._by_index[index] = block = _Block(checked_depth(start))
            self._blocks.append(block)

    def add(self, index: int | None, delta: Mapping[str, Any]) -> None:
        """Read a piece of a block. Pieces of other blocks are ignored."""
        block, kind = self._by_index.get(index), delta.get("type")
        if block is not None and kind == "thinking_delta":
            block.pieces.append(reasoning_of(delta.get("thinking")))
        elif block is not None and kind == "signature_delta" and isinstance(signature := delta.get("signature"), str):
            block.signature = signature

    def extra(self) -> dict[str, Any]:
        """Return the field of the message that sends the blocks back; an empty dict if there are none."""
        return {THINKING: [block.whole() for block in self._blocks]} if self._blocks else {}
