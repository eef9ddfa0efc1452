"""Builds the answer of a local model: deltas while it grows, and the complete message at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.finish_reasons import with_calls
from asyncinfer.dialects.response_metadata import logprobs_metadata
from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Emit
from asyncinfer.engines.local.text_stream import TextStream
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


def answer_limit(generation: GenerationParams, room: int) -> int:
    """The most tokens of an answer.

    Args:
        room: How many tokens the context holds after the prompt.
    """
    return room if generation.max_new_tokens is None else min(generation.max_new_tokens, room)


class AnswerBuilder:
    """Builds the answer of one row. If `request.stream` is set, emits text as soon as it can no longer change.

    Args:
        tools: The tools that the answer may call.
        prefix: Text that goes before the answer.

    Attributes:
        needs_each_token: Whether the text is needed token by token: the caller streams it, or a stop string may end it.
    """

    def __init__(self, row: int, request: Request, tools: Sequence[dict[str, Any]], prefix: str = "") -> None:
        stop_strings = tool_calls.stop_strings(request.generation, tools)
        self.needs_each_token = request.stream or bool(stop_strings)
        self._row, self._stream, self._has_tools = row, request.stream, bool(tools)
        self._text = TextStream(stop_strings, tool_calls.OPENING if tools else "")
        self._prefix = self._unsent_prefix = prefix
        self._logprobs: list[dict[str, Any]] = []  # Those that no delta has.

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._text.stopped

    def add_logprobs(self, *entries: dict[str, Any]) -> None:
        """Append the log probabilities of the next tokens. They come with the next text that is emitted."""
        self._logprobs += entries

    def add(self, piece: bytes, emit: Emit) -> None:
        """Append the bytes of one token or several."""
        self._emit_text(self._text.push(piece), emit)

    def finish(self, reason: FinishReason, usage: Usage, emit: Emit) -> None:
        """Emit the rest of the text, and the Completion."""
        self._emit_text(self._text.finish(), emit)
        content, calls = tool_calls.parse(self._text.text) if self._has_tools else (self._text.text, [])
        if not calls:
            self._emit_text(self._text.held, emit)
        content = self._prefix + content
        message = Message(
            role=Role.ASSISTANT,
            content=content if content.strip() or not calls else None,
            tool_calls=calls or None,
        )
        if self._stream and self._logprobs:
            emit(self._row, StreamDelta(logprobs=self._take_logprobs()))
        metadata = logprobs_metadata(self._take_logprobs()) or None
        emit(self._row, Completion(message, with_calls(reason, calls), usage, metadata))

    def _emit_text(self, text: str, emit: Emit) -> None:
        if self._stream and (text := self._unsent_prefix + text):
            self._unsent_prefix = ""
            emit(self._row, StreamDelta(content=text, logprobs=self._take_logprobs()))

    def _take_logprobs(self) -> tuple[dict[str, Any], ...]:
        taken, self._logprobs = tuple(self._logprobs), []
        return taken
