"""The loop of a model's thread: run commands, compute a step, send the results, until stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from asyncinfer.aio import gc_tuning
from asyncinfer.engines.local.delivery import ResultDelivery, Submission
from asyncinfer.engines.local.helper_thread import HelperThread
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
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta

log = logging.getLogger("asyncinfer")

MakeError = Callable[[], EngineDeadError]
Command = Callable[["ModelLoop"], None]
CommandQueue = SimpleQueue[Command]


class ModelLoop:
    """Runs the commands from its queue. Without a model, every row fails with the reason why there is no model."""

    def __init__(self, commands: CommandQueue, watchdog: Watchdog) -> None:
        self._commands = commands
        self._watchdog = watchdog
        self._waiting: dict[int, Submission] = {}
        self._running: dict[int, Submission] = {}
        # Rows that the helper thread prepares or checks.
        self._in_helper: dict[int, Submission] = {}
        self._helper = HelperThread()
        self._delivery = ResultDelivery()
        self._stopped = False
        self._make_error: MakeError | None = None
        self._stepper: Stepper | None = None

    def run(self, load: list[Callable[[], Stepper]]) -> None:
        """Load the model and work until stopped. If the work was abandoned meanwhile, drops its results and the model.

        Args:
            load: A list with the function that loads the model. The function is removed from the list, so that
                nothing here keeps what it refers to alive.
        """
        self._watchdog.begin(LOADING)
        self._load(load)
        if self._watchdog.end():
            self._serve()
        else:
            self._free_model()

    def take_over(self, stuck: ModelLoop, make_error: MakeError) -> None:
        """Replace a loop that is stuck, until stopped. Fails its unfinished rows and delivers its queued results at
        least once.

        The stuck loop may continue at any moment, so this only reads from it: first the rows, then the results. A
        result may then be delivered twice, but none is lost.
        """
        self._waiting = {submission.row: submission for submission in stuck._unfinished()}
        self._delivery = stuck._delivery.copy()
        self._stopped = stuck._stopped
        self._fail_rows(make_error)
        self._send_results()
        self._serve()

    # Commands

    def accept(self, submission: Submission) -> None:
        if self._make_error is not None:
            self._delivery.add(submission, self._make_error())
        elif self._stepper is not None and is_structured(submission.request.generation):
            self._prepare(submission, self._stepper)
        else:
            self._waiting[submission.row] = submission

    def on_prepared(self, row: int, outcome: Request | RequestError) -> None:
        """The helper thread has prepared a row."""
        if (submission := self._in_helper.pop(row, None)) is None:
            return
        if isinstance(outcome, RequestError):
            self._delivery.add(submission, outcome)
        else:
            self._waiting[row] = replace(submission, request=outcome)

    def on_checked(self, row: int, outcome: Completion | RequestError) -> None:
        """The helper thread has checked the answer of a row."""
        if (submission := self._in_helper.pop(row, None)) is not None:
            self._delivery.add(submission, outcome)

    def abort(self, row: int) -> None:
        self._waiting.pop(row, None)
        self._in_helper.pop(row, None)
        if self._running.pop(row, None) is not None and self._stepper is not None:
            self._stepper.abort(row)

    def stop(self) -> None:
        self._stopped = True

    # The loop

    def _serve(self) -> None:
        while not self._stopped:
            command = self._wait_for_command()
            self._watchdog.begin("one step of the model")
            self._run_commands_and_step(command)
            if not self._watchdog.end():
                self._return_rows()
                return
            self._send_results()
        self._watchdog.begin("freeing the model")
        self._fail_rows(closed_error)
        self._watchdog.end()
        self._send_results()

    def _wait_for_command(self) -> Command | None:
        """Wait for a command, if there is nothing else to do."""
        return self._commands.get() if not self._waiting and not self._is_busy() else None

    def _is_busy(self) -> bool:
        try:
            return self._stepper is not None and self._stepper.busy
        except BaseException as error:
            self._fail_model(error)
            return False

    def _run_commands_and_step(self, command: Command | None) -> None:
        try:
            if command is not None:
                command(self)
            while not self._commands.empty():
                self._commands.get()(self)
            self._step()
        except BaseException as error:  # Includes SystemExit and panics of Rust: rows wait for their results anyway.
            self._fail_model(error)

    def _return_rows(self) -> None:
        """This loop was abandoned. Pass the rows that arrived since then to the loop that replaced it."""
        self._send_results()
        for submission in self._unfinished():
            self._commands.put(partial(ModelLoop.accept, submission=submission))
        if self._stopped:
            self._commands.put(ModelLoop.stop)
        self._free_model()

    def _unfinished(self) -> list[Submission]:
        return [*self._running.values(), *self._in_helper.values(), *self._waiting.values()]

    def _step(self) -> None:
        if self._stepper is None or self._stopped:
            return
        self._start_rows(self._stepper)
        if self._stepper.busy:
            self._stepper.step(self._emit)

    def _start_rows(self, stepper: Stepper) -> None:
        while self._waiting and len(self._running) < stepper.slots:
            row = next(iter(self._waiting))
            submission = self._running[row] = self._waiting.pop(row)
            try:
                stepper.add(row, submission.request)
            except RequestError as error:
                self._emit(row, error)

    def _emit(self, row: int, event: RowEvent) -> None:
        submission = self._running.get(row)
        if submission is None:
            return
        if not isinstance(event, StreamDelta):
            del self._running[row]
        elif not submission.request.stream:
            return
        constraint = submission.request.constraint
        if isinstance(event, Completion) and constraint is not None and constraint.is_checked:
            self._check(submission, constraint, event)
        else:
            self._delivery.add(submission, event)

    # Work of the helper thread

    def _prepare(self, submission: Submission, stepper: Stepper) -> None:
        self._in_helper[submission.row] = submission
        self._helper.submit(
            partial(stepper.prepare, submission.request),
            lambda outcome: self._commands.put(partial(ModelLoop.on_prepared, row=submission.row, outcome=outcome)),
        )

    def _check(self, submission: Submission, constraint: Constraint, completion: Completion) -> None:
        self._in_helper[submission.row] = submission
        self._helper.submit(
            lambda: constraint.check(submission.request.generation, completion) or completion,
            lambda outcome: self._commands.put(partial(ModelLoop.on_checked, row=submission.row, outcome=outcome)),
        )

    def _send_results(self) -> None:
        for submission in self._delivery.send():
            self._commands.put(partial(ModelLoop.abort, row=submission.row))

    # Loading and failing

    def _load(self, load: list[Callable[[], Stepper]]) -> None:
        try:
            with gc_tuning.loading():
                self._stepper = load.pop()()
        except ConfigError as error:
            message = str(error)
            self._make_error = lambda: EngineConfigError(message, error_type=InferenceErrorType.CONFIG)
        except BaseException as error:
            log.exception("the model could not be loaded")
            self._make_error = engine_failure(
                f"the model could not be loaded: {error_repr(error)}. Close the engine and try again"
            )

    def _fail_model(self, error: BaseException) -> None:
        log.error("the model failed", exc_info=error)
        self._fail_rows(engine_failure(f"the model failed: {error_repr(error)}. {RECOVERY_HINT}"))

    def _fail_rows(self, make_error: MakeError) -> None:
        """Free the model and fail every row. Later rows fail in the same way."""
        self._make_error = make_error
        for submission in self._unfinished():
            self._delivery.add(submission, make_error())
        self._running.clear()
        self._in_helper.clear()
        self._waiting.clear()
        self._free_model()

    def _free_model(self) -> None:
        stepper, self._stepper = self._stepper, None
        self._helper.close()  # Before the stepper: the helper may be using its vocabulary.
        if stepper is not None:
            with suppress(BaseException):
                stepper.close()


RECOVERY_HINT = "Close the engine, or make a new one, and run again to go on"


def closed_error() -> EngineDeadError:
    return EngineDeadError(
        "the engine was closed before this row was finished", error_type=InferenceErrorType.CANCELLED
    )


def engine_failure(message: str) -> MakeError:
    """Return a function that makes a new exception for each row: a shared one would collect all their tracebacks."""
    return lambda: EngineDeadError(message, error_type=InferenceErrorType.ENGINE_FAILURE)
