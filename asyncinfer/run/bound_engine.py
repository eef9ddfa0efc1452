"""An engine together with the settings in effect for one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from asyncinfer.config import GenerationParams, ModelParams, RemoteParams
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.stream import StreamDelta


class CallSettings(NamedTuple):
    """The settings in effect for one call: the engine's own, and those that the call sets explicitly."""

    model: ModelParams
    generation: GenerationParams
    remote: RemoteParams


class ObservedLimits(NamedTuple):
    """The endpoint's rate limits, as the response to a streamed request shows them before the first delta."""

    limits: Mapping[str, LimitObservation]


class BoundEngine(ABC):
    """Answers conversations with the settings of one call. Permits, pace and retries are its caller's task.

    Attributes:
        supported_parameters: The generation parameters that the API of this call supports; None if all calls of the
            engine support the same.
        dropped_parameters: The parameters that were set, but are not sent to this model. An answer may add to them.
        guides_with_tools: With guided decoding and tools, an answer is either guided or calls tools.
    """

    supported_parameters: frozenset[str] | None = None
    dropped_parameters: frozenset[str] = frozenset()
    guides_with_tools: bool = False

    def at(self, endpoint: int) -> BoundEngine:
        """The engine that sends to the endpoint with this number. An engine with one endpoint returns itself."""
        return self

    @abstractmethod
    async def generate(self, conversation: Conversation) -> Completion:
        """Answer one conversation with one attempt.

        The completion, or the error, also holds the rate limits that the response shows.

        Raises:
            RequestError: This conversation was not answered.
            EngineDeadError: No conversation can be answered any more.
        """

    def as_sent(self, conversation: Conversation) -> Conversation | None:
        """The conversation as requests with the settings of this call contain it; None if its request needs others.

        For executors that make requests themselves. By default, unchanged.
        """
        return conversation

    def release_idle(self) -> None:
        """Close connections that no request uses, because file descriptors are scarce."""
        return

    def why_waiting(self) -> str | None:
        """Why it answers nothing at present, such as that it starts; None if it works. By default, None."""
        return None

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        """Answer one conversation in parts. The last delta has a finish reason.

        By default, the whole answer is the only part. Raises as `generate` does.
        """
        completion = await self.generate(conversation)
        if completion.limits:
            yield ObservedLimits(completion.limits)
        for delta in completion.as_stream():
            yield delta
