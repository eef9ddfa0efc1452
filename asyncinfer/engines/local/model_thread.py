"""The thread that owns a model. Any event loop may submit rows to it and gets their results in batches."""

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

from asyncinfer.aio import portal
from asyncinfer.engines.local.delivery import Deliver, Submission
from asyncinfer.engines.local.model_loop import (
    RECOVERY_HINT,
    CommandQueue,
    MakeError,
    ModelLoop,
    closed_error,
    engine_failure,
)
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import Stepper
from asyncinfer.engines.local.watchdog import Stall, Watchdog

log = logging.getLogger("asyncinfer")

# Seconds between two checks of the model's thread.
_CHECK_INTERVAL = 1.0
# How many of the innermost stack frames a report of a stall shows.
_FRAMES = 5
_forked_error = engine_failure(
    f"this process was forked from one that used the engine, and the model stayed there. {RECOVERY_HINT}"
)


class ModelThread:
    """A handle on the thread. Every method is quick and may be called from any thread.

    `load` runs in the thread and is released afterwards, so it may refer to the engine without keeping it alive.

    A second thread watches the first. It logs steps that take long. If a step takes too long, it fails all rows and
    abandons the stuck thread. The process waits at exit only for the second thread.
    """

    def __init__(
        self, load: Callable[[], Stepper], watchdog: Watchdog | None = None, check_interval: float = _CHECK_INTERVAL
    ) -> None:
        self._rows = itertools.count()
        # Re-entrant: a garbage collection inside `stop` may finalize the engine, which calls `stop`.
        self._lock = threading.RLock()
        self._stopped = False
        self._process = os.getpid()
        self._commands: CommandQueue = SimpleQueue()
        self._watchdog = watchdog or Watchdog()
        unregister = portal.at_program_end(self.stop)
        supervise = partial(_supervise, self._commands, self._watchdog, [load], check_interval, unregister)
        self._supervisor = threading.Thread(target=supervise, name="asyncinfer-watch", daemon=False)
        try:
            self._supervisor.start()
        except BaseException:
            unregister()
            raise

    def submit(self, request: Request, deliver: Deliver) -> int:
        """Queue a row and return its number. `deliver` is called on the running event loop with each of its events."""
        if self._process != os.getpid():
            raise _forked_error()
        submission = Submission(next(self._rows), request, asyncio.get_running_loop(), deliver)
        with self._lock:
            if self._stopped:
                raise closed_error()
            self._commands.put(partial(ModelLoop.accept, submission=submission))
        return submission.row

    def abort(self, row: int) -> None:
        """Drop `row`, whether it waits, is in progress, or is finished."""
        self._commands.put(partial(ModelLoop.abort, row=row))

    def stop(self) -> None:
        """End the thread after its current step. Rows that are not finished then fail with an EngineDeadError."""
        with self._lock:
            if not self._stopped:
                self._watchdog.stop()
            self._stopped = True
            self._commands.put(ModelLoop.stop)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended or is abandoned. Returns False after `timeout` seconds."""
        self._supervisor.join(timeout)
        return not self._supervisor.is_alive()


def _supervise(
    commands: CommandQueue,
    watchdog: Watchdog,
    load: list[Callable[[], Stepper]],
    check_interval: float,
    unregister: Callable[[], None],
) -> None:
    """Start the model's thread and watch it. If it is stuck, replace its loop by one that fails every row."""
    model_loop, ended = ModelLoop(commands, watchdog), threading.Event()
    thread = threading.Thread(target=_run_loop, args=(model_loop, load, ended), name="asyncinfer-model", daemon=True)
    try:
        try:
            thread.start()
        except RuntimeError as error:
            failure = engine_failure(f"the thread of the model cannot start: {error}. {RECOVERY_HINT}")
            ModelLoop(commands, Watchdog()).take_over(model_loop, failure)
            return
        while not ended.wait(check_interval):
            if (stall := watchdog.check()) is None:
                continue
            with suppress(Exception):  # A failing log handler must not stop the watchdog.
                _report(stall, thread)
            if stall.abandoned:
                ModelLoop(commands, Watchdog()).take_over(model_loop, _error_for(stall))
                return
        thread.join()
    finally:
        unregister()


def _run_loop(model_loop: ModelLoop, load: list[Callable[[], Stepper]], ended: threading.Event) -> None:
    try:
        model_loop.run(load)
    finally:
        ended.set()


def _report(stall: Stall, thread: threading.Thread) -> None:
    """Log the stall, with the innermost functions that the thread is in."""
    frame = sys._current_frames().get(thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
    frames = [f"{f.name} ({f.filename}:{f.lineno})" for f in extract_stack(frame, limit=_FRAMES)] if frame else []
    consequence = ", and the model is abandoned" if stall.abandoned else " so far"
    level = logging.ERROR if stall.abandoned else logging.WARNING
    log.log(level, "%s has taken %.0f s%s; it is in %s", stall.work, stall.seconds, consequence, " > ".join(frames))


def _error_for(stall: Stall) -> MakeError:
    if stall.stopping:
        return closed_error
    return engine_failure(f"the model is stuck: {stall.work} has taken {stall.seconds:.0f} s. {RECOVERY_HINT}")
