"""The route `/v1/chat/completions`."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from asyncinfer.aio.tasks import task_group
from asyncinfer.dialects.openai.chat_writer import ChatWriter
from asyncinfer.serve.api_errors import api_error
from asyncinfer.serve.chat_request import ChatRequest, read_chat_request
from asyncinfer.serve.endpoint import AnswerEndpoint, Exchange
from asyncinfer.serve.event_stream import EventStream
from asyncinfer.serve.model_names import ServedModel
from asyncinfer.types.answer import Completion, Usage


class ChatCompletions(AnswerEndpoint):
    """Answers chats, whole or as a stream."""

    route = "/v1/chat/completions"

    async def answer(self, exchange: Exchange, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""
        request = await read_chat_request(fields, self.backend.settings, self.backend.read_settings)
        model = self.backend.models.find(request.model)
        writer = ChatWriter(
            f"chatcmpl-{uuid4().hex}",
            int(time.time()),
            model.shown,
            logprobs=request.logprobs,
            include_usage=request.include_usage,
        )
        async with self.backend.admission.place(request.choices):
            if request.stream:
                await self._stream(exchange, request, model, writer)
            else:
                await self._whole(exchange, request, model, writer)

    async def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Send an error. In a stream that has begun, it is the last event."""
        if exchange.reply.status is None:
            await super().on_error(exchange, error)
        else:
            await exchange.reply.write(b"data: " + api_error(error).body() + b"\n\n", more=False)

    async def _whole(self, exchange: Exchange, request: ChatRequest, model: ServedModel, writer: ChatWriter) -> None:
        answers: dict[int, Completion] = {}

        async def answer(choice: int) -> None:
            settings = self.backend.settings_for(request.settings_of(choice), model)
            answers[choice] = await self.backend.answer(request.conversation, settings)

        if request.choices == 1:
            await answer(0)
        else:
            async with task_group() as tasks:
                for choice in range(request.choices):
                    tasks.start_soon(answer, choice)
        await exchange.reply.whole(200, writer.whole([answers[choice] for choice in range(request.choices)]))

    async def _stream(self, exchange: Exchange, request: ChatRequest, model: ServedModel, writer: ChatWriter) -> None:
        events = EventStream(exchange.reply)
        usages: dict[int, Usage | None] = {}

        async def answer(choice: int) -> None:
            usages[choice] = await self._stream_choice(exchange, request, model, writer, events, choice)

        if request.choices == 1:
            await answer(0)
        else:
            async with task_group() as tasks:
                for choice in range(request.choices):
                    tasks.start_soon(answer, choice)
        await events.end(writer.end(usages[choice] for choice in range(request.choices)))

    async def _stream_choice(
        self,
        exchange: Exchange,
        request: ChatRequest,
        model: ServedModel,
        writer: ChatWriter,
        events: EventStream,
        choice: int,
    ) -> Usage | None:
        """Send the events of one choice, and return its usage. Deltas that are ready together are sent together."""
        settings = self.backend.settings_for(request.settings_of(choice), model)
        usage, begin = None, writer.first(choice)
        async with self.backend.stream(request.conversation, settings) as stream:
            while deltas := await stream.read_ready():
                if begin:
                    self.backend.metrics.first_delta(self.route, time.monotonic() - exchange.began)
                await events.write(begin + b"".join([writer.delta(choice, delta) for delta in deltas]))
                usage, begin = deltas[-1].usage or usage, b""
        self.backend.metrics.used(usage)
        return usage
