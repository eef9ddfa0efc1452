"""The rows of one event loop, and the replicas that answer them."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from asyncinfer.aio.clock import Clock, MonotonicClock
from asyncinfer.distributed.client import ClientLimits, ReplicaClient
from asyncinfer.distributed.handle import ReplicaHandle
from asyncinfer.distributed.routing import Routing, prefix_of
from asyncinfer.distributed.rows import MOST_DEATHS, Call, PendingRow
from asyncinfer.distributed.wire import Answer, RowEvent, is_last
from asyncinfer.errors import EngineConfigError, EngineDeadError, ErrorScope, InferenceErrorType, RequestError
from asyncinfer.run.bound_engine import ObservedLimits
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.stream import StreamDelta


class ReplicaPool:
    """Gives each row to a replica that has room. A row whose replica dies goes to another one.

    Args:
        room: The most rows of one replica at the same time.
    """

    def __init__(
        self,
        handles: Sequence[ReplicaHandle],
        *,
        room: int,
        limits: ClientLimits,
        clock: Clock | None = None,
    ) -> None:
        self._routing = Routing[ReplicaClient](room)
        self._numbers = itertools.count()
        self._rows: dict[int, ReplicaClient | None] = {}
        self._waiting: deque[PendingRow] = deque()
        # Rows that may be the reason why replicas die. Each replica gets one of them at a time.
        self._suspects: deque[PendingRow] = deque()
        self._dead: EngineDeadError | None = None
        clock = clock or MonotonicClock()
        self._clients = [ReplicaClient(handle, self, limits, clock) for handle in handles]
        self._starting = set(self._clients)

    async def generate(self, call: Call, conversation: Conversation) -> Answer:
        """Let a replica make one attempt at a conversation, and return the answer.

        Raises:
            Exception: What the engine of the replica raised.
            EngineDeadError: No replica is left, or none can build the engine.
        """
        result: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def deliver(event: RowEvent) -> None:
            if result.done():
                return
            if isinstance(event, Answer):
                result.set_result(event)
            elif isinstance(event, Exception):
                result.set_exception(event)

        number = self._submit(call, conversation, deliver, is_stream=False)
        try:
            return await result
        finally:
            self._abort(number)

    async def stream(self, call: Call, conversation: Conversation) -> AsyncGenerator[StreamDelta | ObservedLimits]:
        """Let a replica make one attempt at a conversation, and yield the parts. Raises as `generate` does."""
        events: asyncio.Queue[RowEvent] = asyncio.Queue()
        number = self._submit(call, conversation, events.put_nowait, is_stream=True)
        try:
            while not is_last(event := await events.get()):
                assert isinstance(event, StreamDelta | ObservedLimits)
                yield event
            if isinstance(event, Exception):
                raise event
        finally:
            self._abort(number)

    def why_waiting(self) -> str | None:
        """Why no row is answered; None if a replica works."""
        if len(self._routing) or self._dead is not None:
            return None
        return f"no replica is ready; starting: {len(self._starting)}"

    async def close(self) -> None:
        """Stop the exchange with the replicas. Rows that are left fail."""
        self._die(
            EngineDeadError("the engine was closed while it was in use", error_type=InferenceErrorType.ENGINE_FAILURE)
        )
        for client in self._clients:
            await client.close()

    # Rows

    def _submit(
        self, call: Call, conversation: Conversation, deliver: Callable[[RowEvent], None], *, is_stream: bool
    ) -> int:
        if self._dead is not None:
            raise self._dead
        number = next(self._numbers)
        prefix = prefix_of(conversation) if len(self._clients) > 1 else 0
        self._rows[number] = None
        self._waiting.append(PendingRow(number, call, conversation, is_stream, prefix, deliver))
        for client in self._starting:
            client.start()
        self._dispatch()
        return number

    def _abort(self, number: int) -> None:
        """Forget a row, and cancel it if it is in progress."""
        client = self._rows.pop(number, None)
        if client is not None and number in client.rows:
            client.abort(number)
            self.finished(client)

    def _dispatch(self) -> None:
        while self._suspects and (client := self._for_suspect()) is not None:
            self._give(self._suspects.popleft(), client)
        while self._waiting and (client := self._routing.choose(self._waiting[0].prefix)) is not None:
            self._give(self._waiting.popleft(), client)

    def _for_suspect(self) -> ReplicaClient | None:
        return self._routing.choose_outside([client for client in self._clients if client.has_suspect])

    def _give(self, row: PendingRow, client: ReplicaClient) -> None:
        if row.number not in self._rows:
            return  # It was aborted while it waited.
        self._rows[row.number] = client
        client.add(row)
        self._routing.change(client, len(client.rows))

    def _give_back(self, row: PendingRow, cause: str) -> None:
        row.deaths += 1
        if row.number not in self._rows:
            return
        self._rows[row.number] = None
        if self._dead is not None:
            row.deliver(self._dead)
        elif row.has_begun:
            row.deliver(
                RequestError(
                    f"the replica died while it streamed the answer: {cause}",
                    error_type=InferenceErrorType.CONNECTION,
                    is_retryable=True,
                )
            )
        elif row.deaths >= MOST_DEATHS:
            row.deliver(
                RequestError(
                    f"{MOST_DEATHS} replicas died while they worked on this row. The last one: {cause}",
                    error_type=InferenceErrorType.ENGINE_FAILURE,
                    scope=ErrorScope.ROW,
                )
            )
        elif row.is_suspect:
            self._suspects.append(row)
        else:
            self._waiting.appendleft(row)

    # What the clients report

    @property
    def is_busy(self) -> bool:
        return bool(self._rows) and self._dead is None

    def ready(self, client: ReplicaClient) -> None:
        self._starting.discard(client)
        self._routing.add(client)
        self._dispatch()

    def lost(self, client: ReplicaClient, rows: Sequence[PendingRow], cause: str) -> None:
        self._routing.remove(client)
        self._starting.add(client)
        for row in reversed(rows):
            self._give_back(row, cause)
        self._dispatch()

    def gone(self, client: ReplicaClient, cause: str) -> None:
        self._starting.discard(client)
        if not self._starting and not len(self._routing):
            why = (
                f"no replica is left: all {len(self._clients)} died too often (distributed.max_restarts). The last "
                f"one, {cause.rstrip('.')}. The logs of Ray on the machine of the replica, by default in "
                "/tmp/ray/session_latest/logs, may say more"
            )
            self._die(EngineDeadError(why, error_type=InferenceErrorType.ENGINE_FAILURE))

    def unusable(self, error: EngineConfigError) -> None:
        self._die(error)

    def finished(self, client: ReplicaClient) -> None:
        self._routing.change(client, len(client.rows))
        self._dispatch()

    def _die(self, error: EngineDeadError) -> None:
        """Fail all rows, also those that come later."""
        if self._dead is not None:
            return
        self._dead = error
        waiting = [*self._waiting, *self._suspects, *(row for client in self._clients for row in client.rows.values())]
        self._waiting.clear()
        self._suspects.clear()
        for row in waiting:
            row.deliver(error)
