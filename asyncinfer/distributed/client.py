"""The exchange of one event loop with one replica."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar
from uuid import uuid4

import anyio

from asyncinfer.aio.clock import Clock, wait_until
from asyncinfer.aio.tasks import task_group
from asyncinfer.distributed.handle import NoRoom, ReplicaGone, ReplicaHandle, ReplicaLost
from asyncinfer.distributed.rows import Call, PendingRow
from asyncinfer.distributed.session import MOST_CALLS
from asyncinfer.distributed.wire import Answer, Opened, RowEvent, StreamEnd, decode_events, encode_rows, is_last
from asyncinfer.errors import (
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    error_name_and_text,
    invalid_request,
)
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.types.stream import StreamDelta

log = logging.getLogger("asyncinfer")

T = TypeVar("T")

# A replica answers within this part of the heartbeat timeout, even if there is no result.
_BEATS_PER_TIMEOUT = 4
# Waits while a replica is being restarted: the first and the longest (seconds).
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class ClientLimits(NamedTuple):
    """How long a client waits for its replica, and how often the replica may die.

    Args:
        heartbeat_timeout: Seconds without a sign of life after which the replica is killed and restarted.
        start_timeout: Seconds for building the engine; at least `heartbeat_timeout` is given.
        max_restarts: How often in succession the replica may die without an answer.
    """

    heartbeat_timeout: float
    start_timeout: float
    max_restarts: int


class ClientOwner(Protocol):
    """What a client reports to."""

    @property
    def is_busy(self) -> bool:
        """Whether any row needs an answer."""
        ...

    def ready(self, client: ReplicaClient) -> None:
        """The replica accepts rows."""
        ...

    def lost(self, client: ReplicaClient, rows: Sequence[PendingRow], cause: str) -> None:
        """The replica died. `rows` need another one."""
        ...

    def gone(self, client: ReplicaClient, cause: str) -> None:
        """The replica does not come back."""
        ...

    def unusable(self, error: EngineConfigError) -> None:
        """No replica can run."""
        ...

    def finished(self, client: ReplicaClient) -> None:
        """Rows of the replica have ended, so that it has room."""
        ...


class ReplicaClient:
    """Sends rows to one replica and delivers what happens to them. Its task runs only while there is something to do.

    Attributes:
        rows: The rows that the replica works on, by their number.
    """

    def __init__(self, handle: ReplicaHandle, owner: ClientOwner, limits: ClientLimits, clock: Clock) -> None:
        self._handle, self._owner, self._limits, self._clock = handle, owner, limits, clock
        self._id = uuid4().hex
        self._task: asyncio.Task[None] | None = None
        self._token: str | None = None
        self._place = ""
        self._known: set[int] = set()
        self._unsent: dict[int, PendingRow] = {}
        self._aborted: list[int] = []
        self._has_unsent = anyio.Event()
        self._deaths = 0
        self._is_gone = False
        self.rows: dict[int, PendingRow] = {}

    @property
    def has_suspect(self) -> bool:
        """Whether one of its rows may be the reason why replicas die."""
        return any(row.is_suspect for row in self.rows.values())

    def start(self) -> None:
        """Begin to work, unless it works already or is gone."""
        if self._task is None and not self._is_gone:
            self._task = asyncio.create_task(self._serve())

    def add(self, row: PendingRow) -> None:
        """Send a row."""
        self.rows[row.number] = self._unsent[row.number] = row
        self._has_unsent.set()
        self.start()

    def abort(self, number: int) -> None:
        """Cancel a row."""
        del self.rows[number]
        if self._unsent.pop(number, None) is None:
            self._aborted.append(number)
            self._has_unsent.set()

    async def close(self) -> None:
        """Stop working. Rows that are left have no further event."""
        self._is_gone = True
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _serve(self) -> None:
        try:
            while self._has_work():
                try:
                    if await self._connect():
                        await self._exchange()
                except NoRoom as error:
                    self._refuse(str(error))
                except ReplicaGone as gone:
                    self._lose(str(gone), is_gone=True)
                except ReplicaLost as lost:
                    self._lose(str(lost), is_gone=self._deaths >= self._limits.max_restarts)
        finally:
            self._task = None
            if self.rows and self._token is not None:  # The event loop ends.
                self._handle.end(self._token)

    def _has_work(self) -> bool:
        if self._is_gone:
            return False
        return bool(self.rows or self._aborted) or (self._token is None and self._owner.is_busy)

    # The connection

    async def _connect(self) -> bool:
        """Wait until the replica runs, and begin a session. Returns whether there is one."""
        if self._token is not None:
            return True
        self._place = await self._wait_until_it_runs()
        opened = await self._opened()
        if opened.problem is not None:
            self._refuse(f"{self._handle.name} on {self._place} cannot build the engine: {opened.problem}")
            return False
        self._token = opened.token
        self._known.clear()
        self._owner.ready(self)
        return True

    async def _wait_until_it_runs(self) -> str:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._pinged()
            except ReplicaGone:
                raise
            except ReplicaLost as lost:
                log.debug("%s is not running: %s", self._handle.name, lost)
            await wait_until(anyio.Event(), self._clock, self._clock.now() + pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _pinged(self) -> str:
        """Wait until the replica runs, and return the name of its machine.

        Raises:
            ReplicaLost: It died, or it started and gave no sign of life, and was killed.
        """
        async with task_group() as tasks:
            tasks.start_soon(self._kill_if_it_hangs)
            place = await self._handle.ping()
            tasks.cancel_scope.cancel()
        return place

    async def _kill_if_it_hangs(self) -> None:
        """Kill the replica once it has run for a whole heartbeat timeout. It may wait for room on a machine longer."""
        timeout, had_started, has_started = self._limits.heartbeat_timeout, False, False
        while not (had_started and has_started):
            await wait_until(anyio.Event(), self._clock, self._clock.now() + timeout)
            had_started, has_started = has_started, await self._handle.has_started()
        self._handle.kill(restart=True)
        self._deaths += 1
        cause = f"it started, gave no sign of life for {timeout:g} s, and was killed"
        log.warning("%s was lost: %s", self._handle.name, cause)
        raise (ReplicaGone if self._deaths > self._limits.max_restarts else ReplicaLost)(cause)

    async def _opened(self) -> Opened:
        """Begin a session. A replica that does not build its engine in time is killed.

        Raises:
            ReplicaLost: It died, or was killed.
        """
        timeout = max(self._limits.start_timeout, self._limits.heartbeat_timeout)
        try:
            return await self._within(timeout, self._handle.open(self._id))
        except TimeoutError:
            self._handle.kill(restart=True)
            cause = f"it did not build its engine in {timeout:g} s (distributed.start_timeout), and was killed"
            raise ReplicaLost(cause) from None

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`.

        Raises:
            TimeoutError: There is none after this time. `work` is cancelled.
        """
        with anyio.CancelScope() as scope:
            call_off = self._clock.call_later(seconds, scope.cancel)
            try:
                return await work
            finally:
                call_off()
        raise TimeoutError

    def _refuse(self, why: str) -> None:
        """Stop for good: with these settings, no replica can run."""
        self._is_gone = True
        self._owner.unusable(EngineConfigError(why, error_type=InferenceErrorType.CONFIG))

    def _lose(self, cause: str, *, is_gone: bool) -> None:
        """Give the rows back. Their answers, if there are any, do not arrive any more."""
        rows = list(self.rows.values())
        self.rows.clear()
        self._unsent.clear()
        self._aborted.clear()
        self._token = None
        self._deaths += 1
        where = f"{self._handle.name} on {self._place}" if self._place else self._handle.name
        end = "it is not restarted" if is_gone else "Ray restarts it"
        left = f" Its {len(rows)} rows go to other replicas." if rows else ""
        log.warning("%s was lost, and %s.%s The reason: %s", where, end, left, cause)
        if is_gone:
            self._is_gone = True
            self._handle.kill(restart=False)
        self._owner.lost(self, rows, cause)
        if is_gone:
            self._owner.gone(self, f"{where}: {cause}")

    # Rows and results

    async def _exchange(self) -> None:
        """Send rows and collect results until nothing is in progress."""
        token = self._token
        assert token is not None
        async with task_group() as tasks:
            tasks.start_soon(self._send, token)
            while self.rows or self._aborted:
                self._deliver(await self._collect(token))
            tasks.cancel_scope.cancel()

    async def _send(self, token: str) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent = anyio.Event()
            rows, aborted = list(self._unsent.values()), self._aborted
            self._unsent, self._aborted = {}, []
            await self._handle.submit(token, self._encoded(rows), self._unknown([row.call for row in rows]), aborted)

    def _encoded(self, rows: Sequence[PendingRow]) -> bytes:
        """The rows as they are sent. One that cannot be sent fails."""
        try:
            return encode_rows([row.request() for row in rows])
        except Exception:  # `__reduce__` of any class may raise anything.
            return encode_rows([row.request() for row in rows if self._can_be_sent(row)])

    def _can_be_sent(self, row: PendingRow) -> bool:
        try:
            encode_rows([row.request()])
        except Exception as error:
            del self.rows[row.number]
            why = f"the row cannot be sent to another process: {error_name_and_text(error)}"
            row.deliver(invalid_request(why))
            return False
        return True

    def _unknown(self, calls: Sequence[Call]) -> dict[int, CallSettings]:
        """The settings that the session does not know. It forgets all others if there are too many; see `Session`."""
        settings = {call.number: call.settings for call in calls}
        new = settings.keys() - self._known
        if len(self._known) + len(new) > MOST_CALLS:
            self._known.clear()
            new = settings.keys()
        self._known |= new
        return {number: settings[number] for number in new}

    async def _collect(self, token: str) -> Sequence[tuple[int, RowEvent]]:
        timeout = self._limits.heartbeat_timeout
        try:
            data = await self._within(timeout, self._handle.collect(token, timeout / _BEATS_PER_TIMEOUT))
        except TimeoutError:
            self._handle.kill(restart=True)
            raise ReplicaLost(f"it gave no sign of life for {timeout:g} s, and was killed") from None
        if data is None:
            raise ReplicaLost("it was restarted")
        return self._decoded(data)

    def _decoded(self, data: bytes) -> Sequence[tuple[int, RowEvent]]:
        """The events, or ReplicaLost if they cannot be unpickled. Then no one knows which rows they belong to."""
        try:
            return decode_events(data)
        except Exception as error:  # `__reduce__` of any class may raise anything.
            raise ReplicaLost(f"its results cannot be read: {error_name_and_text(error)}") from None

    def _deliver(self, events: Sequence[tuple[int, RowEvent]]) -> None:
        died: EngineDeadError | None = None
        for number, event in events:
            row = self.rows.get(number)
            if row is None:
                continue  # It was aborted.
            if _can_be_restarted(event):
                died = event
                continue
            if is_last(event):
                del self.rows[number]
            if isinstance(event, Answer | StreamEnd):
                self._deaths = 0
            row.has_begun |= isinstance(event, StreamDelta)
            row.deliver(event)
        self._owner.finished(self)
        if died is not None:
            self._handle.kill(restart=True)
            raise ReplicaLost(f"its engine stopped: {died}")


def _can_be_restarted(event: RowEvent) -> TypeGuard[EngineDeadError]:
    """Whether the engine of the replica is dead, and a new one may work."""
    return isinstance(event, EngineDeadError) and not isinstance(event, EngineConfigError) and event.is_retryable
