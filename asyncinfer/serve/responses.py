"""The route `/v1/responses`. Nothing is stored: each request has its whole input."""

from __future__ import annotations

import time
from typing import Any

from asyncinfer.dialects.openai.responses.output_writer import new_id
from asyncinfer.dialects.openai.responses.response_writer import ResponseWriter
from asyncinfer.serve.api_errors import ApiError
from asyncinfer.serve.backend import OpenBackend
from asyncinfer.serve.delta_stream import DeltaStream
from asyncinfer.serve.endpoint import AnswerEndpoint, Exchange
from asyncinfer.serve.responses_request import ResponsesRequest, read_responses_request


class ResponsesEndpoint(AnswerEndpoint):
    """Answers requests to the Responses API, whole or as a stream."""

    metric_route = "/v1/responses"

    async def answer(self, exchange: Exchange, backend: OpenBackend, fields: dict[str, Any]) -> None:
        """Answer the request with these fields."""
        request = await read_responses_request(fields, backend.settings, backend.read_settings)
        model = backend.models.find(request.model)
        request = request._replace(settings=request.settings._replace(model=model.requested))
        writer = ResponseWriter(new_id("resp"), int(time.time()), model.response_name, request.echoed)
        async with backend.admission.acquire():
            if request.stream:
                await self._stream(exchange, backend, request, writer)
            else:
                answer = await backend.answer(request.conversation, request.settings)
                await exchange.reply.send_all(200, writer.whole(answer))

    async def _stream(
        self, exchange: Exchange, backend: OpenBackend, request: ResponsesRequest, writer: ResponseWriter
    ) -> None:
        def failed(error: ApiError) -> bytes:
            return writer.failed(_code_of(error), error.message)

        exchange.error_events = failed
        stream = DeltaStream(exchange, backend, request.conversation, self.metric_route)
        await stream.send(request.settings, writer.begin(), writer.delta)
        await stream.end(writer.end())


def _code_of(error: ApiError) -> str:
    """Return the code of a failed response. Source: `ResponseError` of openai-python 3.57, November 2026."""
    return "rate_limit_exceeded" if error.status == 429 else "server_error"
