"""A local model's answer: what of it is told while it grows, and what it says in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncinfer.dialects.finish_reasons import with_calls
from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit
from asyncinfer.engines.local.text_stream import TextStream
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import Completion, FinishReason, StreamDelta, Usage


class Answer:
    """The answer of one row, which may call `tools`. Where `request.stream`, text is told as soon as it is certain.
    `prefix` goes before it.

    `wants_each`: whether the text is needed token by token, as somebody reads it, or it may end the answer.
    """

    def __init__(self, row: int, request: Request, tools: Sequence[dict[str, Any]], prefix: str = "") -> None:
        stops = tool_calls.stops(request.generation, tools)
        self.wants_each = request.stream or bool(stops)
        self._row, self._stream, self._calls = row, request.stream, bool(tools)
        self._text = TextStream(stops, tool_calls.OPENING if tools else "")
        self._prefix = self._untold = prefix

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended it."""
        return self._text.stopped

    def add(self, piece: bytes, emit: Emit) -> None:
        """Go on by the bytes of a token, or of several."""
        self._tell(self._text.push(piece), emit)

    def end(self, reason: FinishReason, usage: Usage, emit: Emit) -> None:
        """Emit what was not told of the text yet, and the Completion."""
        self._tell(self._text.finish(), emit)
        content, calls = tool_calls.parse(self._text.text) if self._calls else (self._text.text, [])
        if not calls:
            self._tell(self._text.held, emit)
        content = self._prefix + content
        message = Message(
            role=Role.ASSISTANT,
            content=content if content.strip() or not calls else None,
            tool_calls=calls or None,
        )
        emit(self._row, Completion(message, with_calls(reason, calls), usage))

    def _tell(self, text: str, emit: Emit) -> None:
        if self._stream and (text := self._untold + text):
            self._untold = ""
            emit(self._row, StreamDelta(content=text))
