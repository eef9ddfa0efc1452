"""What a model's thread has to tell, and whom."""

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
    """A row and whom to tell: `deliver` is called on `loop`."""

    row: int
    request: Request
    loop: asyncio.AbstractEventLoop
    deliver: Deliver


class ResultDelivery:
    """The news that wait to be sent, of one thread; another may copy it at any moment."""

    def __init__(self) -> None:
        self._news: dict[asyncio.AbstractEventLoop, list[tuple[Submission, EngineEvent]]] = {}

    def add(self, call: Submission, news: EngineEvent) -> None:
        self._news.setdefault(call.loop, []).append((call, news))

    def send(self) -> list[Submission]:
        """Tell each waiting loop all its news with one wake-up; the calls that nobody waits for any more."""
        lost: list[Submission] = []
        while self._news:
            loop, news = self._news.popitem()
            try:
                loop.call_soon_threadsafe(_deliver, news)
            except RuntimeError:  # The loop is closed.
                lost += [call for call, _ in news]
        return lost

    def copy(self) -> ResultDelivery:
        copied = ResultDelivery()
        copied._news = {loop: [*news] for loop, news in [*self._news.items()]}
        return copied


def _deliver(news: Iterable[tuple[Submission, EngineEvent]]) -> None:
    for call, event in news:
        try:
            call.deliver(event)
        except Exception as error:  # The other rows must still get their results.
            log.error("row %d: its result could not be delivered: %s", call.row, error_repr(error))
