"""Decides whether, and when, a failed attempt is made again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from asyncinfer.control.aside import refuses_every_row
from asyncinfer.control.availability import Health
from asyncinfer.control.permit_source import Alternative
from asyncinfer.errors import ErrorScope, RequestError

# If the endpoint fails requests at random, a row may fail several times by chance. The row is given up only if the
# probability of that many failures is at most `_COINCIDENCE`. The share of random failures counts as at most
# `_LARGEST_SHARE`.
_COINCIDENCE, _LARGEST_SHARE = 1e-8, 0.5
# The share is the number of faults among the last `_REMEMBERED` rows, divided by the number of these rows, or by
# `_FEWEST` if there are fewer rows. With fewer than `_FEWEST_FAULTS` faults, the share is 0.
_REMEMBERED, _FEWEST, _FEWEST_FAULTS = 400, 50, 5
# Retries may fail more often than first attempts: if a server fails every fifth request, this can be the same row again
# and again. So a share above `_SMALL_SHARE` counts as at least `_LEAST_SHARE`.
_SMALL_SHARE, _LEAST_SHARE = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Retry:
    """Whether, and when, a row is tried again.

    Args:
        is_final: The row is not tried again: it fails.
        after: Seconds until the next attempt.
        spends: Whether one of the row's retries is used up.
    """

    is_final: bool
    after: float = 0.0
    spends: bool = True


NO_RETRY = Retry(is_final=True, spends=False)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: the n-th retry waits between 0 and `base * 2**n`, at most `max`.

    If the endpoint requested a wait, that wait is used in full instead. A requested wait of 0 s, or of more than
    `max_wait`, is ignored.

    Args:
        max_retries: How many failures of a row are followed by another attempt.
        base: Seconds, see above.
        max: Seconds, see above.
        max_wait: The longest wait that the endpoint may request, in seconds.
        max_outage: Seconds without an answer after which the run ends. `FailurePattern` applies it, not `decide`.
    """

    max_retries: int = 5
    base: float = 1.0
    max: float = 30.0
    max_wait: float = 900.0
    max_outage: float = 900.0

    def decide(
        self,
        error: RequestError,
        *,
        spent: int,
        attempts: int,
        answered_since: bool,
        is_suspect: bool = False,
        health: Health,
        fault_share: float,
        jitter: float,
    ) -> Retry:
        """Decide whether a row is tried again after `error`.

        Two kinds of failures do not use up a retry, because they are not the fault of the row: a refusal by an endpoint
        that works, and any failure during an outage.

        Args:
            spent: The retries that the row has used up.
            attempts: How often the row was attempted, this time included.
            answered_since: The endpoint has answered some row since the previous attempt of this row.
            is_suspect: The row failed again after others had been answered. During an outage its failures are free only
                while the endpoint counts as working.
            health: The state of the endpoint.
            fault_share: The share of rows whose first attempt failed with a fault.
            jitter: A random number in [0, 1).
        """
        if not error.is_retryable:
            return NO_RETRY
        if not self.max_retries:
            is_free = error.is_overload and answered_since
        else:
            is_outage = health.is_out and (health.is_working or not is_suspect)
            is_free = is_outage or (error.is_overload and health.is_working)
        is_coincidence = bool(self.max_retries) and not error.is_overload and fault_share**attempts > _COINCIDENCE
        if not is_free and spent >= self.max_retries and not is_coincidence:
            return NO_RETRY
        # While the endpoint answers no row, the backoff grows even if the attempts use up no retries. If the endpoint
        # answers others and fails at random, a longer wait does not help.
        growth = min(spent, 1) if is_coincidence and answered_since else spent
        backoff = self.backoff(growth if answered_since else max(spent, attempts - 1), jitter)
        wait = error.retry_after or backoff
        if wait > self.max_wait:
            wait = backoff  # If several rows are asked for such a wait, `FailurePattern` ends the run.
        return Retry(is_final=False, after=wait, spends=not is_free)

    def elsewhere(
        self,
        retry: Retry,
        error: RequestError,
        alternative: Alternative,
        *,
        at_once: bool,
        is_free: bool,
        rejects_rows: bool,
        jitter: float,
    ) -> Retry:
        """Change the decision after `error` if another endpoint can answer the row.

        An endpoint that is down, or that refuses every row, does not cost a row a retry. Any other failure uses up one,
        whichever endpoint gets the row next. After a refusal because the endpoint is busy, the row does not wait as
        long as the endpoint requested: others may have room.

        Args:
            retry: The decision for the endpoint alone.
            at_once: The row has not been sent to another endpoint often, so that no wait is needed.
            is_free: The endpoint is or may be down, so that the row may leave it without using up a retry.
            rejects_rows: The endpoint rejects other rows too, so that this row may not be the reason.
            jitter: A random number in [0, 1).
        """
        backoff = self.backoff(0, jitter)
        moved = Retry(is_final=False, after=0.0 if at_once else backoff, spends=False)
        if refuses_every_row(error, self.max_wait):
            later = Retry(is_final=False, after=backoff, spends=False)
            return {Alternative.NOW: moved, Alternative.LATER: later, Alternative.NONE: retry}[alternative]
        if alternative is not Alternative.NOW:
            return retry
        if not error.is_retryable:
            may_be_accepted = rejects_rows and at_once and is_free and error.scope is ErrorScope.UNKNOWN
            return moved if may_be_accepted else retry
        if error.is_overload:
            is_final = retry.is_final and not is_free
            return NO_RETRY if is_final else Retry(is_final=False, after=backoff, spends=retry.spends)
        if is_free or retry.is_final:
            return moved if is_free else NO_RETRY
        return Retry(is_final=False, after=moved.after, spends=retry.spends)

    def backoff(self, spent: int, jitter: float) -> float:
        """The wait before retry number `spent` (from 0), in seconds."""
        # The exponent is bounded, so that a large max_retries cannot overflow a float.
        return min(self.base * 2 ** min(spent, 64), self.max) * jitter


class FaultShare:
    """The share of the latest rows whose first attempt failed with a fault.

    Later attempts do not count, so that rows that always fail do not raise the share.
    """

    def __init__(self) -> None:
        self._latest: deque[bool] = deque(maxlen=_REMEMBERED)
        self._faults = 0

    def add(self, *, is_fault: bool) -> None:
        """The first attempt of a row has ended."""
        if len(self._latest) == _REMEMBERED:
            self._faults -= self._latest[0]
        self._latest.append(is_fault)
        self._faults += is_fault

    @property
    def share(self) -> float:
        """The share of faults, from 0 to 0.5; 0 as long as there are few faults."""
        if self._faults < _FEWEST_FAULTS:
            return 0.0
        share = self._faults / max(_FEWEST, len(self._latest))
        if share > _SMALL_SHARE:
            share = max(share, _LEAST_SHARE)
        return min(share, _LARGEST_SHARE)
