"""The route `/v1/chat/completions`.

Source of the error event in a stream: `Stream.__stream__` of openai-python 3.57, which reads the field `error`,
November 2026.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from asyncinfer.aio.tasks import task_group
from asyncinfer.dialects.openai.chat_writer import ChatWriter
from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.backend import OpenBackend
from asyncinfer.serve.chat_request import ChatRequest, read_chat_request
from asyncinfer.serve.delta_stream import DeltaStream
from asyncinfer.serve.endpoint import AnswerEndpoint, Exchange
from asyncinfer.types.answer import Completion
from asyncinfer.types.usage import Usage

T = TypeVar("T")


class ChatCompletionsEndpoint(AnswerEndpoint):
    """Answers chats, whole or as a stream."""

    metric_route = "/v1/chat/completions"

    async def answer(self, exchange: Exchange, backend: OpenBackend, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""
        request = await read_chat_request(fields, backend.settings, backend.read_settings)
        model = backend.models.find(request.model)
        request = request._replace(settings=request.settings._replace(model=model.requested))
        writer = ChatWriter(
            f"chatcmpl-{uuid4().hex}",
            int(time.time()),
            model.response_name,
            logprobs=request.logprobs,
            include_usage=request.include_usage,
        )
        async with backend.admission.acquire(request.choices):
            if request.stream:
                await self._stream(exchange, backend, request, writer)
            else:
                await _send_whole(exchange, backend, request, writer)

    async def _stream(self, exchange: Exchange, backend: OpenBackend, request: ChatRequest, writer: ChatWriter) -> None:
        exchange.error_events = _error_event
        stream = DeltaStream(exchange, backend, request.conversation, self.metric_route)

        async def send(choice: int) -> Usage | None:
            settings, write = request.settings_of(choice), partial(writer.delta, choice)
            return await stream.send(settings, writer.first(choice), write)

        await stream.end(writer.end(await _for_each_choice(request.choices, send)))


async def _send_whole(exchange: Exchange, backend: OpenBackend, request: ChatRequest, writer: ChatWriter) -> None:
    async def answer(choice: int) -> Completion:
        return await backend.answer(request.conversation, request.settings_of(choice))

    await exchange.reply.send_all(200, writer.whole(await _for_each_choice(request.choices, answer)))


async def _for_each_choice(count: int, make: Callable[[int], Awaitable[T]]) -> list[T]:
    """Return what `make` returns for each choice. All choices are made at once."""
    if count == 1:
        return [await make(0)]
    results: dict[int, T] = {}

    async def run(choice: int) -> None:
        results[choice] = await make(choice)

    async with task_group() as tasks:
        for choice in range(count):
            tasks.start_soon(run, choice)
    return [results[choice] for choice in range(count)]


def _error_event(error: ApiError) -> bytes:
    return b"data: " + error.body() + b"\n\n"
