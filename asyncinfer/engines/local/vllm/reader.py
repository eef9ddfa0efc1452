"""What a row's answer says: text, reasoning and tool calls, as it grows and as a whole."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from asyncinfer.engines.local import tool_calls
from asyncinfer.engines.local.text_stream import TextStream
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall

log = logging.getLogger("asyncinfer")


class AnswerReader:
    """Reads one answer. `parser` makes vLLM's parser of it, which wants to see `chat`, the request; `marked` says
    that tool calls are to be looked for in our own format; `one_call` that the parser may find several and the first
    one counts.
    """

    def __init__(
        self,
        parser: Callable[[], Any] | None = None,
        chat: Any = None,
        *,
        marked: bool = False,
        one_call: bool = False,
    ) -> None:
        self._parser, self._chat, self._marked = parser, chat, marked
        self._most_calls = 1 if one_call else None
        self._grown = TextStream(mark=tool_calls.OPENING) if marked else None
        self._growing: Any = None
        self._text: list[str] = []
        self._tokens: list[int] = []

    def push(self, text: str, tokens: Sequence[int], prompt: Sequence[int], *, finished: bool) -> StreamDelta | None:
        """Add a part of the answer; what of it can be told at once."""
        self._text.append(text)
        self._tokens.extend(tokens)
        content, reasoning = text, ""
        if self._parser is not None:
            content, reasoning = self._parse_part(text, list(tokens), list(prompt), finished)
        if self._grown is not None:
            content = self._certain(content, finished)
        return StreamDelta(content, reasoning) if content or reasoning else None

    def pushed(self) -> Message:
        """The whole of what was pushed."""
        return self.read("".join(self._text), self._tokens)

    def read(self, text: str, tokens: Sequence[int]) -> Message:
        """The whole answer."""
        reasoning, content, calls = self._parsed(text, tokens)
        if self._marked:
            content, calls = tool_calls.parse(content)
        return Message(
            role=Role.ASSISTANT,
            content=content if content.strip() or not (calls or reasoning) else None,
            tool_calls=calls or None,
            reasoning_content=reasoning or None,
        )

    def _parsed(self, text: str, tokens: Sequence[int]) -> tuple[str | None, str, list[ToolCall]]:
        if self._parser is None:
            return None, text, []
        try:
            reasoning, content, found = self._parser().parse(text, self._chat, True, tokens)
            return reasoning, content or "", [_call(call) for call in (found or ())[: self._most_calls]]
        except Exception as error:
            log.warning("vLLM's parser failed on an answer, which is given as it is: %r", error)
            return None, text, []

    def _parse_part(self, text: str, tokens: list[int], prompt: list[int], finished: bool) -> tuple[str, str]:
        assert self._parser is not None
        self._growing = self._growing or self._parser()
        try:
            said: Any = self._growing.parse_delta(text, tokens, self._chat, prompt, finished=finished)
        except Exception as error:
            log.warning("vLLM's parser failed on a part of an answer, which is given as it is: %r", error)
            return text, ""
        return (said.content or "", said.reasoning or "") if said is not None else ("", "")

    def _certain(self, content: str, finished: bool) -> str:
        assert self._grown is not None
        told = self._grown.push(content.encode())
        if not finished:
            return told
        told += self._grown.finish()
        _, calls = tool_calls.parse(self._grown.text)
        return told if calls else told + self._grown.held


def _call(call: Any) -> ToolCall:
    """vLLM leaves out the id where the format has none."""
    return ToolCall(id=call.id or tool_calls.new_id(), function=FunctionCall(name=call.name, arguments=call.arguments))
