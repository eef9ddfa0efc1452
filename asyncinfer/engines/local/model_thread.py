"""One thread that owns one model: rows go in from any event loop, answers come out in batches."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from traceback import extract_stack

from asyncinfer.aio import portal as sync
from asyncinfer.engines.local.delivery import Deliver, Submission
from asyncinfer.engines.local.model_worker import HOW_TO_GO_ON, Failure, Inbox, Worker, closed_error, dead
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.watchdog import Stall, Watchdog

log = logging.getLogger("asyncinfer")

# Seconds between two looks at the model's thread.
_LOOK = 1.0
# How many of the innermost functions say where it is stuck.
_PLACES = 5
_left_behind = dead(
    f"this process was forked from one that used the engine, and the model stayed there. {HOW_TO_GO_ON}"
)


class ModelThread:
    """A handle on the thread. Every method is quick and may be called from any thread.

    `load` runs in the thread and is let go of afterwards, so that it may refer to the engine
    without keeping it alive. A second thread watches the first: it tells of a step that does not end, and when that
    has taken too long fails all rows, and leaves the first to itself. The process waits for the second one only.
    """

    def __init__(self, load: Callable[[], Stepper], pulse: Watchdog | None = None, look: float = _LOOK) -> None:
        self._rows = itertools.count()
        # Re-entrant, because a garbage collection inside `stop` may finalize the engine, which stops.
        self._lock = threading.RLock()
        self._stopped = False
        self._process = os.getpid()
        self._inbox: Inbox = SimpleQueue()
        self._pulse = pulse or Watchdog()
        unregister = sync.at_program_end(self.stop)
        watch = partial(_watch, self._inbox, self._pulse, [load], look, unregister)
        self._watcher = threading.Thread(target=watch, name="asyncinfer-watch", daemon=False)
        try:
            self._watcher.start()
        except BaseException:
            unregister()
            raise

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a row; `deliver` is called on the running loop with what becomes of it."""
        if self._process != os.getpid():
            raise _left_behind()
        call = Submission(next(self._rows), request, asyncio.get_running_loop(), deliver)
        with self._lock:
            if self._stopped:
                raise closed_error()
            self._inbox.put(partial(Worker.take, call=call))
        return call.row

    def abort(self, row: int) -> None:
        """Drop `row`, whether it waits, is in work, or is finished."""
        self._inbox.put(partial(Worker.abort, row=row))

    def stop(self) -> None:
        """End the thread after the step it is in. Rows not finished by then get an EngineDeadError."""
        with self._lock:
            if not self._stopped:
                self._pulse.stop()
            self._stopped = True
            self._inbox.put(Worker.stop)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended, or is left to itself; whether that is so."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()


def _watch(
    inbox: Inbox, pulse: Watchdog, handoff: list[Callable[[], Stepper]], look: float, unregister: Callable[[], None]
) -> None:
    worker, ended = Worker(inbox, pulse), threading.Event()
    thread = threading.Thread(target=_work, args=(worker, handoff, ended), name="asyncinfer-model", daemon=True)
    try:
        try:
            thread.start()
        except RuntimeError as error:
            Worker(inbox, Watchdog()).take_over(worker, dead(f"the model gets no thread: {error}. {HOW_TO_GO_ON}"))
            return
        while not ended.wait(look):
            if (stuck := pulse.look()) is None:
                continue
            with suppress(Exception):  # A failing log handler must not stop the watchdog.
                _tell(stuck, thread)
            if stuck.given_up:
                Worker(inbox, Watchdog()).take_over(worker, _failure(stuck))
                return
        thread.join()
    finally:
        unregister()


def _work(worker: Worker, handoff: list[Callable[[], Stepper]], ended: threading.Event) -> None:
    try:
        worker.run(handoff)
    finally:
        ended.set()


def _tell(stuck: Stall, thread: threading.Thread) -> None:
    frame = sys._current_frames().get(thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
    places = (
        [f"{one.name} ({one.filename}:{one.lineno})" for one in extract_stack(frame, limit=_PLACES)] if frame else []
    )
    so_far = ", and the model is given up" if stuck.given_up else " so far"
    level = logging.ERROR if stuck.given_up else logging.WARNING
    log.log(level, "%s has taken %.0f s%s; it is in %s", stuck.work, stuck.seconds, so_far, " > ".join(places))


def _failure(stuck: Stall) -> Failure:
    if stuck.stopping:
        return closed_error
    return dead(f"the model is stuck: {stuck.work} has taken {stuck.seconds:.0f} s. {HOW_TO_GO_ON}")
