"""One thread that owns one model: rows go in from any event loop, answers come out in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from asyncinfer import sync
from asyncinfer.errors import ConfigError, EngineConfigError, EngineDeadError, RequestError
from asyncinfer.run.request import Request
from asyncinfer.types.results import Completion, InferenceErrorType, StreamDelta

log = logging.getLogger("asyncinfer")

Event = StreamDelta | Completion | RequestError
Emit = Callable[[int, Event], None]
News = Event | EngineDeadError
Deliver = Callable[[News], None]


class Stepper(Protocol):
    """A model that answers up to `slots` rows at once. All its methods run in the model's thread.

    An exception other than `RequestError` means that it can go on with no row.
    """

    @property
    def slots(self) -> int: ...

    @property
    def busy(self) -> bool:
        """Whether a row is in work."""
        ...

    def add(self, row: int, request: Request) -> None:
        """Take `row` into work. A RequestError fails this row alone."""
        ...

    def step(self, emit: Emit) -> None:
        """Go on by a token or a batch. Each row is ended by emitting its Completion or RequestError;
        deltas before that are needed only where `request.stream`.
        """
        ...

    def abort(self, row: int) -> None:
        """Drop `row`; nothing is emitted for it any more."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A row and whom to tell: `deliver` is called on `loop`."""

    row: int
    request: Request
    loop: asyncio.AbstractEventLoop
    deliver: Deliver


class ModelThread:
    """A handle on the thread. Every method is quick and may be called from any thread.

    `load` runs in the thread and is let go of afterwards, so that it may refer to the engine
    without keeping it alive.
    """

    def __init__(self, load: Callable[[], Stepper]) -> None:
        self._rows = itertools.count()
        # Re-entrant, because a garbage collection inside `stop` may finalize the engine, which stops.
        self._lock = threading.RLock()
        self._stopped = False
        self._inbox: SimpleQueue[Callable[[_Worker], None]] = SimpleQueue()
        unregister = sync.at_main_exit(self.stop)
        self._thread = threading.Thread(target=_main, args=(self._inbox, [load], unregister), name="asyncinfer-model")
        self._thread.start()

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a row; `deliver` is called on the running loop with what becomes of it."""
        call = Call(next(self._rows), request, asyncio.get_running_loop(), deliver)
        with self._lock:
            if self._stopped:
                raise closed_error()
            self._inbox.put(partial(_Worker.take, call=call))
        return call.row

    def abort(self, row: int) -> None:
        """Drop `row`, whether it waits, is in work, or is finished."""
        self._inbox.put(partial(_Worker.abort, row=row))

    def stop(self) -> None:
        """End the thread after the step it is in. Rows not finished by then get an EngineDeadError."""
        with self._lock:
            self._stopped = True
            self._inbox.put(_Worker.stop)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread to end; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


def closed_error() -> EngineDeadError:
    return EngineDeadError(
        "the engine was closed before this row was finished", error_type=InferenceErrorType.CANCELLED
    )


def _main(
    inbox: SimpleQueue[Callable[[_Worker], None]],
    handoff: list[Callable[[], Stepper]],
    unregister: Callable[[], None],
) -> None:
    try:
        _Worker(inbox, handoff).run()
    finally:
        unregister()


class _Worker:
    """What the thread does: obey, step, tell, until stopped."""

    def __init__(self, inbox: SimpleQueue[Callable[[_Worker], None]], handoff: list[Callable[[], Stepper]]) -> None:
        self._inbox = inbox
        self._waiting: dict[int, Call] = {}
        self._running: dict[int, Call] = {}
        self._outbox: dict[asyncio.AbstractEventLoop, list[tuple[Call, News]]] = {}
        self._stopped = False
        self._failure: Callable[[], EngineDeadError] | None = None
        self._stepper = self._load(handoff)

    def run(self) -> None:
        while not self._stopped:
            try:
                self._obey()
                self._advance()
            except Exception as error:
                self._die(error)
            self._flush()
        self._fail(closed_error)
        self._flush()

    # Commands

    def take(self, call: Call) -> None:
        if self._failure is None:
            self._waiting[call.row] = call
        else:
            self._tell(call, self._failure())

    def abort(self, row: int) -> None:
        self._waiting.pop(row, None)
        if self._running.pop(row, None) is not None and self._stepper is not None:
            self._stepper.abort(row)

    def stop(self) -> None:
        self._stopped = True

    # The loop

    def _obey(self) -> None:
        """Carry out the commands that came in; wait for one when there is nothing else to do."""
        if not self._waiting and (self._stepper is None or not self._stepper.busy):
            self._inbox.get()(self)
        while not self._inbox.empty():
            self._inbox.get()(self)

    def _advance(self) -> None:
        if self._stepper is None or self._stopped:
            return
        self._admit(self._stepper)
        if self._stepper.busy:
            self._stepper.step(self._emit)

    def _admit(self, stepper: Stepper) -> None:
        while self._waiting and len(self._running) < stepper.slots:
            row = next(iter(self._waiting))
            call = self._running[row] = self._waiting.pop(row)
            try:
                stepper.add(row, call.request)
            except RequestError as error:
                self._emit(row, error)

    def _emit(self, row: int, event: Event) -> None:
        call = self._running.get(row)
        if call is None:
            return
        if not isinstance(event, StreamDelta):
            del self._running[row]
        elif not call.request.stream:
            return
        self._tell(call, event)

    def _tell(self, call: Call, news: News) -> None:
        self._outbox.setdefault(call.loop, []).append((call, news))

    def _flush(self) -> None:
        """Tell each waiting loop all its news with one wake-up."""
        while self._outbox:
            loop, news = self._outbox.popitem()
            try:
                loop.call_soon_threadsafe(_deliver, news)
            except RuntimeError:  # The loop is closed: nobody waits there any more.
                for call, _ in news:
                    self._inbox.put(partial(_Worker.abort, row=call.row))

    # Coming and going

    def _load(self, handoff: list[Callable[[], Stepper]]) -> Stepper | None:
        try:
            return handoff.pop()()
        except ConfigError as error:
            message = str(error)
            self._failure = lambda: EngineConfigError(message, error_type=InferenceErrorType.CONFIG)
        except Exception as error:
            log.exception("the model could not be loaded")
            self._failure = _dead(f"the model could not be loaded: {error!r}. Close the engine and try again")
        return None

    def _die(self, error: Exception) -> None:
        log.error("the model failed", exc_info=error)
        self._fail(_dead(f"the model failed: {error!r}. Close the engine, or make a new one, and run again to go on"))

    def _fail(self, failure: Callable[[], EngineDeadError]) -> None:
        """Give up the model and every row; later rows get the same answer."""
        self._failure = failure
        for call in (*self._running.values(), *self._waiting.values()):
            self._tell(call, failure())
        self._running.clear()
        self._waiting.clear()
        stepper, self._stepper = self._stepper, None
        if stepper is not None:
            with suppress(Exception):
                stepper.close()


def _dead(message: str) -> Callable[[], EngineDeadError]:
    """Makes a new exception for each row: a shared one would collect every row's traceback."""
    return lambda: EngineDeadError(message, error_type=InferenceErrorType.ENGINE_FAILURE)


def _deliver(news: list[tuple[Call, News]]) -> None:
    for call, event in news:
        call.deliver(event)
