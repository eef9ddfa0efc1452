"""A remote engine with several endpoints, with the settings of one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from asyncinfer.engines.bound_remote import BoundRemoteEngine
from asyncinfer.errors import EngineConfigError, ErrorScope, RequestError
from asyncinfer.run.bound_engine import BoundEngine, ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta


class BoundEndpoints(BoundEngine):
    """One bound engine for each endpoint. `at` returns the one of the endpoint that a permit is for.

    Args:
        endpoints: In the order of their numbers.
    """

    def __init__(self, endpoints: Sequence[BoundEngine]) -> None:
        self._endpoints = endpoints
        self.guides_with_tools = all(engine.guides_with_tools for engine in endpoints)
        self.dropped_parameters = frozenset[str]().union(*(engine.dropped_parameters for engine in endpoints))

    def at(self, endpoint: int) -> BoundEngine:
        return self._endpoints[endpoint]

    async def generate(self, conversation: Conversation) -> Completion:
        return await self.at(0).generate(conversation)

    def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        return self.at(0).stream(conversation)

    def release_idle(self) -> None:
        for engine in self._endpoints:
            engine.release_idle()


class BoundEndpoint(BoundRemoteEngine):
    """One of several endpoints. If it has no usable credentials, only this endpoint cannot answer."""

    async def generate(self, conversation: Conversation) -> Completion:
        try:
            return await super().generate(conversation)
        except EngineConfigError as error:
            failure = _without_credentials(error)
        raise failure

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        try:
            async for part in super().stream(conversation):
                yield part
            return
        except EngineConfigError as error:
            failure = _without_credentials(error)
        raise failure


def _without_credentials(error: EngineConfigError) -> RequestError:
    return RequestError(str(error), error_type=error.error_type, scope=ErrorScope.ACCOUNT)
