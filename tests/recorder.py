"""A local server that records requests, and returns the configured answers.

async with Recorder() as api:
    api.answers({"choices": [...]})
    ... ask api.url, by any client ...
    assert api.sent[0].body == {...}
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

CHAT = "/v1/chat/completions"
SUCCESS: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
MESSAGES = "/v1/messages"
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
CONVERSED: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    "metrics": {"latencyMs": 1},
}
# What each API answers with until it is told otherwise, by its path.
SUCCESSES: dict[str, dict[str, Any]] = {CHAT: SUCCESS, MESSAGES: MESSAGE, "/v1/model/m/converse": CONVERSED}


class Sent(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    query: str = ""
    target: str = ""  # the path as it was written
    raw: bytes = b""


class Recorder:
    """Answers every request alike: with the `SUCCESSES` of its path, until it is told otherwise."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = _success

    @property
    def url(self) -> str:
        return str(self._server.make_url("/v1"))

    def answers(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """From now on, answer with this JSON."""

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        self._answer = answer

    def answers_in_turn(self, *bodies: Any) -> None:
        """From now on, answer with each of these in turn."""
        left = iter(bodies)

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.json_response(next(left))

        self._answer = answer

    def answers_by_query(self, body: Callable[[str], Any]) -> None:
        """From now on, answer with what this makes of the query in the URL."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(body(request.query_string))

        self._answer = answer

    def answers_by_body(self, answer_to: Callable[[Any], tuple[Any, int]]) -> None:
        """From now on, answer with the JSON and the status that this makes of the body of a request."""

        async def answer(request: web.Request) -> web.StreamResponse:
            body, status = answer_to(await request.json())
            return web.json_response(body, status=status)

        self._answer = answer

    def streams(self, *parts: bytes, breaks: bool = False, media_type: str = "text/event-stream") -> None:
        """From now on, answer with an event stream; one that `breaks` is cut off before its end."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": media_type})
            await response.prepare(request)
            for part in parts:
                await response.write(part)
            if breaks:
                assert request.transport is not None
                request.transport.close()
            return response

        self._answer = answer

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app)
        await self._server.start_server(access_log=None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        target = request.raw_path
        sent = Sent(request.method, request.path, dict(request.headers), body, request.query_string, target, raw)
        self.sent.append(sent)
        return await self._answer(request)


async def _success(request: web.Request) -> web.StreamResponse:
    return web.json_response(SUCCESSES.get(request.path, SUCCESS))
