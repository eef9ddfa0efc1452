"""What happens in a run, as one typed stream of events.

An observer is a function that is called with each event, on the run's event loop. It must return quickly. The progress
display, the progress file and `on_progress` show the counts of `RunStats`, which is an observer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from asyncinfer.control.decisions import Decision
from asyncinfer.errors import error_repr
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.results import FailureDetail
from asyncinfer.types.usage import Usage

log = logging.getLogger("asyncinfer")


@dataclass(slots=True)
class Latency:
    """How long the last attempt at a row took, in seconds.

    Attributes:
        queue: From the time when the row could be sent, until the request was sent.
        total: From the sending of the request, until the answer or the failure was complete.
        first_byte: From the sending of the request, until the first byte of the response; None if that is unknown.
    """

    queue: float
    total: float
    first_byte: float | None = None


@dataclass(slots=True)
class RowFinished:
    """A row is answered, and its answer is durable if the run saves answers.

    Attributes:
        usage: The tokens of the answer, and of failed attempts at this row before it, as far as they are known.
        endpoint: The name of the endpoint that answered; None if the engine has only one.
        cost: What they cost, in US dollars; None if that is unknown, or if they cost nothing.
        response_model: The model that answered, as the response says; None if it does not.
        response_id: The id of the response; None if it has none.
    """

    index: int
    usage: Usage | None
    latency: Latency
    finish_reason: FinishReason = FinishReason.UNKNOWN
    endpoint: str | None = None
    cost: float | None = None
    response_model: str | None = None
    response_id: str | None = None


@dataclass(slots=True)
class RowResumed:
    """A row was answered by an earlier run."""

    index: int
    finish_reason: FinishReason = FinishReason.UNKNOWN


@dataclass(slots=True)
class RowReused:
    """A row has an answer that was not requested for it: that of the row that it duplicates, or one from the cache."""

    index: int
    source: Literal["duplicate", "cache"]
    finish_reason: FinishReason = FinishReason.UNKNOWN


@dataclass(slots=True)
class RowFailed:
    """A row has no answer, and is not tried again in this run.

    Attributes:
        usage: The tokens of the attempts, as far as they are known; None if none are.
    """

    index: int
    failure: FailureDetail
    usage: Usage | None = None


@dataclass(slots=True)
class AttemptFailed:
    """An attempt at a row failed.

    Attributes:
        retry_after: Seconds until the next attempt; None if no other follows.
        endpoint: The name of the endpoint that got the attempt; None if the engine has only one.
    """

    index: int
    error: Exception
    retry_after: float | None
    latency: Latency
    endpoint: str | None = None


@dataclass(slots=True)
class LimitsChanged:
    """The engine's controller changed the permits or the rate, for all its runs and calls."""

    decision: Decision


@dataclass(slots=True)
class RunWaits:
    """Nothing was sent for `seconds`. `reason` says why, and until when."""

    seconds: float
    reason: str


RunEvent = RowFinished | RowResumed | RowReused | RowFailed | AttemptFailed | LimitsChanged | RunWaits
Observer = Callable[[RunEvent], object]


class Events:
    """Passes each event to all observers. An observer that raises is logged, and gets no further events."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = list(observers)

    def subscribe(self, observer: Observer) -> None:
        """Pass all further events to this observer, too."""
        self._observers.append(observer)

    def emit(self, event: RunEvent) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # A CancelledError, for instance, would end the task without an error.
                log.error("an observer of the run raised %s; it gets no further events", error_repr(error))
                self._observers = [other for other in self._observers if other is not observer]
