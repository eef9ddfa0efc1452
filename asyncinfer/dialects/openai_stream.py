"""OpenAI's chat completions as they are streamed: `chat.completion.chunk` objects in server-sent events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from asyncinfer.dialects.http import garbled
from asyncinfer.dialects.openai_chat import error_in, finish_reason, group, usage_in
from asyncinfer.dialects.sse import Event
from asyncinfer.errors import RequestError
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import Completion, FinishReason, InferenceErrorType, StreamDelta, Usage
from asyncinfer.types.tools import ToolCall


@dataclass(slots=True)
class StreamDecoder:
    """Turns a stream's events into deltas. Tool calls come whole, with the last delta, as do usage and reason."""

    _calls: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    _finish: FinishReason | None = None
    _usage: Usage | None = None
    _done: bool = False

    def feed(self, event: Event) -> Iterator[StreamDelta]:
        """The deltas that `event` brings.

        Raises:
            RequestError: it tells of an error, or cannot be read.
        """
        if event.data.strip() == "[DONE]":
            self._done = True
            return
        try:
            data: Any = from_json(event.data)
            choices, error = data.get("choices"), data.get("error")
        except (ValueError, AttributeError):
            raise garbled(f"holds an event that is no JSON object: {event.data[:200]}") from None
        if error and not choices:
            raise error_in(error, event.data.encode())
        self._usage = usage_in(data.get("usage")) or self._usage
        if choices:
            yield from self._choice(choices[0])

    def finish(self) -> StreamDelta:
        """The last delta, when the stream has ended.

        Raises:
            RequestError: it ended before its end.
        """
        if self._finish is None and not self._done:
            raise RequestError("the stream broke off", error_type=InferenceErrorType.CONNECTION, is_retryable=True)
        try:
            calls = tuple(ToolCall.model_validate(call) for _, call in sorted(self._calls.items()))
        except ValidationError:
            raise garbled("holds a tool call without a name or an id") from None
        message = Message(role=Role.ASSISTANT, content="", tool_calls=list(calls) or None)
        return Completion(message, self._finish or FinishReason.UNKNOWN, self._usage).as_delta()

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[StreamDelta]:
        delta = group(choice, "delta")
        text = delta.get("content") or delta.get("refusal") or ""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
        for part in delta.get("tool_calls") or ():
            self._add(part)
        if (reason := choice.get("finish_reason")) is not None:
            self._finish = finish_reason(reason)
        if text or reasoning:
            yield StreamDelta(content=text, reasoning_content=reasoning)

    def _add(self, part: Mapping[str, Any]) -> None:
        """Fit a piece of a tool call to those before it."""
        call = self._calls.setdefault(part.get("index", len(self._calls)), {"function": {"name": "", "arguments": ""}})
        if part.get("id"):
            call["id"] = part["id"]
        function = group(part, "function")
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
