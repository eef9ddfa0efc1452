"""How many attempts may be in flight: additive increase, multiplicative decrease (AIMD)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import floor, inf

from asyncinfer.config import AdaptiveConcurrencyParams, RemoteParams

# So many windows in a row must agree before a backoff deepens, or ends.
_WINDOWS = 2
# Attempts that are accepted at a known limit before more are tried: at first, and at most.
_PATIENCE, _LONGEST_PATIENCE = 50, 800
# Seconds between two such tries, at least.
_BETWEEN_PROBES = 1.0
# Attempts above the known limit that raise it, if none is refused; and refusals below it that lower it.
_CLEAN, _DIRTY = 10, 3
# Attempts accepted at a new limit before it is trusted; two refusals below it show before that that it is wrong.
_TRUST = 100
# A limit that was lowered more often than raised, by more than this, explains nothing.
_MOST_LOWERED = 2
# Seconds of a window while permits are added.
_WARMUP_WINDOW = 0.25
# Seconds that a timer may be early.
_SLACK = 0.001


class Phase(StrEnum):
    """`WARMUP` adds permits window by window. `BACKOFF` keeps them after a cut. `RECOVERY` tries more again."""

    WARMUP = "warmup"
    BACKOFF = "backoff"
    RECOVERY = "recovery"


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
class AIMDController:
    """The number of permits.

    It follows the share of overloads among the attempts of a window. In WARMUP a window without any adds a step; the
    window needs no answer, so that slow answers do not delay the start. At `error_threshold` the permits are cut;
    a second cut, and RECOVERY, take two windows that agree. RECOVERY adds steps until the permits are what they were.

    `limit`: how many attempts in flight the endpoint accepts, where its refusals show that. The permits then stay
    at the limit, and now and then go above it for a moment, to notice when the endpoint takes more.
    """

    params: AdaptiveConcurrencyParams
    permits: int = field(init=False)
    phase: Phase = field(default=Phase.WARMUP, init=False)
    limit: int | None = field(default=None, init=False)
    tolerance: float = field(default=0.0, init=False)
    _good: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)
    _refused: int = field(default=0, init=False)
    _opened: float | None = field(default=None, init=False)
    _streak: int = field(default=0, init=False)
    _quiet: int = field(default=0, init=False)
    _patience: int = field(default=_PATIENCE, init=False)
    _accepted_above: int = field(default=0, init=False)
    _refused_above: int = field(default=0, init=False)
    _refused_below: int = field(default=0, init=False)
    _trusted: int = field(default=0, init=False)
    _lowered: int = field(default=0, init=False)
    _probe: int = field(default=1, init=False)
    _probed_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        low, high = self.params.min_concurrency, self.params.max_concurrency
        self.permits = floor(low + (high - low) * self.params.initial_concurrency_factor)

    @property
    def is_fixed(self) -> bool:
        return self.params.min_concurrency == self.params.max_concurrency

    def accepted(self, now: float, level: int) -> None:
        """The endpoint accepted an attempt that started while `level` others were in flight."""
        self._good += 1
        if self.limit is None:
            self.update(now)
        elif level >= self.limit:
            self._accepted_above += 1
            if self._accepted_above >= _CLEAN and not self._refused_above:
                self._raise_limit(now)
        else:
            self._quiet += 1
            self._trusted += 1
            if self._quiet >= self._patience and now - self._probed_at >= _BETWEEN_PROBES:
                self._probe_above(now)

    def refused(self, now: float, level: int) -> bool:
        """The endpoint refused an attempt that started while `level` others were in flight.

        Returns:
            Whether the known limit explains it.
        """
        if self.limit is None:
            self._refused += 1
            return False
        if level >= self.limit:
            self._refused_above += 1
            # Answers on their way make some attempts look as if they were above the limit.
            if self._refused_above > min(self._accepted_above, 2):
                self._back_to_limit(now)
        else:
            self._refused_below += 1
            if self._trusted < _TRUST and self._refused_below >= 2:
                self._forget_limit()
            elif self._refused_below >= _DIRTY:
                self._lower_limit(now)
        return True

    def overloaded(self, now: float) -> None:
        """An attempt timed out because the endpoint had too much to do."""
        self._bad += 1
        self.update(now)

    def found_limit(self, limit: int, now: float) -> None:
        """The endpoint accepts no more than `limit` attempts in flight."""
        self.limit = max(limit, self.params.min_concurrency)
        self.permits = min(self.limit, self.params.max_concurrency)
        self.phase = Phase.BACKOFF
        self._lowered = self._trusted = 0
        self._patience = _PATIENCE
        self._restart(now)

    def _forget_limit(self) -> None:
        self.limit, self.phase = None, Phase.WARMUP
        self._good = self._bad = self._refused = 0

    def update(self, now: float) -> None:
        """Close the window if its time has come."""
        if self.limit is not None or self.is_fixed:
            return
        if self._opened is None:
            self._opened = now
        seen = self._good + self._bad
        if self.phase is Phase.WARMUP and not self._bad:
            if now - self._opened >= _WARMUP_WINDOW * self.params.min_update_time - _SLACK:
                few = self._refused <= self.tolerance * (self._good + self._refused)
                self._next_window(now)
                if few:
                    self._grow()
            return
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

    def next_update(self, now: float) -> float:
        """Seconds until `update` may add permits without any news."""
        grows = self.phase is Phase.WARMUP and not self._bad and self.limit is None
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

    def _raise_limit(self, now: float) -> None:
        probe, self.limit = self._probe, self.permits
        if self.limit >= self.params.max_concurrency:
            self._forget_limit()
            return
        self._restart(now)
        self._lowered = max(0, self._lowered - 1)
        self._probe = min(2 * probe, self.params.concurrency_step)
        self._probe_above(now)

    def _lower_limit(self, now: float) -> None:
        assert self.limit is not None
        self._lowered += 1
        self.limit -= 1
        if self._lowered > _MOST_LOWERED or self.limit < self.params.min_concurrency:
            self._forget_limit()  # The refusals have another cause.
        else:
            self._back_to_limit(now)

    def _probe_above(self, now: float) -> None:
        assert self.limit is not None
        self.phase = Phase.RECOVERY
        self.permits = min(self.limit + self._probe, self.params.max_concurrency)

    def _back_to_limit(self, now: float) -> None:
        assert self.limit is not None
        if self.phase is Phase.RECOVERY:
            self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
        self.permits, self.phase = min(self.limit, self.params.max_concurrency), Phase.BACKOFF
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._quiet = self._accepted_above = self._refused_above = self._refused_below = 0
        self._probe, self._probed_at = 1, now
