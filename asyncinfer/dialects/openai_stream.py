"""OpenAI's chat completions as they are streamed: `chat.completion.chunk` objects in server-sent events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from asyncinfer.dialects.fields import as_text, group
from asyncinfer.dialects.google_thoughts import END_OF_THOUGHT, THOUGHT, of_google
from asyncinfer.dialects.http import broken_off, garbled
from asyncinfer.dialects.openai_answer import ended, error_in, error_of, finish_reason, usage_in
from asyncinfer.dialects.sse import Event
from asyncinfer.dialects.tools import tool_call
from asyncinfer.types.results import FinishReason, StreamDelta, Usage


@dataclass(slots=True)
class StreamDecoder:
    """Turns a stream's events into deltas, until it is `done`. Tool calls come whole, with the last delta, as do
    usage and reason.
    """

    _calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _finish: FinishReason | None = None
    _usage: Usage | None = None
    _thinking: bool = False
    done: bool = False

    def feed(self, event: Event) -> Iterator[StreamDelta]:
        """The deltas that `event` brings.

        Raises:
            RequestError: it tells of an error, or cannot be read.
        """
        if event.name == "error":
            raise error_in(event.data, event.data.encode())
        if event.data.strip() == "[DONE]":
            self.done = True
            return
        try:
            data: Any = from_json(event.data)
            choices, error = data.get("choices"), error_of(data, event.data.encode())
            self._usage = usage_in(data.get("usage")) or self._usage
            # Of several choices the first is the answer.
            deltas = [delta for choice in choices or () if not choice.get("index") for delta in self._choice(choice)]
        except (ValueError, AttributeError, KeyError, TypeError):
            raise garbled(f"holds an event that cannot be read: {event.data[:200]}") from None
        yield from deltas
        if error is not None:
            raise error

    def finish(self) -> StreamDelta:
        """The last delta, when the stream has ended.

        Raises:
            RequestError: it ended before its end.
        """
        if self._finish is None and not self.done:
            raise broken_off()
        try:
            calls = [tool_call({key: call[key] for key in call if key != "index"}) for call in self._in_order()]
        except ValueError:
            raise garbled("holds a tool call that cannot be read") from None
        return StreamDelta.last(calls, ended(self._finish or FinishReason.UNKNOWN, calls), self._usage)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[StreamDelta]:
        delta = group(choice, "delta")
        text = as_text(delta.get("content") or delta.get("refusal") or "")
        reasoning = as_text(delta.get("reasoning_content") or delta.get("reasoning") or "")
        if of_google(delta).get("thought") is True:
            text, reasoning, self._thinking = "", text.removeprefix(THOUGHT), True
        elif self._thinking and text:
            text, self._thinking = text.removeprefix(END_OF_THOUGHT), False
        for part in delta.get("tool_calls") or ():
            self._add(part)
        if (reason := choice.get("finish_reason")) is not None:
            self._finish = finish_reason(reason)
        if text or reasoning:
            yield StreamDelta(content=text, reasoning_content=reasoning)

    def _add(self, part: Mapping[str, Any]) -> None:
        """Fit a piece of a tool call to those before it."""
        call = self._call(part.get("index"), part.get("id"))
        function = group(part, "function")
        call["function"]["name"] = function.get("name") or call["function"]["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # whole, as some servers send them
            call["function"]["arguments"] = arguments
        elif arguments:
            call["function"]["arguments"] += arguments
        if signed := group(part, "extra_content"):  # Google's signature of the thought behind the call
            call["extra_content"] = signed

    def _in_order(self) -> list[dict[str, Any]]:
        """The calls by their index; those without one as they came."""
        return sorted(
            self._calls, key=lambda call: call["index"] if isinstance(call["index"], int) else len(self._calls)
        )

    def _call(self, index: Any, call_id: Any) -> dict[str, Any]:
        """The call with that index, or that id; another id is another call, and neither goes on with the last."""
        same = [call for call in self._calls if index is None or call["index"] == index]
        last = same[-1] if same else None
        if last is None or (call_id and last["id"] not in (None, call_id)):
            last = {"index": index, "id": None, "function": {"name": "", "arguments": ""}}
            self._calls.append(last)
        last["id"] = call_id or last["id"]
        return last
