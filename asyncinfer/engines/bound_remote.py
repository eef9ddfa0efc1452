"""A remote engine with the settings of one call: encode, authorise, send, decode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from asyncinfer.control.limit_headers import limits_in
from asyncinfer.dialects.packaging import read_answer, usage_in
from asyncinfer.dialects.reported_cost import cost_in_headers
from asyncinfer.engines.redaction import error_without_secrets, response_without_secrets
from asyncinfer.engines.refusal import refusal, with_start_hint
from asyncinfer.engines.request_plan import RequestPlan
from asyncinfer.engines.stream_reader import read_deltas
from asyncinfer.errors import RequestError
from asyncinfer.run.bound_engine import BoundEngine, ObservedLimits
from asyncinfer.transport.base import Transport
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpResponse, is_success
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage


class BoundRemoteEngine(BoundEngine):
    """A remote engine with the settings of one call.

    Args:
        fallen_back: The URLs and models whose server does not support the preferred dialect. All calls share this set.
    """

    def __init__(self, transport: Transport, fallen_back: set[tuple[str, str]], plan: RequestPlan) -> None:
        self._transport, self._fallen_back, self._preferred = transport, fallen_back, plan
        self.supported_parameters, self.guides_with_tools = plan.dialect.supported, plan.dialect.guides_with_tools
        self.dropped_parameters = self._plan().encode.dropped

    async def generate(self, conversation: Conversation) -> Completion:
        plan = self._plan()
        try:
            request = await plan.request(conversation)
            response = await self._transport.send(request)
            if response.is_success or not self._falls_back(plan, response):
                return _decoded(plan, response, request.url)
        except RequestError as error:
            raise error_without_secrets(plan.secrets(), with_start_hint(error, plan.start_hint)) from None
        return await self.generate(conversation)

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        plan = self._plan()
        try:
            request = await plan.request(conversation, stream=True)
            async with self._transport.stream(request) as streamed:
                if limits := limits_in(streamed.headers):
                    yield ObservedLimits(limits)
                if is_success(streamed.status):
                    async for delta in read_deltas(streamed, plan.dialect):
                        yield delta
                    return
                response = await streamed.response()
            if not self._falls_back(plan, response):
                raise _refused(plan, response, request.url)
        except RequestError as error:
            raise error_without_secrets(plan.secrets(), with_start_hint(error, plan.start_hint)) from None
        async for part in self.stream(conversation):
            yield part

    def release_idle(self) -> None:
        self._transport.release_idle()

    def _plan(self) -> RequestPlan:
        """Return the plan for this server: the fallback, if it does not support the preferred dialect."""
        plan = self._preferred
        return plan.fallback if plan.fallback is not None and plan.target in self._fallen_back else plan

    def _falls_back(self, plan: RequestPlan, response: HttpResponse) -> bool:
        """Whether this response shows that the server does not support the dialect. Remembers it for later calls."""
        fallback = plan.dialect.fallback
        if fallback is None or not fallback.is_needed(response):
            return False
        self._fallen_back.add(plan.target)
        self.dropped_parameters = self._plan().encode.dropped
        return True


def _refused(plan: RequestPlan, response: HttpResponse, url: str) -> RequestError:
    """Return the error for a response that is not a success. `url`: that of the request."""
    error = refusal(response_without_secrets(response, plan.secrets()), url, plan.likely_url)
    error.usage = usage_in(plan.dialect, response.body)
    return error


def _decoded(plan: RequestPlan, response: HttpResponse, url: str) -> Completion:
    """Return the completion in a response. The rate limits are attached to it, or to the error.

    Args:
        url: The URL of the request.
    """
    limits = limits_in(response.headers)
    try:
        if not response.is_success:
            raise _refused(plan, response, url)
        completion = read_answer(plan.dialect, response)
    except RequestError as error:
        error.limits = limits
        error.usage = _with_cost(error.usage, response)
        raise
    completion.limits, completion.first_byte = limits, response.first_byte
    completion.usage = _with_cost(completion.usage, response)
    return completion


def _with_cost(usage: Usage | None, response: HttpResponse) -> Usage | None:
    """Return the usage with the cost that the headers of the response report, if the response itself has none."""
    if usage is None or usage.cost is not None or (cost := cost_in_headers(response.headers)) is None:
        return usage
    return replace(usage, cost=cost)
