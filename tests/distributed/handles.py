"""Replicas in this process, which die when a test says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio

from asyncinfer import CallSettings, Conversation, GenerationParams, ModelParams, RemoteParams
from asyncinfer.aio.clock import Clock
from asyncinfer.distributed.client import ClientLimits
from asyncinfer.distributed.handle import ReplicaGone, ReplicaLost
from asyncinfer.distributed.pool import ReplicaPool
from asyncinfer.distributed.replica import Replica
from asyncinfer.distributed.rows import Call
from asyncinfer.distributed.wire import Opened
from asyncinfer.engines.base import BaseInferenceEngine

T = TypeVar("T")

SETTINGS = CallSettings(ModelParams(model_name="fake"), GenerationParams(), RemoteParams())


@dataclass
class FixedRecipe:
    """Builds always the same engine, or raises."""

    engine: BaseInferenceEngine | Exception

    def build(self) -> BaseInferenceEngine:
        if isinstance(self.engine, Exception):
            raise self.engine
        return self.engine


class LocalHandle:
    """The handle of a replica on this event loop.

    Args:
        is_built: The engine exists from the start. Otherwise a thread builds it, and a virtual clock cannot wait for that.

    Attributes:
        deaths: How often it was killed.
        is_frozen: It responds to no call, until it is killed.
        is_always_frozen: It responds to no call, also after it was killed.
        has_room: A machine runs it.
    """

    def __init__(
        self, engine: BaseInferenceEngine | Exception, name: str = "replica", *, is_built: bool = False
    ) -> None:
        self.name, self._recipe, self._is_built = name, FixedRecipe(engine), is_built
        self._replica = self._new_replica()
        self._died = anyio.Event()
        self.deaths = 0
        self.is_gone = self.is_frozen = False
        self.is_always_frozen = False
        self.has_room = True

    def die(self) -> None:
        """Fail all calls that are in progress, and go on with an empty replica."""
        self.deaths += 1
        self._died.set()
        self._died, self._replica = anyio.Event(), self._new_replica()
        self.is_frozen = False

    def _new_replica(self) -> Replica:
        replica = Replica()
        if self._is_built:
            replica._engine = self._recipe.build()
        return replica

    async def ping(self) -> str:
        if not self.has_room:
            await anyio.sleep_forever()
        return await self._call(self._replica.ping)

    async def has_started(self) -> bool:
        return self.has_room

    async def open(self, client: str) -> Opened:
        return await self._call(partial(self._replica.open, client, self._recipe))

    async def submit(self, token: str, rows: bytes, calls: Mapping[int, CallSettings], aborted: Sequence[int]) -> None:
        await self._call(partial(self._replica.submit, token, rows, calls, aborted))

    async def collect(self, token: str, patience: float) -> bytes | None:
        return await self._call(partial(self._replica.collect, token, patience))

    def end(self, token: str) -> None:
        return

    def kill(self, *, restart: bool) -> None:
        self.is_gone |= not restart
        self.die()

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        results: list[T] = []
        died = self._died

        async def run() -> None:
            if self.is_frozen or self.is_always_frozen:
                await anyio.sleep_forever()
            results.append(await work())
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await died.wait()
            tasks.cancel_scope.cancel()
        if results and not died.is_set():
            return results[0]
        raise ReplicaGone("killed for good") if self.is_gone else ReplicaLost("killed")


def pool_of(
    *handles: LocalHandle,
    room: int = 4,
    heartbeat: float = 60.0,
    start: float = 300.0,
    restarts: int = 3,
    clock: Clock | None = None,
) -> ReplicaPool:
    return ReplicaPool(handles, room=room, limits=ClientLimits(heartbeat, start, restarts), clock=clock)


async def ask(pool: ReplicaPool, conversation: Conversation, call: Call | None = None) -> str:
    """The answer of the pool, as a text."""
    answer = await pool.generate(call or Call(0, SETTINGS), conversation)
    return str(answer.completion.message.content)
