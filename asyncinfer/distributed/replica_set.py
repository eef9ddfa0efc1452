"""The replicas of one engine, for all its event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from asyncinfer.aio.clock import Clock
from asyncinfer.aio.event_loop import running_loop
from asyncinfer.aio.limiters import MODELS
from asyncinfer.config import DistributedParams
from asyncinfer.distributed.client import ClientLimits
from asyncinfer.distributed.handle import ReplicaHandle
from asyncinfer.distributed.pool import ReplicaPool


class Replicas(Protocol):
    """The processes of the replicas. All methods block."""

    def open(self) -> Sequence[ReplicaHandle]:
        """Start the processes, without waiting until they run.

        Raises:
            ConfigError: They cannot be started.
        """
        ...

    def close(self) -> None:
        """End the processes."""
        ...


class ReplicaSet:
    """Opens the replicas at the first use, and has a pool for each event loop. Safe to use from several threads.

    Args:
        make: Makes what starts the processes.
        room: The most rows of one replica at the same time.
    """

    def __init__(self, make: Callable[[], Replicas], params: DistributedParams, room: int, clock: Clock) -> None:
        self._make, self._room, self._clock = make, room, clock
        self._limits = ClientLimits(params.heartbeat_timeout, params.start_timeout, params.max_restarts)
        self._lock = threading.Lock()
        self._replicas: Replicas | None = None
        self._handles: Sequence[ReplicaHandle] = ()
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, ReplicaPool] = WeakKeyDictionary()

    async def pool(self) -> ReplicaPool:
        """The pool of this event loop.

        Raises:
            ConfigError: The replicas cannot be started.
        """
        loop = running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            handles = await MODELS.run(self._open)
            pool = self._pools.get(loop)
        else:
            return pool
        if pool is None:
            pool = ReplicaPool(handles, room=self._room, limits=self._limits, clock=self._clock)
            self._pools[loop] = pool
        return pool

    def opened_pool(self) -> ReplicaPool | None:
        """The pool of this event loop, if there is one."""
        return self._pools.get(running_loop())

    async def aclose(self) -> None:
        """End the replicas. They start again at the next use."""
        pool = self._pools.pop(running_loop(), None)
        if pool is not None:
            await pool.close()
        self._pools.clear()
        await MODELS.run(self._close)

    def _open(self) -> Sequence[ReplicaHandle]:
        with self._lock:
            if self._replicas is None:
                replicas = self._make()
                self._handles = replicas.open()
                self._replicas = replicas
            return self._handles

    def _close(self) -> None:
        with self._lock:
            replicas, self._replicas, self._handles = self._replicas, None, ()
            if replicas is not None:
                replicas.close()
