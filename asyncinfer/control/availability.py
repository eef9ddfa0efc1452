"""Detects outages: periods in which the endpoint answers no row."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from asyncinfer.errors import RequestError

# An outage begins after `_FAILURES` failures without an answer in between. They must concern at least `_ROWS` rows, or
# `_SUSPECTS` suspect rows.
_FAILURES, _ROWS, _SUSPECTS = 5, 3, 12
# Seconds between two attempts during an outage. The pause starts at `_FIRST_PAUSE` and doubles up to `_PAUSE`, and up
# to `_LONG_PAUSE` once the outage has lasted for `_LONG` seconds.
_FIRST_PAUSE, _PAUSE, _LONG_PAUSE, _LONG = 0.25, 1.0, 15.0, 60.0
# An endpoint counts as working until it has left attempts unanswered for `_WORKING` seconds. While it works, a
# refusal is not the fault of the row.
_WORKING = 120.0


class Health(NamedTuple):
    """The state of the endpoint, for a retry decision.

    Args:
        is_working: It has not left attempts unanswered for two minutes or longer.
        is_out: It has answered before, and there is an outage now.
    """

    is_working: bool
    is_out: bool


class Availability:
    """Counts failures since the last answer, and spaces attempts while the endpoint fails every row.

    Refusals count as failures, but do not space attempts: the pacer does that.

    Attributes:
        out_since: When the outage began, or None.
        has_answered: Whether the endpoint has ever answered.
        last_error: The message of the last failure that can be retried.
        is_spacing: Whether attempts are spaced now.
    """

    def __init__(self) -> None:
        self.out_since: float | None = None
        self.has_answered = False
        self.last_error = ""
        self._since: float | None = None
        """When the first attempt after the last answer started; when that answer arrived if no attempt followed."""
        self._has_sent = False
        self._failures = self._faults = 0
        self._failing_since = 0.0
        self._rows: set[Hashable] = set()
        self._suspects: set[Hashable] = set()
        self.is_spacing = False
        self._due, self._pause = -math.inf, _FIRST_PAUSE

    def wait(self, now: float) -> float:
        """Seconds until an attempt may start; more than 0 only during an outage."""
        return max(0.0, self._due - now) if self.is_spacing else 0.0

    def started(self, now: float) -> None:
        """An attempt starts."""
        if not self._has_sent:  # The time in which the engine sent nothing does not count.
            self._since, self._has_sent = now, True
        if self.is_spacing:
            self._due = now + self._pause
            self._pause = min(2 * self._pause, _PAUSE if now - self._failing_since < _LONG else _LONG_PAUSE)

    def answered(self, now: float) -> None:
        """The endpoint answered an attempt."""
        self._since, self.has_answered, self._has_sent = now, True, False
        self._end_outage()

    def _end_outage(self) -> None:
        if self._failures:
            self._failures = self._faults = 0
            self._rows.clear()
            self._suspects.clear()
            self.out_since, self.is_spacing, self._pause = None, False, _FIRST_PAUSE

    def failed(
        self, now: float, error: RequestError, in_flight: int, row: Hashable, *, is_suspect: bool = False
    ) -> None:
        """An attempt failed. A failure that cannot be retried ends an outage: an endpoint that rejects a request works.

        Args:
            in_flight: The attempts in flight, this one included.
            row: Identifies the row.
            is_suspect: The row kept failing while others were answered, so the row may be the reason. More
                failures of such rows are needed for an outage.
        """
        if not error.is_retryable:
            self._end_outage()
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
        if self.out_since is not None and not self.is_spacing and self._faults >= max(_FAILURES, in_flight // 2):
            self.is_spacing, self._due = True, now + self._pause

    @property
    def is_in_doubt(self) -> bool:
        """Whether several attempts in a row failed. Then a new row shows whether the endpoint or the rows fail."""
        return self._faults >= _FAILURES

    def unanswered_for(self, now: float) -> float:
        """Seconds since the first attempt after the last answer; 0 before any attempt."""
        return now - self._since if self._since is not None else 0.0

    def out_for(self, now: float) -> float:
        """Seconds since the outage began; 0 without an outage."""
        return now - self.out_since if self.out_since is not None else 0.0

    def health(self, now: float) -> Health:
        """The state of the endpoint, for a retry decision."""
        is_out = self.out_since is not None and self.has_answered
        return Health(self.unanswered_for(now) < _WORKING, is_out)
