"""What runs in the process of a replica."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping, Sequence
from uuid import uuid4

from asyncinfer.aio.limiters import MODELS
from asyncinfer.distributed.session import Recipe, ReplicaEngine, Session
from asyncinfer.distributed.wire import Opened, decode_rows, encode_events
from asyncinfer.errors import ConfigError, error_name_and_text
from asyncinfer.run.bound_engine import CallSettings


class Replica:
    """Holds one engine, and answers the rows of its clients: the event loops of the program that created it.

    All methods run on one event loop. A restarted replica has no engine and no sessions.
    """

    def __init__(self) -> None:
        self._engine: ReplicaEngine | None = None
        self._building = asyncio.Lock()
        self._sessions: dict[str, Session] = {}
        self._tokens: dict[str, str] = {}

    async def ping(self) -> str:
        """Return the name of the machine."""
        return platform.node()

    async def open(self, client: str, recipe: Recipe) -> Opened:
        """Build the engine if there is none, and begin a session. An older session of the client ends."""
        async with self._building:
            try:
                if self._engine is None:
                    self._engine = await MODELS.run(recipe.build)
            except ConfigError as error:
                return Opened("", str(error))
            except Exception as error:  # The code of an engine may raise anything.
                return Opened("", error_name_and_text(error))
        await self.end(self._tokens.get(client, ""))
        token = self._tokens[client] = uuid4().hex
        self._sessions[token] = Session(self._engine)
        return Opened(token)

    async def submit(self, token: str, rows: bytes, calls: Mapping[int, CallSettings], aborted: Sequence[int]) -> None:
        """Start to answer rows, and cancel others. Does nothing if the session is unknown, as `collect` reports."""
        session = self._sessions.get(token)
        if session is not None:
            session.submit(decode_rows(rows), calls)
            session.abort(aborted)

    async def collect(self, token: str, patience: float) -> bytes | None:
        """Return the next events of the session, after at most `patience` seconds. None if the session is unknown."""
        session = self._sessions.get(token)
        return encode_events(await session.collect(patience)) if session is not None else None

    async def end(self, token: str) -> None:
        """End a session, and cancel its rows."""
        session = self._sessions.pop(token, None)
        if session is not None:
            await session.close()

    async def close(self) -> None:
        """End all sessions, and close the engine."""
        for token in list(self._sessions):
            await self.end(token)
        if self._engine is not None:
            await self._engine.aclose()
