"""A streamed answer of an engine, as the stream of a model.

Source: `pydantic_ai.models.StreamedResponse` of pydantic-ai 2.68, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic_ai.messages import ModelResponseStreamEvent
from pydantic_ai.models import StreamedResponse

from asyncinfer.aio.background_iterator import BackgroundIterator
from asyncinfer.integrations.pydantic_ai.errors import mapped_errors
from asyncinfer.integrations.pydantic_ai.response import (
    call_details,
    finish_reason_to_agent,
    provider_details,
    request_usage,
)
from asyncinfer.integrations.pydantic_ai.thinking import passthrough_details
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.stream import StreamDelta

_TEXT, _THINKING = "text", "thinking"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class AsyncInferStreamedResponse(StreamedResponse):
    """Turns the deltas of an engine into the events of pydantic-ai.

    Args:
        first: The first delta, which has been read.
        deltas: All further deltas.
        name: The name of the model, until the answer names its model.
        system: The name of the provider.
        thinking_tags: The tags around thoughts that a model writes into its text.
        ignores_leading_space: Leave out white space before the first text.
    """

    first: StreamDelta
    deltas: BackgroundIterator[StreamDelta]
    name: str
    system: str
    thinking_tags: tuple[str, str]
    ignores_leading_space: bool
    _timestamp: datetime = field(default_factory=_now, init=False)
    _usage_received: bool | None = field(default=False, init=False)
    _indices: dict[str, int] = field(default_factory=dict[str, int], init=False)

    @property
    def model_name(self) -> str:
        return self.name

    @property
    def provider_name(self) -> str:
        return self.system

    @property
    def provider_url(self) -> None:
        return None

    @property
    def timestamp(self) -> datetime:
        return self._timestamp

    async def close_stream(self) -> None:
        """Cancel the request, and wait until it has ended."""
        await self.deltas.aclose()

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        for event in self._events(self.first):
            yield event
        with mapped_errors(self.name, in_stream=True):
            async for delta in self.deltas:
                for event in self._events(delta):
                    yield event

    def _events(self, delta: StreamDelta) -> Iterator[ModelResponseStreamEvent]:
        parts = self._parts_manager
        if delta.reasoning_content:
            yield from parts.handle_thinking_delta(
                vendor_part_id=_THINKING, content=delta.reasoning_content, provider_name=self.system
            )
        if delta.content:
            yield from parts.handle_text_delta(
                vendor_part_id=_TEXT,
                content=delta.content,
                thinking_tags=self.thinking_tags,
                ignore_leading_whitespace=self.ignores_leading_space,
            )
        for piece in delta.tool_call_deltas:
            if piece.id:
                self._indices[piece.id] = piece.index
            yield from parts.handle_tool_call_delta_events(
                vendor_part_id=piece.index,
                tool_name=piece.name or None,
                args=piece.arguments or None,
                tool_call_id=piece.id or None,
            )
        if delta.finish_reason is not None:
            yield from self._end(delta, delta.finish_reason)

    def _end(self, last: StreamDelta, reason: FinishReason) -> Iterator[ModelResponseStreamEvent]:
        """Read the fields that only the last delta has: passthrough data, usage, and metadata."""
        parts = self._parts_manager
        if (details := passthrough_details(last.extra)) is not None:
            yield from parts.handle_thinking_delta(
                vendor_part_id=_THINKING, content="", provider_name=self.system, provider_details=details
            )
        for call_id, details in (found for call in last.tool_calls for found in call_details(call)):
            yield from parts.handle_tool_call_delta_events(
                vendor_part_id=self._indices.get(call_id, call_id),
                provider_name=self.system,
                provider_details=details,
            )
        if last.usage is not None:
            self._add_usage(request_usage(last.usage.to_dict()), reported=True)
        metadata = last.metadata or {}
        self.name = metadata.get("response_model") or self.name
        self.provider_response_id = metadata.get("response_id")
        self.finish_reason = finish_reason_to_agent(reason)
        self.provider_details = provider_details(metadata, reason)
