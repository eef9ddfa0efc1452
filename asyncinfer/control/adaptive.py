"""How many attempts may be in flight: additive increase, multiplicative decrease (AIMD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import floor

from asyncinfer.config import AdaptiveConcurrencyParams, RemoteParams

# So many windows in a row must agree before a backoff deepens, or ends.
_WINDOWS = 2


class Phase(StrEnum):
    """`WARMUP` adds permits window by window; `BACKOFF` waits for good windows after a cut."""

    WARMUP = "warmup"
    BACKOFF = "backoff"


def adaptive_params(remote: RemoteParams) -> AdaptiveConcurrencyParams:
    """The controller's settings for an endpoint: from half of `num_workers`, in steps of an eighth."""
    most = remote.num_workers
    return AdaptiveConcurrencyParams(
        min_concurrency=1,
        max_concurrency=most,
        concurrency_step=max(1, (most - 1) // 8),
        min_update_time=max(1.0, remote.politeness_policy),
    )


def fixed_params(permits: int) -> AdaptiveConcurrencyParams:
    """The settings under which the number of permits stays what it is."""
    return AdaptiveConcurrencyParams(min_concurrency=permits, max_concurrency=permits, concurrency_step=1)


@dataclass(slots=True)
class Aimd:
    """Permits that follow the share of overloads among the outcomes, one window of them at a time.

    A window closes once it has `min_window_size` outcomes and `min_update_time` seconds have passed since
    the last. At `error_threshold` the permits are cut at once; a second cut, and the end of the backoff,
    want two windows in a row. Between the thresholds nothing changes.
    """

    params: AdaptiveConcurrencyParams
    permits: int = field(init=False)
    phase: Phase = field(default=Phase.WARMUP, init=False)
    _good: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)
    _opened: float | None = field(default=None, init=False)
    _streak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        low, high = self.params.min_concurrency, self.params.max_concurrency
        self.permits = floor(low + (high - low) * self.params.initial_concurrency_factor)

    def answered(self, now: float) -> None:
        """An attempt came through."""
        self._good += 1
        self._close(now)

    def overloaded(self, now: float) -> None:
        """An attempt was refused, or timed out, because the endpoint had too much to do."""
        self._bad += 1
        self._close(now)

    def _close(self, now: float) -> None:
        if self._opened is None:
            self._opened = now
        seen = self._good + self._bad
        if seen < self.params.min_window_size or now - self._opened < self.params.min_update_time:
            return
        rate = self._bad / seen
        self._good = self._bad = 0
        self._opened = now
        if self.phase is Phase.WARMUP:
            self._warm_up(rate)
        else:
            self._recover(rate)

    def _warm_up(self, rate: float) -> None:
        if rate >= self.params.error_threshold:
            self._cut()
        else:
            self.permits = min(self.permits + self.params.concurrency_step, self.params.max_concurrency)

    def _recover(self, rate: float) -> None:
        """Count windows that agree: up for good ones, down for bad ones."""
        if rate <= self.params.recovery_threshold:
            self._streak = max(self._streak, 0) + 1
        elif rate >= self.params.error_threshold:
            self._streak = min(self._streak, 0) - 1
        else:
            self._streak = 0
        if self._streak <= -_WINDOWS:
            self._cut()
        elif self._streak >= _WINDOWS:
            self.phase, self._streak = Phase.WARMUP, 0
            self._warm_up(rate)

    def _cut(self) -> None:
        self.permits = max(floor(self.permits * min(self.params.backoff_factor, 1.0)), self.params.min_concurrency)
        self.phase, self._streak = Phase.BACKOFF, 0
