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
    """

    at: float
    permits: int
    rate: float | None
    why: str


class DecisionLog:
    """Keeps the latest decisions.

    Attributes:
        entries: The latest decisions, oldest first. At most 10,000 are kept.
        count: How many decisions were made in total.
    """

    def __init__(self) -> None:
        self.entries: deque[Decision] = deque(maxlen=_KEPT)
        self.count = 0

    def add(self, decision: Decision) -> None:
        """Keep the decision, and write it to the debug log."""
        self.entries.append(decision)
        self.count += 1
        rate = "any number of" if decision.rate is None else f"{decision.rate:.1f}"
        log.debug("%.1f s: %d permits, %s attempts/s (%s)", decision.at, decision.permits, rate, decision.why)
