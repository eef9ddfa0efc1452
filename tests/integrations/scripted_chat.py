"""A server that speaks OpenAI's chat completions, and answers each request with the next answer of a script.

async with ScriptedChat() as chat:
    chat.script += [calls(weather={"city": "Paris"}), text("It is sunny.")]
    ... ask chat.url, by any client ...
    assert chat.bodies[1]["messages"][-1]["role"] == "tool"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from aiohttp import web

from tests.integrations.chat_stream import stream_choice
from tests.recorder import Recorder

Answer = dict[str, Any]
_HEAD: Answer = {"id": "chatcmpl-1", "created": 1, "model": "gpt-test"}
_ids = count(1)
USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def text(content: str, *, reasoning: str | None = None, finish: str = "stop") -> Answer:
    """An answer of text."""
    thought = {} if reasoning is None else {"reasoning_content": reasoning}
    return {"message": {"role": "assistant", "content": content, **thought}, "finish_reason": finish}


def calls(**arguments: Mapping[str, Any]) -> Answer:
    """An answer that calls each of these tools once."""
    return call_list(*arguments.items())


def call_list(*given: tuple[str, Mapping[str, Any]]) -> Answer:
    """An answer that calls these tools, in this order."""
    made = [
        {"id": f"call_{next(_ids)}", "type": "function", "function": {"name": name, "arguments": json.dumps(values)}}
        for name, values in given
    ]
    return {"message": {"role": "assistant", "content": None, "tool_calls": made}, "finish_reason": "tool_calls"}


def failure(status: int, message: str = "the server says no") -> Answer:
    """A refusal."""
    return {"status": status, "error": {"message": message}}


class ScriptedChat(Recorder):
    """Takes the next answer of `script` for each request, and sends it whole or as a stream, as the request says."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Answer] = []
        self._answer = self._next

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return [sent.body for sent in self.sent]

    async def _next(self, request: web.Request) -> web.StreamResponse:
        answer = self.script.pop(0)
        if "error" in answer:
            return web.json_response({"error": answer["error"]}, status=answer["status"])
        if self.sent[-1].body.get("stream"):
            return await stream_choice(request, _HEAD, answer, USAGE)
        choice = {"index": 0, **answer}
        return web.json_response({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})
