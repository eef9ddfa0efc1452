"""What the model's thread does: obey, step, tell, until stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from asyncinfer.aio import gc_tuning as collector
from asyncinfer.engines.local.delivery import ResultDelivery, Submission
from asyncinfer.engines.local.helper_thread import Helper
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import RowEvent, Stepper
from asyncinfer.engines.local.structured.constraint import Constraint
from asyncinfer.engines.local.structured.structure import is_structured
from asyncinfer.engines.local.watchdog import LOADING, Watchdog
from asyncinfer.errors import (
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    RequestError,
    error_repr,
)
from asyncinfer.types.results import Completion, StreamDelta

log = logging.getLogger("asyncinfer")

Failure = Callable[[], EngineDeadError]
Command = Callable[["Worker"], None]
Inbox = SimpleQueue[Command]


class Worker:
    """Obeys what comes through the inbox. Without a model, it answers every row with why there is none."""

    def __init__(self, inbox: Inbox, pulse: Watchdog) -> None:
        self._inbox = inbox
        self._pulse = pulse
        self._waiting: dict[int, Submission] = {}
        self._running: dict[int, Submission] = {}
        # Rows that the helper thread prepares or checks.
        self._with_helper: dict[int, Submission] = {}
        self._helper = Helper()
        self._outbox = ResultDelivery()
        self._stopped = False
        self._failure: Failure | None = None
        self._stepper: Stepper | None = None

    def run(self, handoff: list[Callable[[], Stepper]]) -> None:
        """Work until stopped, with the model that the function in `handoff` loads, which is taken out. What is done
        after it was given up is thrown away, and the model too.
        """
        self._pulse.begin(LOADING)
        self._load(handoff)
        if self._pulse.end():
            self._serve()
        else:
            self._free()

    def take_over(self, stuck: Worker, failure: Failure) -> None:
        """Serve in place of a worker that will not come back, until stopped. Its rows fail; what it had to tell of
        others is told. It may come back at any moment, and so is only read, the rows first: one may then be told of
        twice, but none is missed.
        """
        self._waiting = {call.row: call for call in stuck._calls()}
        self._outbox = stuck._outbox.copy()
        self._stopped = stuck._stopped
        self._fail(failure)
        self._flush()
        self._serve()

    # Commands

    def take(self, call: Submission) -> None:
        if self._failure is not None:
            self._outbox.add(call, self._failure())
        elif self._stepper is not None and is_structured(call.request.generation):
            self._prepare(call, self._stepper)
        else:
            self._waiting[call.row] = call

    def prepared(self, row: int, outcome: Request | RequestError) -> None:
        """The helper thread has prepared a row."""
        if (call := self._with_helper.pop(row, None)) is None:
            return
        if isinstance(outcome, RequestError):
            self._outbox.add(call, outcome)
        else:
            self._waiting[row] = replace(call, request=outcome)

    def checked(self, row: int, outcome: Completion | RequestError) -> None:
        """The helper thread has checked the answer of a row."""
        if (call := self._with_helper.pop(row, None)) is not None:
            self._outbox.add(call, outcome)

    def abort(self, row: int) -> None:
        self._waiting.pop(row, None)
        self._with_helper.pop(row, None)
        if self._running.pop(row, None) is not None and self._stepper is not None:
            self._stepper.abort(row)

    def stop(self) -> None:
        self._stopped = True

    # The loop

    def _serve(self) -> None:
        while not self._stopped:
            command = self._rest()
            self._pulse.begin("one step of the model")
            self._work(command)
            if not self._pulse.end():
                self._hand_back()
                return
            self._flush()
        self._pulse.begin("freeing the model")
        self._fail(closed_error)
        self._pulse.end()
        self._flush()

    def _rest(self) -> Command | None:
        """Wait for a command when there is nothing else to do."""
        return self._inbox.get() if not self._waiting and not self._busy() else None

    def _busy(self) -> bool:
        try:
            return self._stepper is not None and self._stepper.busy
        except BaseException as error:
            self._die(error)
            return False

    def _work(self, command: Command | None) -> None:
        try:
            if command is not None:
                command(self)
            while not self._inbox.empty():
                self._inbox.get()(self)
            self._advance()
        except BaseException as error:  # A panic of Rust and a SystemExit are no Exception; the rows wait all the same.
            self._die(error)

    def _hand_back(self) -> None:
        """Leave what came after this worker was given up to the one that serves in its place."""
        self._flush()
        for call in self._calls():
            self._inbox.put(partial(Worker.take, call=call))
        if self._stopped:
            self._inbox.put(Worker.stop)
        self._free()

    def _calls(self) -> list[Submission]:
        """The rows that are not finished."""
        return [*self._running.values(), *self._with_helper.values(), *self._waiting.values()]

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

    def _emit(self, row: int, event: RowEvent) -> None:
        call = self._running.get(row)
        if call is None:
            return
        if not isinstance(event, StreamDelta):
            del self._running[row]
        elif not call.request.stream:
            return
        constraint = call.request.constraint
        if isinstance(event, Completion) and constraint is not None and constraint.is_checked:
            self._check(call, constraint, event)
        else:
            self._outbox.add(call, event)

    # With the helper

    def _prepare(self, call: Submission, stepper: Stepper) -> None:
        self._with_helper[call.row] = call
        self._helper.submit(
            partial(stepper.prepare, call.request),
            lambda outcome: self._inbox.put(partial(Worker.prepared, row=call.row, outcome=outcome)),
        )

    def _check(self, call: Submission, constraint: Constraint, completion: Completion) -> None:
        self._with_helper[call.row] = call
        self._helper.submit(
            lambda: constraint.check(call.request.generation, completion) or completion,
            lambda outcome: self._inbox.put(partial(Worker.checked, row=call.row, outcome=outcome)),
        )

    def _flush(self) -> None:
        for call in self._outbox.send():
            self._inbox.put(partial(Worker.abort, row=call.row))

    # Coming and going

    def _load(self, handoff: list[Callable[[], Stepper]]) -> None:
        try:
            with collector.loading():
                self._stepper = handoff.pop()()
        except ConfigError as error:
            message = str(error)
            self._failure = lambda: EngineConfigError(message, error_type=InferenceErrorType.CONFIG)
        except BaseException as error:
            log.exception("the model could not be loaded")
            self._failure = dead(f"the model could not be loaded: {error_repr(error)}. Close the engine and try again")

    def _die(self, error: BaseException) -> None:
        log.error("the model failed", exc_info=error)
        self._fail(dead(f"the model failed: {error_repr(error)}. {HOW_TO_GO_ON}"))

    def _fail(self, failure: Failure) -> None:
        """Give up the model and every row; later rows get the same answer."""
        self._failure = failure
        for call in self._calls():
            self._outbox.add(call, failure())
        self._running.clear()
        self._with_helper.clear()
        self._waiting.clear()
        self._free()

    def _free(self) -> None:
        stepper, self._stepper = self._stepper, None
        self._helper.close()  # Before the stepper, whose vocabulary it may be using.
        if stepper is not None:
            with suppress(BaseException):
                stepper.close()


HOW_TO_GO_ON = "Close the engine, or make a new one, and run again to go on"


def closed_error() -> EngineDeadError:
    return EngineDeadError(
        "the engine was closed before this row was finished", error_type=InferenceErrorType.CANCELLED
    )


def dead(message: str) -> Failure:
    """Makes a new exception for each row: a shared one would collect every row's traceback."""
    return lambda: EngineDeadError(message, error_type=InferenceErrorType.ENGINE_FAILURE)
