"""Detects outages: times when the endpoint answers no row."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from asyncinfer.errors import RequestError

# The endpoint is out of service after `_FAILURES` failures of at least `_ROWS` rows, or `_SUSPECTS` suspect ones, with
# no answer in between.
_FAILURES, _ROWS, _SUSPECTS = 5, 3, 12
# Seconds between two attempts during an outage. The pause starts at `_FIRST_PAUSE` and doubles up to `_PAUSE`, and up
# to `_LONG_PAUSE` once the outage has lasted for `_LONG` seconds.
_FIRST_PAUSE, _PAUSE, _LONG_PAUSE, _LONG = 0.25, 1.0, 15.0, 60.0
# An endpoint that has been tried in vain for less than `_WORKING` seconds works: a refusal is not the fault of the row.
_WORKING = 120.0


class Health(NamedTuple):
    """The state of the endpoint, for a retry decision.

    Args:
        is_working: It has not left attempts unanswered for two minutes.
        is_out: It has answered before, and now there is an outage.
    """

    is_working: bool
    is_out: bool


class Availability:
    """Counts failures since the last answer, and spaces attempts while the endpoint fails every row.

    Refusals are counted too, but the pacer spaces attempts after them. `is_probing`: attempts are spaced out now.
    """

    def __init__(self) -> None:
        self.out_since: float | None = None
        self.has_answered = False
        self.last_error = ""
        self._since: float | None = None
        """The time of the first attempt since the last answer; of that answer if there was no attempt."""
        self._has_asked = False
        self._failures = self._faults = 0
        self._failing_since = 0.0
        self._rows: set[Hashable] = set()
        self._suspects: set[Hashable] = set()
        self.is_probing = False
        self._due, self._pause = -math.inf, _FIRST_PAUSE

    def wait(self, now: float) -> float:
        """Seconds until an attempt may start; more than 0 only during an outage."""
        return max(0.0, self._due - now) if self.is_probing else 0.0

    def started(self, now: float) -> None:
        """An attempt starts."""
        if not self._has_asked:  # The time in which the engine was idle does not count.
            self._since, self._has_asked = now, True
        if self.is_probing:
            self._due = now + self._pause
            self._pause = min(2 * self._pause, _PAUSE if now - self._failing_since < _LONG else _LONG_PAUSE)

    def answered(self, now: float) -> None:
        """The endpoint answered an attempt."""
        self._since, self.has_answered, self._has_asked = now, True, False
        self._works()

    def _works(self) -> None:
        if self._failures:
            self._failures = self._faults = 0
            self._rows.clear()
            self._suspects.clear()
            self.out_since, self.is_probing, self._pause = None, False, _FIRST_PAUSE

    def failed(
        self, now: float, error: RequestError, in_flight: int, row: Hashable, *, is_suspect: bool = False
    ) -> None:
        """An attempt failed. A rejection ends an outage, because an endpoint that rejects a request works.

        Args:
            in_flight: The attempts in flight, this one included.
            row: Tells rows apart.
            is_suspect: The row kept failing while others were answered, so that it may be the reason itself. More of
                such rows must fail before that is an outage.
        """
        if not error.is_retryable:
            self._works()
            return
        self.last_error = str(error)
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        (self._suspects if is_suspect else self._rows).add(row)
        is_enough = len(self._rows) >= _ROWS or len(self._suspects) >= _SUSPECTS
        if self._failures >= _FAILURES and is_enough and self.out_since is None:
            self.out_since = self._failing_since
        if error.is_overload:
            self._faults = 0
            return
        self._faults += 1
        if self.out_since is not None and not self.is_probing and self._faults >= max(_FAILURES, in_flight // 2):
            self.is_probing, self._due = True, now + self._pause

    @property
    def is_in_doubt(self) -> bool:
        """Whether several attempts in a row failed, so that a new row shows whether the endpoint or the rows fail."""
        return self._faults >= _FAILURES

    def unanswered_for(self, now: float) -> float:
        """Seconds since the first attempt after the last answer."""
        return now - self._since if self._since is not None else 0.0

    def out_for(self, now: float) -> float:
        """Seconds since the outage began; 0 if there is none."""
        return now - self.out_since if self.out_since is not None else 0.0

    def health(self, now: float) -> Health:
        is_out = self.out_since is not None and self.has_answered
        return Health(self.unanswered_for(now) < _WORKING, is_out)
