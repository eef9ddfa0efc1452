"""Sets the number of permits: additive increase, multiplicative decrease (AIMD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import floor, inf

from asyncinfer.config import AdaptiveConcurrencyParams, RemoteParams
from asyncinfer.control.in_flight_limit import InFlightLimit
from asyncinfer.errors import ConfigError

# How many bad windows in a row make BACKOFF cut the permits again, and how many good windows in a row end it.
_WINDOWS = 2
# The length of a window in WARMUP, relative to `min_update_time`. It is short, because nothing has to be measured.
_WARMUP_WINDOW = 0.25
# How many seconds early a timer may be.
_TIMER_ERROR = 0.001


class Phase(StrEnum):
    """`WARMUP` adds permits in each window. `BACKOFF` keeps their number after a cut. `RECOVERY` adds permits again."""

    WARMUP = "warmup"
    BACKOFF = "backoff"
    RECOVERY = "recovery"


def adaptive_params(remote: RemoteParams, limit: int | None = None) -> AdaptiveConcurrencyParams:
    """The settings for an endpoint.

    They are `remote.adaptive`. If that is None, permits start at half of `num_workers`, and grow in steps of an eighth.

    Args:
        limit: The largest number of permits, if it is less than `num_workers`.

    Raises:
        ConfigError: `remote.adaptive` contradicts `num_workers`.
    """
    if problem := remote.concurrency_problem():
        raise ConfigError(f"remote_params.{problem}")
    most = remote.num_workers if limit is None else min(limit, remote.num_workers)
    if remote.adaptive is not None:
        return _at_most(_with_default_bounds(remote.adaptive, most), most)
    return AdaptiveConcurrencyParams(
        min_concurrency=1,
        max_concurrency=most,
        concurrency_step=max(1, (most - 1) // 8),
        min_update_time=max(1.0, remote.politeness_policy),
    )


def _with_default_bounds(params: AdaptiveConcurrencyParams, workers: int) -> AdaptiveConcurrencyParams:
    """The settings with bounds that suit the number of workers, if the bounds are not set."""
    bounds = {
        "min_concurrency": min(params.min_concurrency, max(1, workers // 2)),
        "max_concurrency": min(params.max_concurrency, workers),
    }
    unset = {name: bound for name, bound in bounds.items() if name not in params.model_fields_set}
    return params.model_copy(update=unset) if unset else params


def _at_most(params: AdaptiveConcurrencyParams, most: int) -> AdaptiveConcurrencyParams:
    """The settings with bounds of at most `most`."""
    if params.max_concurrency <= most:
        return params
    bounds = {"max_concurrency": most, "min_concurrency": min(params.min_concurrency, most)}
    return params.model_copy(update=bounds)


def fixed_params(permits: int) -> AdaptiveConcurrencyParams:
    """The settings under which the number of permits never changes."""
    return AdaptiveConcurrencyParams(min_concurrency=permits, max_concurrency=permits, concurrency_step=1)


@dataclass(slots=True)
class AIMDController:
    """Sets the number of permits window by window.

    WARMUP adds a step after each window in which few attempts were refused and none timed out. It does not wait for
    answers, so that slow answers do not delay the start. If the share of timeouts in a window reaches
    `error_threshold`, the window is bad: the permits are cut, and BACKOFF begins. After two more bad windows in a row,
    the permits are cut again. After two good windows in a row, with a share of at most `recovery_threshold`, RECOVERY
    begins and adds steps up to `max_concurrency`.

    If the endpoint's refusals show how many attempts in flight it accepts, the permits follow that limit instead.

    Attributes:
        permits: How many attempts may be in flight.
        phase: How the number changes now.
        tolerance: The largest share of refusals with which WARMUP adds permits.
    """

    params: AdaptiveConcurrencyParams
    permits: int = field(init=False)
    phase: Phase = field(default=Phase.WARMUP, init=False)
    tolerance: float = field(default=0.0, init=False)
    _accepted: int = field(default=0, init=False)
    _timeouts: int = field(default=0, init=False)
    _refusals: int = field(default=0, init=False)
    _window_start: float | None = field(default=None, init=False)
    _streak: int = field(default=0, init=False)
    _limit: InFlightLimit | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        low, high = self.params.min_concurrency, self.params.max_concurrency
        self.permits = floor(low + (high - low) * self.params.initial_concurrency_factor)

    @property
    def limit(self) -> int | None:
        """How many attempts in flight the endpoint accepts; None if that is unknown."""
        return self._limit.value if self._limit is not None else None

    @property
    def is_fixed(self) -> bool:
        return self.params.min_concurrency == self.params.max_concurrency

    def accepted(self, now: float, level: int) -> None:
        """The endpoint accepted an attempt that started while `level` others were in flight."""
        self._accepted += 1
        if self._limit is None:
            self.update(now)
        else:
            self._limit.accepted(now, level)
            self._follow(self._limit)

    def refused(self, now: float, level: int) -> bool:
        """The endpoint refused an attempt that started while `level` others were in flight.

        Returns:
            Whether the known limit on attempts in flight explains the refusal.
        """
        if self._limit is None:
            self._refusals += 1
            return False
        is_explained = level >= self._limit.value
        self._limit.refused(now, level)
        self._follow(self._limit)
        return is_explained

    def timed_out(self, now: float) -> None:
        """An attempt timed out while others were in flight."""
        self._timeouts += 1
        self.update(now)

    def found_limit(self, limit: int, now: float) -> None:
        """The endpoint accepts no more than `limit` attempts in flight."""
        self._limit = InFlightLimit(limit, self.params, now)
        self._follow(self._limit)

    def _follow(self, limit: InFlightLimit) -> None:
        self.permits = limit.permits
        self.phase = Phase.RECOVERY if limit.is_probing else Phase.BACKOFF
        if limit.is_over:
            self._limit, self.phase = None, Phase.WARMUP
            self._accepted = self._timeouts = self._refusals = 0

    def update(self, now: float) -> None:
        """Judge the window if it is long enough, and begin the next one."""
        if self._limit is not None or self.is_fixed:
            return
        if self._window_start is None:
            self._window_start = now
        if self.phase is Phase.WARMUP and not self._timeouts:
            self._warm_up(now, now - self._window_start)
            return
        seen = self._accepted + self._timeouts
        if seen < self.params.min_window_size or now - self._window_start < self.params.min_update_time:
            return
        share = self._timeouts / seen
        self._start_window(now)
        if self.phase is Phase.BACKOFF:
            self._back_off(share)
        elif share >= self.params.error_threshold:
            self._cut()
        else:
            self._grow()

    def _warm_up(self, now: float, elapsed: float) -> None:
        if elapsed < _WARMUP_WINDOW * self.params.min_update_time - _TIMER_ERROR:
            return
        few_refused = self._refusals <= self.tolerance * (self._accepted + self._refusals)
        self._start_window(now)
        if few_refused:
            self._grow()

    def next_update(self, now: float) -> float:
        """Seconds until `update` may add permits even if nothing else happens."""
        is_growing = self.phase is Phase.WARMUP and not self._timeouts and self._limit is None
        if not is_growing or self.permits >= self.params.max_concurrency:
            return inf
        start = self._window_start if self._window_start is not None else now
        return max(0.0, start + _WARMUP_WINDOW * self.params.min_update_time - now)

    def _start_window(self, now: float) -> None:
        self._accepted = self._timeouts = self._refusals = 0
        self._window_start = now

    def _grow(self) -> None:
        self.permits = min(self.permits + self.params.concurrency_step, self.params.max_concurrency)
        if self.permits == self.params.max_concurrency:
            self.phase = Phase.WARMUP

    def _back_off(self, share: float) -> None:
        """Judge a window in BACKOFF. `_streak` counts good windows in a row up from 0, and bad windows down."""
        if share <= self.params.recovery_threshold:
            self._streak = max(self._streak, 0) + 1
        elif share >= self.params.error_threshold:
            self._streak = min(self._streak, 0) - 1
        else:
            self._streak = 0
        if self._streak <= -_WINDOWS:
            self._cut()
        elif self._streak >= _WINDOWS:
            self.phase, self._streak = Phase.RECOVERY, 0
            self._grow()

    def _cut(self) -> None:
        self.permits = max(floor(self.permits * min(self.params.backoff_factor, 1.0)), self.params.min_concurrency)
        self.phase, self._streak = Phase.BACKOFF, 0
