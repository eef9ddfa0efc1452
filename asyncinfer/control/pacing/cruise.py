"""The mode CRUISE: follows the rate that the endpoint accepts, with a small share of refusals."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import (
    MAX_NOISE,
    MEASURED_ATTEMPTS,
    MEASURED_SECONDS,
    SAFE_SHARE,
    CapacityEstimate,
)
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial, log_likelihood
from asyncinfer.control.pacing.transitions import Confidence, NewTrial, StartCruise, StartOpen, Transition

# The share of refusals to aim at, noise not counted. With fewer there may be room; with more the rate is too high.
_LOW, _HIGH = 0.01, 0.04
# The error of the known share of noise, relative to that share.
_NOISE_ERROR = 0.5
# The longest epoch in seconds, and the fewest attempts in one.
_LONGEST_EPOCH, _FEWEST_ATTEMPTS = 20.0, 4
# Growth in an epoch without refusals, by how well the rate is known. Steps double, up to the largest.
_STEPS = {Confidence.HIGH: 0.02, Confidence.MEDIUM: 0.08, Confidence.LOW: 0.25}
_SMALLEST_STEP, _LARGEST_STEP = _STEPS[Confidence.HIGH], 0.5
# With a step larger than this, epochs are short while nothing is refused: the rate is still far too low.
_SHORT_EPOCH_STEP = 2 * _SMALLEST_STEP
# The most reductions in a row. If they do not suffice, the capacity has dropped, and a TEST finds the new one.
_REDUCTIONS = 2
# The share of the rate that must be sent to judge it. With less, something else limits the attempts.
_BINDING = 0.7
# The attempts of a probe, and its rate relative to the current one.
_PROBE_ATTEMPTS, _PROBE_FACTOR = 60, 1.25
# What makes a probe useful: the attempts before it, and the lowest and highest share of refusals, noise not counted.
_PROBED_ATTEMPTS, _PROBED_LOW, _PROBED_HIGH = 30, _LOW / 2, 2 * _HIGH
# The attempts of a probe of which most are refused.
_REFUSED_PROBE_ATTEMPTS = 30
# Seconds from one probe to the next: at first, and once refusals are known to be load.
_PROBE_SECONDS, _RARE_PROBE_SECONDS = 3.0, 60.0
# Evidence, as a log likelihood ratio, that refusals are noise: 55 to 1.
_SURE = 4.0


class CruiseMode:
    """Judges the rate epoch by epoch: raises it when nothing was refused, reduces it when many attempts were.

    Now and then, when a few attempts are refused, a probe at a higher rate shows whether they are noise: noise stays
    the same at any rate, so OPEN is better then.
    """

    def __init__(self, capacity: CapacityEstimate, now: float, start: StartCruise, steady_until: float) -> None:
        self._capacity = capacity
        self._rate = start.rate
        self._step = _STEPS[start.confidence]
        self._steady_until = steady_until
        self._alarm = ChangeDetector(capacity.noise)
        self._reductions = 0
        self._clean_epochs = 0
        # The attempts since the last probe; and while a probe runs, those before it.
        self._since_probe = Trial(now)
        self._before_probe: Trial | None = None

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if self._alarm.add(refused=refused) and self._before_probe is None:
            return self._capacity.overloaded(now, trial)
        if trial.count < _FEWEST_ATTEMPTS or now - trial.since < self._epoch_seconds(trial):
            return None
        if self._before_probe is not None:
            return self._judge_probe(now, trial, self._before_probe)
        return self._judge_epoch(now, trial)

    def _epoch_seconds(self, trial: Trial) -> float:
        grows = self._step > _SHORT_EPOCH_STEP and not trial.refused and trial.count >= MEASURED_ATTEMPTS / 2
        if grows:
            return MEASURED_SECONDS
        return min(max(MEASURED_SECONDS, MEASURED_ATTEMPTS / self._rate), _LONGEST_EPOCH)

    def _judge_epoch(self, now: float, trial: Trial) -> Transition:
        self._since_probe.absorb(trial)
        excess = trial.share - self._capacity.noise
        rate = self._rate
        if excess > self._high:
            self._reductions += 1
            if self._reductions > _REDUCTIONS:
                return self._capacity.overloaded(now, trial)
            rate *= 1 - min(excess, 1 - SAFE_SHARE)
            self._rate_is_reached(now)
        elif excess > _LOW:
            self._reductions = 0
            self._rate_is_reached(now)
        elif now >= self._steady_until:
            self._reductions = 0
            rate = self._raised(now)
        if excess <= self._high and trial.sent < _BINDING * self._rate * (now - trial.since):
            return StartOpen(self._capacity.noise)
        return self._next_epoch(now, rate)

    @property
    def _high(self) -> float:
        """The largest share of refusals, noise not counted, at which the rate is right."""
        return _HIGH + _NOISE_ERROR * self._capacity.noise

    def _rate_is_reached(self, now: float) -> None:
        """Load caused refusals, so the rate is about what the endpoint accepts."""
        self._step = _SMALLEST_STEP
        self._capacity.exhausted_at = now

    def _raised(self, now: float) -> float:
        rate = max(self._rate, self._capacity.capped(self._rate * (1 + self._step), now))
        self._clean_epochs += 1
        # An epoch of few attempts proves less, so only every second one doubles the step.
        has_many = rate >= MEASURED_ATTEMPTS / MEASURED_SECONDS
        if has_many or self._clean_epochs % 2 == 0 or self._step >= _STEPS[Confidence.LOW]:
            self._step = min(2 * self._step, _LARGEST_STEP)
        return rate

    def _next_epoch(self, now: float, rate: float) -> NewTrial:
        interval = _RARE_PROBE_SECONDS if self._capacity.refusals_are_load else _PROBE_SECONDS
        if now - self._since_probe.since >= interval:
            if self._needs_probe(self._since_probe):
                self._before_probe = self._since_probe
                rate *= _PROBE_FACTOR
            self._since_probe = Trial(now)
        return self._continue(rate)

    def _needs_probe(self, trial: Trial) -> bool:
        """Whether there were a few refusals that may be noise or load."""
        noise = self._capacity.noise
        is_few = _PROBED_LOW < trial.share - noise < _PROBED_HIGH + _NOISE_ERROR * noise
        return is_few and trial.count >= _PROBED_ATTEMPTS

    def _judge_probe(self, now: float, trial: Trial, before: Trial) -> Transition | None:
        """Compare the refusals of a probe with those before it, once it had enough attempts."""
        is_mostly_refused = trial.share >= MAX_NOISE and trial.count >= _REFUSED_PROBE_ATTEMPTS
        is_over = trial.count >= _PROBE_ATTEMPTS and now - trial.since >= 2 * MEASURED_SECONDS
        if not is_mostly_refused and not is_over:
            return None
        self._before_probe, self._since_probe = None, Trial(now)
        if not trial.refused:
            return self._continue(self._rate)  # There is room.
        share_under_load = 1 - (1 - before.share) / _PROBE_FACTOR
        if trial.refused >= 2 and log_likelihood(trial, before.share, share_under_load) <= -_SURE:
            return StartOpen(before.share)
        self._rate_is_reached(now)
        self._capacity.refusals_are_load = True
        return self._continue(self._rate / _PROBE_FACTOR)

    def _continue(self, rate: float) -> NewTrial:
        self._rate = rate
        return NewTrial(rate)
