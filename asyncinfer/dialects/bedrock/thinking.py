"""Puts the signed and the redacted reasoning of a stream together, as it is in an answer that is not streamed.

The model accepts earlier reasoning only with its signature. Source: `ReasoningContentBlockDelta` in botocore 1.44's
service model `bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from asyncinfer.dialects.answer_text import reasoning_of


@dataclass(slots=True)
class _Block:
    texts: list[str] = field(default_factory=list[str])
    signatures: list[str] = field(default_factory=list[str])
    redacted: list[str] = field(default_factory=list[str])  # in base64

    def whole(self) -> dict[str, Any] | None:
        """Return the block; None if it is neither signed nor redacted, because then it need not be sent back."""
        if self.redacted:
            return {"reasoningContent": {"redactedContent": _joined_base64(self.redacted)}}
        if not any(self.signatures):
            return None
        text = {"text": "".join(self.texts), "signature": "".join(self.signatures)}
        return {"reasoningContent": {"reasoningText": text}}


class ReasoningBlocks:
    """The reasoning blocks of one streamed answer."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._open: dict[int | None, _Block] = {}

    def add(self, index: int | None, delta: Mapping[str, Any]) -> None:
        """Read a piece of a block. `index`: the index of the block in the answer."""
        if (block := self._open.get(index)) is None:
            self._open[index] = block = _Block()
            self._blocks.append(block)
        for pieces, name in ((block.signatures, "signature"), (block.redacted, "redactedContent")):
            if isinstance(value := delta.get(name), str):
                pieces.append(value)
        block.texts.append(reasoning_of(delta.get("text")))

    def close(self, index: int | None) -> None:
        """Mark a block as complete."""
        self._open.pop(index, None)

    def extra(self) -> dict[str, Any]:
        """Return the field of the message that sends the blocks back; an empty dict if there are none."""
        blocks = [whole for block in self._blocks if (whole := block.whole()) is not None]
        return {"thinking_blocks": blocks} if blocks else {}


def _joined_base64(pieces: list[str]) -> str:
    """Return the base64 text of the bytes that the pieces make."""
    if len(pieces) > 1:
        with suppress(ValueError):
            return b64encode(b"".join(map(b64decode, pieces))).decode()
    return "".join(pieces)
