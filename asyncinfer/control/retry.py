"""Decide whether, and when, a failed attempt is made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asyncinfer.errors import RequestError


@dataclass(frozen=True, slots=True)
class Retry:
    """A decision: `no`; `transient`, a fault of this attempt alone; or `rate_limit`, a refusal that
    speaks for the endpoint. `after` is the wait in seconds; `spends` says whether one of the row's
    retries is used up.
    """

    kind: Literal["no", "transient", "rate_limit"]
    after: float = 0.0
    spends: bool = True


NO = Retry("no")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: the n-th retry waits between 0 and `base * 2**n`, at most `max`.

    A wait that the endpoint asked for is honoured in full instead; one of no time asks for none.
    """

    max_retries: int = 5
    base: float = 1.0
    max: float = 30.0

    def decide(self, error: RequestError, spent: int, *, admitted_since: bool, jitter: float) -> Retry:
        """What follows from `error` for a row that has used up `spent` retries.

        `admitted_since`: the endpoint has answered some row since this one's last attempt, so a
        refusal now says nothing of the row and costs it nothing. `jitter` is in [0, 1).
        """
        if not error.is_retryable:
            return NO
        spends = not (error.is_overload and admitted_since)
        if spends and spent >= self.max_retries:
            return NO
        wait = error.retry_after or self.backoff(spent, jitter)
        return Retry("rate_limit" if error.is_overload else "transient", wait, spends)

    def backoff(self, spent: int, jitter: float) -> float:
        """The wait before retry number `spent` (from 0), in seconds."""
        # The exponent is bounded, so that a large max_retries cannot overflow a float.
        return min(self.base * 2 ** min(spent, 64), self.max) * jitter
