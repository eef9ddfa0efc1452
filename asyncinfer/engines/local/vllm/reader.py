"""Reads an answer of vLLM: its text, reasoning and tool calls, while it grows and when it is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.text_stream import TextStream
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall

log = logging.getLogger("asyncinfer")


class AnswerReader:
    """Reads one answer.

    Args:
        parser: Makes vLLM's parser for the answer. None to read plain text.
        chat: The OpenAI request that the parser needs as its context.
        own_format: Whether to look for tool calls in the format of `tool_calls`.
        one_call: Whether to use only the first tool call that the parser finds.
    """

    def __init__(
        self,
        parser: Callable[[], Any] | None = None,
        chat: Any = None,
        *,
        own_format: bool = False,
        one_call: bool = False,
    ) -> None:
        self._parser, self._chat, self._own_format = parser, chat, own_format
        self._max_calls = 1 if one_call else None
        self._text_stream = TextStream(marker=tool_calls.OPENING) if own_format else None
        self._stream_parser: Any = None
        self._text: list[str] = []
        self._tokens: list[int] = []

    def push(self, text: str, tokens: Sequence[int], prompt: Sequence[int], *, finished: bool) -> StreamDelta | None:
        """Add a part of the answer. Returns the part that can no longer change, if any."""
        self._text.append(text)
        self._tokens.extend(tokens)
        content, reasoning = text, ""
        if self._parser is not None:
            content, reasoning = self._parse_part(text, list(tokens), list(prompt), finished)
        if self._text_stream is not None:
            content = _released(self._text_stream, content, finished)
        return StreamDelta(content, reasoning) if content or reasoning else None

    def message(self) -> Message:
        """The complete answer from all parts that were added."""
        return self.read("".join(self._text), self._tokens)

    def read(self, text: str, tokens: Sequence[int]) -> Message:
        """The message of a complete answer."""
        reasoning, content, calls = self._parse(text, tokens)
        if self._own_format:
            content, calls = tool_calls.parse(content)
        return Message(
            role=Role.ASSISTANT,
            content=content if content.strip() or not (calls or reasoning) else None,
            tool_calls=calls or None,
            reasoning_content=reasoning or None,
        )

    def _parse(self, text: str, tokens: Sequence[int]) -> tuple[str | None, str, list[ToolCall]]:
        if self._parser is None:
            return None, text, []
        try:
            reasoning, content, calls = self._parser().parse(text, self._chat, True, tokens)
            return reasoning, content or "", [_tool_call(call) for call in (calls or ())[: self._max_calls]]
        except Exception as error:
            log.warning("vLLM's parser failed on an answer, which is returned unparsed: %r", error)
            return None, text, []

    def _parse_part(self, text: str, tokens: list[int], prompt: list[int], finished: bool) -> tuple[str, str]:
        assert self._parser is not None
        self._stream_parser = self._stream_parser or self._parser()
        try:
            delta: Any = self._stream_parser.parse_delta(text, tokens, self._chat, prompt, finished=finished)
        except Exception as error:
            log.warning("vLLM's parser failed on a part of an answer, which is returned unparsed: %r", error)
            return text, ""
        return (delta.content or "", delta.reasoning or "") if delta is not None else ("", "")


def _released(stream: TextStream, content: str, finished: bool) -> str:
    """Add text to the stream. Returns the text that belongs to no tool call."""
    released = stream.push(content.encode())
    if not finished:
        return released
    released += stream.finish()
    _, calls = tool_calls.parse(stream.text)
    return released if calls else released + stream.held


def _tool_call(call: Any) -> ToolCall:
    """A call as vLLM parsed it. It has no id if the format has none."""
    return ToolCall(id=call.id or tool_calls.new_id(), function=FunctionCall(name=call.name, arguments=call.arguments))
