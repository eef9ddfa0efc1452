"""The replicas together with the settings in effect for one call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from asyncinfer.distributed.replica_set import ReplicaSet
from asyncinfer.distributed.rows import Call
from asyncinfer.run.bound_engine import BoundEngine, ObservedLimits
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta


class BoundReplicas(BoundEngine):
    """Sends each attempt to a replica, whose engine makes it.

    Args:
        supported: The generation parameters that the engine supports.
        dropped: The parameters that were set, but are not sent to the model.
    """

    def __init__(self, replicas: ReplicaSet, call: Call, supported: frozenset[str], dropped: frozenset[str]) -> None:
        self._replicas, self._call = replicas, call
        self.supported_parameters, self.dropped_parameters = supported, dropped
        self._at: dict[int, BoundReplicas] = {}

    def at(self, endpoint: int) -> BoundEngine:
        if endpoint == self._call.endpoint:
            return self
        if endpoint not in self._at:
            call = replace(self._call, endpoint=endpoint)
            self._at[endpoint] = BoundReplicas(
                self._replicas, call, self.supported_parameters or frozenset(), self.dropped_parameters
            )
        return self._at[endpoint]

    async def generate(self, conversation: Conversation) -> Completion:
        pool = await self._replicas.pool()
        answer = await pool.generate(self._call, conversation)
        if not answer.dropped <= self.dropped_parameters:
            self.dropped_parameters |= answer.dropped
        return answer.completion

    async def stream(self, conversation: Conversation) -> AsyncIterator[StreamDelta | ObservedLimits]:
        pool = await self._replicas.pool()
        async with aclosing(pool.stream(self._call, conversation)) as parts:
            async for part in parts:
                yield part

    def why_waiting(self) -> str | None:
        pool = self._replicas.opened_pool()
        return pool.why_waiting() if pool is not None else "the replicas are being started"
