"""Sends an answer as a stream of OpenAI's chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

Json = dict[str, Any]


async def stream_choice(request: web.Request, head: Json, choice: Json, usage: Json | None) -> web.StreamResponse:
    """Send a choice in pieces: word by word, and the arguments of a call in two halves.

    Args:
        head: The fields that all events have.
        choice: The whole choice, with its message, its finish reason, and perhaps its log probabilities.
        usage: The usage that ends the stream; None to leave it out.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    logprobs = iter((choice.get("logprobs") or {}).get("content", ()))
    for delta in _deltas(choice["message"]):
        of_word = {"logprobs": {"content": [next(logprobs)]}} if choice.get("logprobs") and delta.get("content") else {}
        await _send(response, head, choices=[{"index": 0, "delta": delta, "finish_reason": None, **of_word}])
    await _send(response, head, choices=[{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}])
    if usage is not None:
        await _send(response, head, choices=[], usage=usage)
    await response.write(b"data: [DONE]\n\n")
    return response


def words(text: str | None) -> list[str]:
    """The words of a text, each with the white space after it."""
    return re.findall(r"\S+\s*|\s+", text or "")


async def _send(response: web.StreamResponse, head: Json, **fields: Any) -> None:
    event = {**head, "object": "chat.completion.chunk", **fields}
    await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


def _deltas(message: Mapping[str, Any]) -> Iterator[Json]:
    """The pieces of an answer. The arguments of parallel calls arrive in turns, as servers with many workers send them."""
    yield {"role": "assistant", "content": ""}
    for word in words(message.get("reasoning_content")):
        yield {"reasoning_content": word}
    for word in words(message.get("content")):
        yield {"content": word}
    made = list(enumerate(message.get("tool_calls") or ()))
    for index, call in made:
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}
    for half in (0, 1):
        for index, call in made:
            arguments = call["function"]["arguments"]
            middle = len(arguments) // 2
            piece = arguments[middle:] if half else arguments[:middle]
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
