"""The route `/v1/responses`. Nothing is stored: each request has its whole input."""

from __future__ import annotations

import time
from typing import Any

from asyncinfer.dialects.openai.responses.output_writer import new_id
from asyncinfer.dialects.openai.responses.response_writer import ResponseWriter
from asyncinfer.serve.api_errors import ApiError, api_error
from asyncinfer.serve.endpoint import AnswerEndpoint, Exchange
from asyncinfer.serve.event_stream import EventStream
from asyncinfer.serve.request_settings import RequestSettings
from asyncinfer.serve.responses_request import ResponsesRequest, read_responses_request


class Responses(AnswerEndpoint):
    """Answers requests to the Responses API, whole or as a stream."""

    route = "/v1/responses"

    async def answer(self, exchange: Exchange, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""
        request = await read_responses_request(fields, self.backend.settings, self.backend.read_settings)
        model = self.backend.models.find(request.model)
        settings = self.backend.settings_for(request.settings, model)
        writer = ResponseWriter(new_id("resp"), int(time.time()), model.shown, request.echoed)
        async with self.backend.admission.place():
            if request.stream:
                await self._stream(exchange, request, settings, writer)
            else:
                answer = await self.backend.answer(request.conversation, settings)
                await exchange.reply.whole(200, writer.whole(answer))

    async def _stream(
        self, exchange: Exchange, request: ResponsesRequest, settings: RequestSettings, writer: ResponseWriter
    ) -> None:
        """Send the events. An error after the first one is the last event."""
        events = EventStream(exchange.reply)
        try:
            await self._send_deltas(exchange, request, settings, writer, events)
        except Exception as error:
            if exchange.reply.status is None:
                raise
            self.log(error)
            shown = api_error(error)
            await events.end(writer.failed(_code(shown), shown.message))

    async def _send_deltas(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        settings: RequestSettings,
        writer: ResponseWriter,
        events: EventStream,
    ) -> None:
        usage, begin = None, b""
        async with self.backend.stream(request.conversation, settings) as stream:
            while deltas := await stream.read_ready():
                if exchange.reply.status is None:
                    self.backend.metrics.first_delta(self.route, time.monotonic() - exchange.began)
                    begin = writer.begin()
                await events.write(begin + b"".join([writer.delta(delta) for delta in deltas]))
                usage, begin = deltas[-1].usage or usage, b""
        self.backend.metrics.used(usage)
        await events.end(writer.end())


def _code(error: ApiError) -> str:
    return "rate_limit_exceeded" if error.status == 429 else "server_error"
