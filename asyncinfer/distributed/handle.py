"""What a client needs to reach a replica in another process, and the errors of doing so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from asyncinfer.distributed.wire import Opened
from asyncinfer.run.bound_engine import CallSettings


class ReplicaLost(Exception):
    """The replica died, or cannot be reached. What it worked on is lost. It may come back."""


class ReplicaGone(ReplicaLost):
    """The replica died, and is not restarted."""


class NoRoom(Exception):
    """No machine is large enough for a replica. The message is for the user."""


class ReplicaHandle(Protocol):
    """Calls the methods of a `Replica` in another process.

    Raises:
        ReplicaLost: From each of the async methods.
    """

    name: str

    async def ping(self) -> str:
        """Wait until the replica runs, and return the name of its machine.

        Raises:
            NoRoom: No machine can run it.
        """
        ...

    async def has_started(self) -> bool:
        """Whether the process of the replica runs. False also if that is not known.

        A replica that waits for room on a machine has not started.
        """
        ...

    async def open(self, client: str) -> Opened: ...

    async def submit(
        self, token: str, rows: bytes, calls: Mapping[int, CallSettings], aborted: Sequence[int]
    ) -> None: ...

    async def collect(self, token: str, patience: float) -> bytes | None: ...

    def end(self, token: str) -> None:
        """End a session, without waiting for it."""
        ...

    def kill(self, *, restart: bool) -> None:
        """Kill the process of the replica."""
        ...
