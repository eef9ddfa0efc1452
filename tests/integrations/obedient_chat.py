"""A server that speaks OpenAI's chat completions, and does what a request says, as an obedient model would.

- With tools, it calls the chosen one; without a choice it calls the first one if the user spoke last. The arguments
  fit the schema of the tool.
- With a `response_format`, it answers JSON that fits the schema, or has the keys that the question puts into quotes.
- Otherwise it repeats the question. `stop`, `max_tokens`, `logprobs`, `reasoning_effort` and `stream` have their effect.

It answers 400 to a request that OpenAI's API would refuse: unknown roles and parts, and results of unknown tool calls.
"""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

from aiohttp import web

from tests.integrations.chat_stream import stream_choice, words
from tests.integrations.sample_json import sample
from tests.recorder import Recorder

Json = dict[str, Any]
_PARTS = {"text", "image_url", "file"}


class ObedientChat(Recorder):
    """Keeps all requests in `sent`, as a `Recorder` does."""

    def __init__(self) -> None:
        super().__init__()
        self._answer = self._obey
        self._ids = count(1)

    async def _obey(self, request: web.Request) -> web.StreamResponse:
        body = self.sent[-1].body
        if (problem := _problem_in(body)) is not None:
            return web.json_response({"error": {"message": problem, "type": "invalid_request_error"}}, status=400)
        head = {"id": f"chatcmpl-{next(self._ids)}", "created": 1, "model": body["model"]}
        choice = _choice(body, f"call_{next(self._ids)}")
        usage = _usage(body, choice)
        if body.get("stream"):
            has_usage = (body.get("stream_options") or {}).get("include_usage")
            return await stream_choice(request, head, choice, usage if has_usage else None)
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _problem_in(body: Json) -> str | None:
    """Why OpenAI's API would refuse the request."""
    open_calls: set[str] = set()
    for message in body["messages"]:
        if message["role"] not in {"system", "user", "assistant", "tool"}:
            return f"unknown role {message['role']}"
        if message["role"] == "tool" and message.get("tool_call_id") not in open_calls:
            return f"no tool call has the id {message.get('tool_call_id')}"
        open_calls |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["content"] is None and not message.get("tool_calls"):
            return "a message has no content"
        parts = message["content"] if isinstance(message["content"], list) else []
        if unknown := [part["type"] for part in parts if part["type"] not in _PARTS]:
            return f"unknown part {unknown[0]}"
    return None


def _choice(body: Json, call_id: str) -> Json:
    question = _text(next(message for message in reversed(body["messages"]) if message["role"] == "user"))
    message: Json = {"role": "assistant", "content": None}
    if body.get("reasoning_effort"):
        message["reasoning_content"] = "The user asks something."
    if (tool := _called(body)) is not None:
        arguments = json.dumps(sample(tool.get("parameters") or {}, question), ensure_ascii=False)
        call = {"id": call_id, "type": "function", "function": {"name": tool["name"], "arguments": arguments}}
        return {"index": 0, "message": {**message, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    said, reason = _words(body, _content(body, question))
    choice: Json = {"index": 0, "message": {**message, "content": "".join(said)}, "finish_reason": reason}
    return {**choice, "logprobs": {"content": [_logprob(word) for word in said]}} if body.get("logprobs") else choice


def _called(body: Json) -> Json | None:
    """The tool that this request makes the model call."""
    tools = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        return next(tool for tool in tools if tool["name"] == choice["function"]["name"])
    return tools[0] if choice == "required" or body["messages"][-1]["role"] == "user" else None


def _content(body: Json, question: str) -> str:
    form = body.get("response_format") or {"type": "text"}
    if form["type"] == "text":
        return f"You said: {question}"
    schema = form.get("json_schema", {}).get("schema", {})
    if "properties" not in schema:
        keys = re.findall(r"'(\w+)'", question)
        return json.dumps(dict.fromkeys(keys, "cat"))
    return json.dumps(sample(schema, question), ensure_ascii=False)


def _words(body: Json, content: str) -> tuple[list[str], str]:
    """The words of the answer, and the reason why it ends."""
    for stop in body.get("stop") or ():
        content = content.partition(stop)[0]
    found = words(content)
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    return (found[:most], "length") if most and len(found) > most else (found, "stop")


def _text(message: Json) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", part["type"]) for part in content)


def _logprob(word: str) -> Json:
    return {"token": word, "logprob": -0.5, "bytes": list(word.encode()), "top_logprobs": []}


def _usage(body: Json, choice: Json) -> Json:
    prompt = sum(len(json.dumps(message).split()) for message in body["messages"])
    message = choice["message"]
    reasoning = len((message.get("reasoning_content") or "").split())
    completion = len(json.dumps(message).split()) + reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": prompt // 2, "cache_write_tokens": prompt // 4},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
