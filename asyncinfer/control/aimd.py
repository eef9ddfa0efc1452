"""How many attempts may be in flight: additive increase, multiplicative decrease (AIMD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import floor, inf

from asyncinfer.config import AdaptiveConcurrencyParams, RemoteParams
from asyncinfer.control.in_flight_limit import InFlightLimit
from asyncinfer.errors import ConfigError

# The windows in a row that must agree before a backoff deepens, or ends.
_WINDOWS = 2
# The length of a window in WARMUP, relative to `min_update_time`: nothing has to be measured, so it is short.
_WARMUP_WINDOW = 0.25
# Seconds that a timer may be early.
_SLACK = 0.001


class Phase(StrEnum):
    """`WARMUP` adds permits window by window. `BACKOFF` keeps them after a cut. `RECOVERY` tries more again."""

    WARMUP = "warmup"
    BACKOFF = "backoff"
    RECOVERY = "recovery"


def adaptive_params(remote: RemoteParams) -> AdaptiveConcurrencyParams:
    """The settings for an endpoint: `remote.adaptive`, or from half of `num_workers` in steps of an eighth.

    Raises:
        ConfigError: `remote.adaptive` does not go together with `num_workers`.
    """
    if problem := remote.concurrency_problem():
        raise ConfigError(f"remote_params.{problem}")
    most = remote.num_workers
    if remote.adaptive is not None:
        return _with_default_bounds(remote.adaptive, most)
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


def fixed_params(permits: int) -> AdaptiveConcurrencyParams:
    """The settings under which the number of permits stays what it is."""
    return AdaptiveConcurrencyParams(min_concurrency=permits, max_concurrency=permits, concurrency_step=1)


@dataclass(slots=True)
class AIMDController:
    """The number of permits.

    It follows the share of overloads among the attempts of a window. In WARMUP a window with few adds a step; the
    window needs no answer, so that slow answers do not delay the start. At `error_threshold` the permits are cut;
    a second cut, and RECOVERY, take two windows that agree. RECOVERY adds steps up to `max_concurrency`.

    If the endpoint's refusals show how many attempts in flight it accepts, the permits follow that limit instead.

    Attributes:
        permits: How many attempts may be in flight.
        phase: What the controller does with them.
        tolerance: The share of refusals with which WARMUP still adds permits.
    """

    params: AdaptiveConcurrencyParams
    permits: int = field(init=False)
    phase: Phase = field(default=Phase.WARMUP, init=False)
    tolerance: float = field(default=0.0, init=False)
    _good: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _opened: float | None = field(default=None, init=False)
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
        self._good += 1
        if self._limit is None:
            self.update(now)
        else:
            self._limit.accepted(now, level)
            self._follow(self._limit)

    def refused(self, now: float, level: int) -> bool:
        """The endpoint refused an attempt that started while `level` others were in flight.

        Returns:
            Whether the known limit explains it.
        """
        if self._limit is None:
            self._refused += 1
            return False
        is_explained = level >= self._limit.value
        self._limit.refused(now, level)
        self._follow(self._limit)
        return is_explained

    def overloaded(self, now: float) -> None:
        """An attempt timed out because the endpoint had too much to do."""
        self._bad += 1
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
            self._good = self._bad = self._refused = 0

    def update(self, now: float) -> None:
        """Close the window if its time has come."""
        if self._limit is not None or self.is_fixed:
            return
        if self._opened is None:
            self._opened = now
        if self.phase is Phase.WARMUP and not self._bad:
            self._warm_up(now, now - self._opened)
            return
        seen = self._good + self._bad
        if seen < self.params.min_window_size or now - self._opened < self.params.min_update_time:
            return
        rate = self._bad / seen
        self._next_window(now)
        if self.phase is Phase.BACKOFF:
            self._back_off(rate)
        elif rate >= self.params.error_threshold:
            self._cut()
        else:
            self._grow()

    def _warm_up(self, now: float, elapsed: float) -> None:
        if elapsed < _WARMUP_WINDOW * self.params.min_update_time - _SLACK:
            return
        few_refused = self._refused <= self.tolerance * (self._good + self._refused)
        self._next_window(now)
        if few_refused:
            self._grow()

    def next_update(self, now: float) -> float:
        """Seconds until `update` may add permits without any news."""
        grows = self.phase is Phase.WARMUP and not self._bad and self._limit is None
        if not grows or self.permits >= self.params.max_concurrency:
            return inf
        opened = self._opened if self._opened is not None else now
        return max(0.0, opened + _WARMUP_WINDOW * self.params.min_update_time - now)

    def _next_window(self, now: float) -> None:
        self._good = self._bad = self._refused = 0
        self._opened = now

    def _grow(self) -> None:
        self.permits = min(self.permits + self.params.concurrency_step, self.params.max_concurrency)
        if self.permits == self.params.max_concurrency:
            self.phase = Phase.WARMUP

    def _back_off(self, rate: float) -> None:
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
            self.phase, self._streak = Phase.RECOVERY, 0
            self._grow()

    def _cut(self) -> None:
        self.permits = max(floor(self.permits * min(self.params.backoff_factor, 1.0)), self.params.min_concurrency)
        self.phase, self._streak = Phase.BACKOFF, 0
