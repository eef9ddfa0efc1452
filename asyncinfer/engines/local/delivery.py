"""Delivers the results of a model's thread to the event loops that wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import RowEvent
from asyncinfer.errors import EngineDeadError, error_repr

log = logging.getLogger("asyncinfer")

EngineEvent = RowEvent | EngineDeadError
Deliver = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """A row and where its events go: `deliver` is called on `loop` with each of them."""

    row: int
    request: Request
    loop: asyncio.AbstractEventLoop
    deliver: Deliver


class ResultDelivery:
    """Queues the events of one thread, and sends them. Another thread may copy the queue at any moment."""

    def __init__(self) -> None:
        self._queued: dict[asyncio.AbstractEventLoop, list[tuple[Submission, EngineEvent]]] = {}

    def add(self, submission: Submission, event: EngineEvent) -> None:
        self._queued.setdefault(submission.loop, []).append((submission, event))

    def send(self) -> list[Submission]:
        """Send all queued events, with one wake-up for each event loop.

        Returns:
            The submissions whose event loop is closed, so that nobody waits for them any more.
        """
        lost: list[Submission] = []
        while self._queued:
            loop, events = self._queued.popitem()
            try:
                loop.call_soon_threadsafe(_deliver, events)
            except RuntimeError:  # The loop is closed.
                lost += [submission for submission, _ in events]
        return lost

    def copy(self) -> ResultDelivery:
        copied = ResultDelivery()
        copied._queued = {loop: [*events] for loop, events in [*self._queued.items()]}
        return copied


def _deliver(events: Iterable[tuple[Submission, EngineEvent]]) -> None:
    for submission, event in events:
        try:
            submission.deliver(event)
        except Exception as error:  # The other rows must still get their results.
            log.error("row %d: its result could not be delivered: %s", submission.row, error_repr(error))
