"""Decides when an endpoint of several is put aside, and when it is probed.

An endpoint is put aside if

- it refuses every row: a revoked key, no credit, a missing model, a quota that is used up for long;
- it rejects 5 rows in a row, and the responses do not say that the rows are the reason;
- 5 attempts at 3 rows or more fail, without an answer in between. With more than 20 attempts in flight, a quarter of
  these must fail;
- it stands still: attempts are in flight, but none has ended, and no part of a stream has arrived, for 30 s or for 3
  times as long as its slowest answer took; and meanwhile another endpoint has received requests and answered them.

Whether an endpoint that has never answered stands still is unknown: the timeout of its requests decides.

An endpoint that is put aside gets single attempts, called probes. The pause between two probes starts at half a second
and doubles up to 4 s, and after a minute up to 15 s. It also begins again when a probe fails, so that the row of a
probe that took long is not the next probe. A response to a probe ends this if it shows that the endpoint works: an
answer, a refusal because the endpoint is busy, or the rejection of one row. A response to an older request does not,
because it may have been sent before the endpoint stopped working.

An endpoint whose last attempt failed is in doubt for 4 s: others are chosen first. If 5 attempts at only one or two
rows fail, and no other attempt is in flight, the rows may be the reason. So the endpoint is not put aside, but while it
is in doubt the fallback endpoints get attempts too.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from asyncinfer.errors import ErrorScope, RequestError

# The numbers above.
_REJECTIONS = 5
FAULTS, _ROWS, _IN_FLIGHT_PER_FAULT = 5, 3, 4
_STILL_SECONDS, _STILL_FACTOR = 30.0, 3.0
# Seconds between two probes. The pause starts at `_FIRST_PAUSE` and doubles up to `_PAUSE`, and up to `_LONG_PAUSE`
# once the endpoint has been put aside for `_LONG`.
_FIRST_PAUSE, _PAUSE, _LONG_PAUSE, _LONG = 0.5, 4.0, 15.0, 60.0
# No answer takes less time (seconds).
_SHORTEST = 1e-6
# How long an endpoint is in doubt after a failure (seconds).
_DOUBT = 4.0
# The time of the slowest answer counts for this share when the next answer has arrived.
_FADING = 0.99


class Aside:
    """Whether one endpoint is put aside.

    Args:
        max_wait: The longest wait that the endpoint may request, in seconds.

    Attributes:
        reason: Why the endpoint is put aside; None if it is in use.
        since: When it was put aside.
        is_refused: It refuses every request, whatever the row. Waiting does not help.
        is_still: It stands still.
        is_in_doubt: An attempt has failed a short time ago, and no answer has arrived since.
        in_flight: The attempts in flight.
        newest: When the newest attempt that was answered had started.
    """

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self.reason: str | None = None
        self.since = 0.0
        self.is_refused = self.is_still = self.is_in_doubt = False
        self.in_flight = 0
        self.newest = -math.inf
        self._faults = self._rejections = 0
        self._rows = set[Hashable]()
        self._heard = self._slowest = 0.0
        # When the next probe is due; the pause after the latest probe, and the one after the next.
        self._due, self._current_pause, self._pause = 0.0, 0.0, _FIRST_PAUSE
        self._doubt_until = -math.inf
        # A request must have been sent after this time to show that the endpoint works again.
        self._proof_after = -math.inf

    @property
    def is_failing(self) -> bool:
        """Whether the last attempts failed, and no attempt is in flight that may be answered."""
        return self.is_in_doubt and self._faults >= FAULTS and not self.in_flight

    @property
    def rejects_rows(self) -> bool:
        """Whether it has rejected the last rows, or all so far, so that the rows may not be the reason."""
        return self._rejections > 1 or (self._rejections > 0 and not self._slowest)

    def wait(self, now: float) -> float:
        """Seconds until the next probe; 0 if the endpoint is in use."""
        return max(0.0, self._due - now) if self.reason is not None else 0.0

    def started(self, now: float) -> None:
        """An attempt starts."""
        if not self.in_flight:
            self._heard = now
        self.in_flight += 1
        if self.reason is not None:
            self._due, self._current_pause = now + self._pause, self._pause
            self._pause = min(2 * self._pause, _PAUSE if now - self.since < _LONG else _LONG_PAUSE)

    def answered(self, now: float, sent: float) -> None:
        """The attempt that started at `sent` was answered."""
        self._ended(now)
        self._rejections, self.is_in_doubt = 0, False
        self._slowest = max(now - sent, _FADING * self._slowest, _SHORTEST)
        self.newest = max(self.newest, sent)
        self._works(sent)

    def part_arrived(self, now: float, sent: float) -> None:
        """A part of the answer to the attempt that started at `sent` has arrived."""
        self._heard = now
        if self.is_still:
            self._works(sent)

    def failed(self, now: float, sent: float, error: RequestError | None, row: Hashable) -> None:
        """The attempt that started at `sent` failed with `error`, or was cancelled. `row`: identifies the row."""
        in_flight = self.in_flight
        self._ended(now)
        if error is None:
            return
        if self.reason is not None and sent >= self.since:  # A probe.
            self._due = max(self._due, now + self._current_pause)
        if refuses_every_row(error, self._max_wait):
            self._put(now, str(error), is_refused=True)
        elif error.is_retryable and not error.is_overload:
            self._faults += 1
            self._rows.add(row)
            self._doubt(now)
            if len(self._rows) >= _ROWS and self._faults >= max(FAULTS, in_flight // _IN_FLIGHT_PER_FAULT):
                self._put(now, str(error))
        elif not error.is_retryable and error.scope is ErrorScope.UNKNOWN:
            self._rejected(now, sent, error)
        else:
            self._works(sent)

    def _rejected(self, now: float, sent: float, error: RequestError) -> None:
        self._rejections += 1
        self._doubt(now)
        if self._rejections >= _REJECTIONS:
            self._put(now, str(error), is_refused=True)
        elif not self.is_refused:
            self._works(sent)

    def _doubt(self, now: float) -> None:
        self.is_in_doubt, self._doubt_until = True, now + _DOUBT

    def update(self, now: float) -> None:
        """End the doubt if it is time."""
        if self.is_in_doubt and now >= self._doubt_until:
            self.is_in_doubt = False

    def is_silent(self, now: float) -> bool:
        """Whether attempts are in flight, and nothing has arrived for a long time."""
        return self.in_flight > 0 and not self.is_still and self._is_long(now - self._heard)

    def is_given_up(self, now: float, sent: float) -> bool:
        """Whether the attempt that started at `sent` should go elsewhere. A probe gets as much time as others."""
        return self.is_still and self._is_long(now - sent)

    def _is_long(self, seconds: float) -> bool:
        """Whether no answer of this endpoint takes so long. Unknown, so False, before the first answer."""
        return self._slowest > 0.0 and seconds > max(_STILL_SECONDS, _STILL_FACTOR * self._slowest)

    def compare(self, now: float, others: float) -> None:
        """Put a silent endpoint aside if others answer. `others`: `newest` of all others."""
        if others > self._heard:
            self._put(now, f"none of {self.in_flight} requests has ended for {now - self._heard:.0f} s")
            self.is_still, self._proof_after = True, -math.inf

    def _ended(self, now: float) -> None:
        self._heard = now
        self.in_flight -= 1

    def _works(self, sent: float) -> None:
        """The endpoint has answered a request from `sent`, refused it because it was busy, or rejected its row."""
        self._faults, self.is_in_doubt = 0, self._rejections > 0 and self.is_in_doubt
        self._rows.clear()
        if self.reason is not None and sent > self._proof_after:
            self.reason, self._pause = None, _FIRST_PAUSE
            self.is_refused = self.is_still = False

    def _put(self, now: float, reason: str, *, is_refused: bool = False) -> None:
        if self.reason is None:
            self.since = self._proof_after = now
            self._due, self._current_pause = now + self._pause, self._pause
            self._pause *= 2
        self.reason, self.is_refused = reason, is_refused


def refuses_every_row(error: RequestError, max_wait: float) -> bool:
    """Whether the endpoint refuses every row: its account, or because a quota is used up for longer than `max_wait`."""
    if not error.is_overload:
        return error.scope is ErrorScope.ACCOUNT
    return error.is_quota if error.retry_after is None else error.retry_after > max_wait
