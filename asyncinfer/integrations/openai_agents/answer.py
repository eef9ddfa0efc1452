"""Turns the answer of an engine into the output items and the events of the Agents SDK.

The SDK's own converter and stream handler for chat completions do this, from objects of the openai package.
Source: `agents.models.openai_chatcompletions` of openai-agents 0.24 and openai 3.57, November 2026.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from agents import ModelSettings, Usage
from agents.exceptions import ModelBehaviorError
from agents.items import TResponseOutputItem
from agents.models.chatcmpl_converter import Converter
from agents.models.fake_id import FAKE_RESPONSES_ID
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessage
from openai.types.responses import Response
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from asyncinfer.dialects.openai.chat_writer import delta_fields, finish_reason, message_fields, usage_fields
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason, finish_reason_of
from asyncinfer.types.stream import StreamDelta

_FILTERED = "The content filter of the provider withheld the answer."


def output_items(answered: Conversation, model: str) -> list[TResponseOutputItem]:
    """Return the output items of an answer.

    Raises:
        ModelBehaviorError: The answer ended at the limit of tokens before its first visible token.
    """
    fields, reason = message_fields(answered.messages[-1]), finish_reason_of(answered)
    if not fields["content"] and not fields.get("tool_calls"):
        if reason is FinishReason.LENGTH:
            raise ModelBehaviorError("The answer reached the limit of tokens before its first visible token.")
        if reason is FinishReason.CONTENT_FILTER:
            fields["refusal"] = _FILTERED
    message = ChatCompletionMessage.model_validate(fields)
    provider_data = {"model": model, "response_id": answered.metadata.get("response_id")}
    return Converter.message_to_output_items(message, provider_data=provider_data)


def usage_of(counts: Mapping[str, int] | None) -> Usage:
    """Return the usage of one request, from the counts in the metadata of an answer."""
    if counts is None:
        return Usage(requests=1)
    written, cached = counts.get("cache_creation_tokens", 0), counts.get("cached_tokens", 0)
    return Usage(
        requests=1,
        input_tokens=counts.get("prompt_tokens", 0),
        output_tokens=counts.get("completion_tokens", 0),
        total_tokens=counts.get("total_tokens", 0),
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=written),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=counts.get("reasoning_tokens", 0)),
    )


def empty_response(model: str, settings: ModelSettings) -> Response:
    """Return the response that the events of a stream fill."""
    return Response(
        id=FAKE_RESPONSES_ID,
        created_at=time.time(),
        model=model,
        object="response",
        output=[],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=bool(settings.parallel_tool_calls),
        temperature=settings.temperature,
        top_p=settings.top_p,
        reasoning=settings.reasoning,
    )


async def chunks(deltas: AsyncIterator[StreamDelta], model: str) -> AsyncIterator[ChatCompletionChunk]:
    """Yield the deltas of an engine as chunks of OpenAI's format."""
    head = {"id": FAKE_RESPONSES_ID, "created": int(time.time()), "model": model, "object": "chat.completion.chunk"}
    async for delta in deltas:
        fields = {"role": "assistant", **delta_fields(delta)}
        choice = {"index": 0, "delta": fields, "finish_reason": finish_reason(delta.finish_reason)}
        usage = usage_fields([delta.usage])
        yield ChatCompletionChunk.model_validate({**head, "choices": [choice], "usage": usage})
