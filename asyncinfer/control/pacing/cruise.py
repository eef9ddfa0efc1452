"""The mode CRUISE: follows the rate that the endpoint accepts, with a small share of refusals."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import (
    MEASURED_ATTEMPTS,
    MEASURED_SECONDS,
    SAFE_SHARE,
    CapacityEstimate,
)
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial, log_likelihood
from asyncinfer.control.pacing.noise import MAX_NOISE, Noise
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
# At less than this share of the best rate so far, the rate doubles: the endpoint may have had trouble that is over.
_FAR_BELOW, _RETURNING_STEP = 0.2, 1.0
# With a step larger than this, epochs are short while nothing is refused: the rate is still far too low.
_SHORT_EPOCH_STEP = 2 * _SMALLEST_STEP
# The attempts of an epoch without refusals while the step is large.
_FEW_GROWING = 5
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
# The attempts that are compared with the share of noise.
_NOISE_ATTEMPTS = 200
# The attempts after which doubtful noise is looked for at a lower rate.
_DOUBT_ATTEMPTS = 60
# Seconds from one probe to the next: at first, and once refusals are known to be load.
_PROBE_SECONDS, _RARE_PROBE_SECONDS = 1.0, 60.0
# Evidence, as a log likelihood ratio, that refusals are noise: 55 to 1.
_SURE = 4.0


class CruiseMode:
    """Judges the rate epoch by epoch: raises it when nearly nothing was refused, reduces it when more was.

    Now and then, when a few attempts are refused, a probe at a higher rate shows whether they are noise: noise stays
    the same at any rate, so OPEN is better then.
    """

    def __init__(self, capacity: CapacityEstimate, now: float, start: StartCruise, steady_until: float) -> None:
        self._capacity = capacity
        self._rate = start.rate
        self._step = _STEPS[start.confidence]
        if start.rate < _FAR_BELOW * capacity.best_rate:
            self._step = _RETURNING_STEP
        self._steady_until = steady_until
        self._alarm = ChangeDetector(capacity.refused_anyway.most)
        self._reductions = 0
        self._clean_epochs = 0
        # The attempts since the last probe; and while a probe runs, those before it.
        self._since_probe = Trial(now)
        self._before_probe: Trial | None = None
        self._for_noise = Trial(now)
        self._has_doubted = False

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if self._alarm.add(refused=refused) and self._before_probe is None:
            return self.overloaded(now, trial)
        if trial.count < _FEWEST_ATTEMPTS or now - trial.since < self._epoch_seconds(trial):
            return None
        if self._before_probe is not None:
            return self._judge_probe(now, trial, self._before_probe)
        return self._judge_epoch(now, trial)

    def overloaded(self, now: float, trial: Trial, *, is_flood: bool = False) -> Transition:
        """Clearly more attempts are refused than before; in a flood, nearly all of them."""
        if self._step == _RETURNING_STEP:
            self._capacity.best_rate = self._rate  # The earlier one is not reached any more.
        return self._capacity.overloaded(now, trial, self._since_probe, is_flood=is_flood)

    def _epoch_seconds(self, trial: Trial) -> float:
        attempts = _FEW_GROWING if self._step >= _STEPS[Confidence.LOW] else MEASURED_ATTEMPTS / 2
        if self._step > _SHORT_EPOCH_STEP and not trial.refused and trial.count >= attempts:
            return MEASURED_SECONDS
        return min(max(MEASURED_SECONDS, MEASURED_ATTEMPTS / self._rate), _LONGEST_EPOCH)

    def _judge_epoch(self, now: float, trial: Trial) -> Transition:
        found = self._capacity.evidence.noise(now, trial, self._capacity.noise + _HIGH)
        if found is not None:
            return StartOpen(found)
        self._check_noise(trial)
        noise = self._capacity.refused_anyway
        if noise.is_doubtful and self._for_noise.count >= _DOUBT_ATTEMPTS and not self._has_doubted:
            self._has_doubted = True
            return self._capacity.doubt(now, self._rate * (1 - self._for_noise.share), self._for_noise)
        excess = trial.share - self._capacity.noise
        rate = self._rate
        if self._capacity.evidence.is_safe(now, trial):
            self._step = max(self._step, _STEPS[Confidence.LOW])
            rate = self._raised(now)
        elif excess > self._high:
            self._reductions += 1
            if self._reductions > _REDUCTIONS:
                return self.overloaded(now, trial)
            rate *= 1 - min(excess, 1 - SAFE_SHARE)
            self._rate_is_reached(now)
        elif excess > self._low:
            self._reductions = 0
            rate *= 1 - (excess - self._low)
            self._rate_is_reached(now)
        elif now >= self._steady_until:
            self._reductions = 0
            rate = self._raised(now)
        if excess <= self._high and trial.sent < _BINDING * self._rate * (now - trial.since):
            return StartOpen(self._capacity.refused_anyway)
        self._since_probe.absorb(trial)
        if self._since_probe.refused and self._since_probe.count >= _PROBED_ATTEMPTS:
            self._capacity.refer(now, self._since_probe, self._since_probe)
        return self._next_epoch(now, rate)

    def _check_noise(self, trial: Trial) -> None:
        """Compare the latest attempts with the noise."""
        self._for_noise.absorb(trial)
        self._capacity.check_noise(self._for_noise)
        if self._for_noise.count >= _NOISE_ATTEMPTS:
            self._for_noise = Trial(trial.since)

    @property
    def _low(self) -> float:
        """The smallest share of refusals, noise not counted, at which the rate is right."""
        noise = self._capacity.refused_anyway
        return _LOW + noise.most - noise.share

    @property
    def _high(self) -> float:
        """The largest share of refusals, noise not counted, at which the rate is right."""
        return _HIGH + _NOISE_ERROR * self._capacity.noise

    def _rate_is_reached(self, now: float) -> None:
        """Load caused refusals, so the rate is about what the endpoint accepts."""
        self._step = _SMALLEST_STEP
        self._capacity.exhausted_at = now

    def _raised(self, now: float) -> float:
        self._capacity.best_rate = max(self._capacity.best_rate, self._rate)
        wanted = self._rate * (1 + self._step)
        rate = self._capacity.capped(wanted, now)
        known = self._capacity.evidence.accepted_rate(now)
        if known is not None and self._rate < known < rate:
            rate = known
        self._clean_epochs += 1
        if rate < wanted:
            self._step = _SMALLEST_STEP
            return max(rate, self._rate)
        # An epoch of few attempts proves less, so only every second one doubles the step.
        has_many = rate >= MEASURED_ATTEMPTS / MEASURED_SECONDS
        if has_many or self._clean_epochs % 2 == 0 or self._step >= _STEPS[Confidence.LOW]:
            is_returning = rate < _FAR_BELOW * self._capacity.best_rate
            self._step = _RETURNING_STEP if is_returning else min(2 * self._step, _LARGEST_STEP)
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
        self._alarm = ChangeDetector(self._capacity.refused_anyway.most)
        if not trial.refused:
            return self._continue(self._rate)  # There is room.
        share_under_load = 1 - (1 - before.share) / _PROBE_FACTOR
        evidence = log_likelihood(trial, before.share) - log_likelihood(trial, share_under_load)
        if trial.refused >= 2 and evidence >= _SURE:
            return StartOpen(Noise(before.accepted, before.refused))
        self._rate_is_reached(now)
        self._capacity.refusals_are_load = True
        return self._continue(self._rate / _PROBE_FACTOR)

    def _continue(self, rate: float) -> NewTrial:
        self._rate = rate
        return NewTrial(rate)
