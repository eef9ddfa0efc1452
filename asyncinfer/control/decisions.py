"""The log of what the controller decided."""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

log = logging.getLogger("asyncinfer.control")

_KEPT = 10_000


class Decision(NamedTuple):
    """What the controller allows from one moment on.

    Args:
        at: The moment, in seconds of the run's clock.
        permits: How many attempts may be in flight.
        rate: How many attempts may start per second; None for no limit.
        why: The reason, in words.
        endpoint: The endpoint that the decision concerns; None if the engine has only one.
    """

    at: float
    permits: int
    rate: float | None
    why: str
    endpoint: str | None = None


class DecisionLog:
    """Keeps the latest decisions.

    Args:
        endpoint: The endpoint that the decisions concern; None if the engine has only one.
        shared: Another log that also gets each decision.

    Attributes:
        entries: The latest decisions, oldest first. At most 10,000 are kept.
        count: How many decisions were made in total.
    """

    def __init__(self, endpoint: str | None = None, shared: DecisionLog | None = None) -> None:
        self._endpoint, self._shared = endpoint, shared
        self.entries: deque[Decision] = deque(maxlen=_KEPT)
        self.count = 0

    def add(self, decision: Decision) -> None:
        """Keep the decision, and write it to the debug log."""
        if self._endpoint is not None:
            decision = decision._replace(endpoint=self._endpoint)
        self._keep(decision)
        if self._shared is not None:
            self._shared._keep(decision)
        rate = "any number of" if decision.rate is None else f"{decision.rate:.1f}"
        where = f"{self._endpoint}: " if self._endpoint is not None else ""
        log.debug("%s%.1f s: %d permits, %s attempts/s (%s)", where, decision.at, decision.permits, rate, decision.why)

    def _keep(self, decision: Decision) -> None:
        self.entries.append(decision)
        self.count += 1
