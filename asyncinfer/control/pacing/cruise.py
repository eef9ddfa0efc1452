"""The mode CRUISE: follows the rate that the endpoint accepts, and aims at a small share of refusals."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import (
    MEASURED_ATTEMPTS,
    MEASURED_SECONDS,
    SAFE_SHARE,
    CapacityEstimate,
)
from asyncinfer.control.pacing.evidence import PROBE_EVIDENCE, AttemptCounts, ChangeDetector, log_likelihood
from asyncinfer.control.pacing.noise import MAX_NOISE, Noise
from asyncinfer.control.pacing.transitions import Confidence, SetRate, StartCruise, StartOpen, Transition

# The share of refusals to aim at, noise not counted. If it is smaller, the endpoint may accept more. If it is larger,
# the rate is too high.
_LOW, _HIGH = 0.01, 0.04
# The error of the known share of noise, relative to that share.
_NOISE_ERROR = 0.5
# The longest epoch in seconds, and the fewest attempts in one.
_LONGEST_EPOCH, _FEWEST_ATTEMPTS = 20.0, 4
# How much the rate grows after an epoch without refusals, by how certain the rate is. Steps double, up to the largest.
_STEPS = {Confidence.HIGH: 0.02, Confidence.MEDIUM: 0.08, Confidence.LOW: 0.25}
_SMALLEST_STEP, _LARGEST_STEP = _STEPS[Confidence.HIGH], 0.5
# Below this share of the best rate so far, the rate doubles: the endpoint may have had trouble that is over.
_FAR_BELOW, _RETURNING_STEP = 0.2, 1.0
# With a step larger than this, epochs are short while nothing is refused: the rate is still far too low.
_SHORT_EPOCH_STEP = 2 * _SMALLEST_STEP
# The attempts in an epoch without refusals while the step is large.
_FEW_GROWING = 5
# The most reductions in a row. If they are not enough, the capacity has dropped, and a TRIAL finds the new rate.
_REDUCTIONS = 2
# At least this share of the rate must be sent to judge it. If less is sent, something else limits the attempts.
_BINDING = 0.7
# The attempts in a rate probe, and its rate relative to the present one.
_PROBE_ATTEMPTS, _PROBE_FACTOR = 60, 1.25
# A rate probe is useful after `_PROBED_ATTEMPTS` attempts, if the share of refusals, noise not counted, is between
# `_PROBED_LOW` and `_PROBED_HIGH`.
_PROBED_ATTEMPTS, _PROBED_LOW, _PROBED_HIGH = 30, _LOW / 2, 2 * _HIGH
# A rate probe ends early after this number of attempts if most of them are refused.
_REFUSED_PROBE_ATTEMPTS = 30
# How many attempts are compared with the share of noise at a time.
_NOISE_ATTEMPTS = 200
# The number of attempts after which doubtful noise is checked at a lower rate.
_RECHECK_ATTEMPTS = 60
# Seconds between two rate probes: at first, and once refusals are known to be load.
_PROBE_SECONDS, _RARE_PROBE_SECONDS = 1.0, 60.0


class CruiseMode:
    """Judges the rate epoch by epoch: raises it if nearly nothing was refused, and reduces it if more was refused.

    If a few attempts are refused, a rate probe at a higher rate shows, from time to time, whether these refusals are
    noise. Noise is the same at any rate, so OPEN is better then.
    """

    def __init__(self, capacity: CapacityEstimate, now: float, start: StartCruise, steady_until: float) -> None:
        self._capacity = capacity
        self._rate = start.rate
        self._step = _STEPS[start.confidence]
        if start.rate < _FAR_BELOW * capacity.best_rate:
            self._step = _RETURNING_STEP
        self._steady_until = steady_until
        self._alarm = ChangeDetector(capacity.noise.most)
        self._reductions = 0
        self._epochs_without_refusals = 0
        # The attempts since the last rate probe; and while one runs, those before it.
        self._since_probe = AttemptCounts(now)
        self._before_probe: AttemptCounts | None = None
        self._for_noise = AttemptCounts(now)
        self._has_rechecked = False

    def sample(self, now: float, counts: AttemptCounts, *, refused: bool) -> Transition | None:
        """Judge an attempt. `counts` includes it."""
        if self._alarm.add(refused=refused) and self._before_probe is None:
            return self.start_trial(now, counts)
        if counts.total < _FEWEST_ATTEMPTS or now - counts.since < self._epoch_seconds(counts):
            return None
        if self._before_probe is not None:
            return self._judge_probe(now, counts, self._before_probe)
        return self._judge_epoch(now, counts)

    def start_trial(self, now: float, counts: AttemptCounts, *, is_flood: bool = False) -> Transition:
        """Clearly more attempts are refused than before. `is_flood`: nearly all of them are refused."""
        if self._step == _RETURNING_STEP:
            self._capacity.best_rate = self._rate  # The endpoint no longer accepts the earlier one.
        return self._capacity.start_trial(now, counts, self._since_probe, is_flood=is_flood)

    def _epoch_seconds(self, counts: AttemptCounts) -> float:
        attempts = _FEW_GROWING if self._step >= _STEPS[Confidence.LOW] else MEASURED_ATTEMPTS / 2
        if self._step > _SHORT_EPOCH_STEP and not counts.refused and counts.total >= attempts:
            return MEASURED_SECONDS
        return min(max(MEASURED_SECONDS, MEASURED_ATTEMPTS / self._rate), _LONGEST_EPOCH)

    def _judge_epoch(self, now: float, counts: AttemptCounts) -> Transition:
        found = self._capacity.evidence.find_noise(now, counts, self._capacity.noise.share + _HIGH)
        if found is not None:
            return StartOpen(found)
        self._check_noise(counts)
        noise = self._capacity.noise
        if noise.is_doubtful and self._for_noise.total >= _RECHECK_ATTEMPTS and not self._has_rechecked:
            self._has_rechecked = True
            return self._capacity.recheck_noise(now, self._rate * (1 - self._for_noise.share), self._for_noise)
        excess = counts.share - self._capacity.noise.share
        rate = self._rate
        if self._capacity.evidence.is_safe(now, counts):
            self._step = max(self._step, _STEPS[Confidence.LOW])
            rate = self._raised(now)
        elif excess > self._high:
            self._reductions += 1
            if self._reductions > _REDUCTIONS:
                return self.start_trial(now, counts)
            rate *= 1 - min(excess, 1 - SAFE_SHARE)
            self._rate_is_reached(now)
        elif excess > self._low:
            self._reductions = 0
            rate *= 1 - (excess - self._low)
            self._rate_is_reached(now)
        elif now >= self._steady_until:
            self._reductions = 0
            rate = self._raised(now)
        if excess <= self._high and counts.sent < _BINDING * self._rate * (now - counts.since):
            return StartOpen(self._capacity.noise)
        self._since_probe.absorb(counts)
        if self._since_probe.refused and self._since_probe.total >= _PROBED_ATTEMPTS:
            self._capacity.note_reference(now, self._since_probe, self._since_probe)
        return self._next_epoch(now, rate)

    def _check_noise(self, counts: AttemptCounts) -> None:
        """Compare the latest attempts with the noise."""
        self._for_noise.absorb(counts)
        self._capacity.check_noise(self._for_noise)
        if self._for_noise.total >= _NOISE_ATTEMPTS:
            self._for_noise = AttemptCounts(counts.since)

    @property
    def _low(self) -> float:
        """The smallest share of refusals, noise not counted, at which the rate is right."""
        noise = self._capacity.noise
        return _LOW + noise.most - noise.share

    @property
    def _high(self) -> float:
        """The largest share of refusals, noise not counted, at which the rate is right."""
        return _HIGH + _NOISE_ERROR * self._capacity.noise.share

    def _rate_is_reached(self, now: float) -> None:
        """Load caused refusals, so the endpoint accepts about this rate."""
        self._step = _SMALLEST_STEP
        self._capacity.exhausted_at = now

    def _raised(self, now: float) -> float:
        self._capacity.best_rate = max(self._capacity.best_rate, self._rate)
        wanted = self._rate * (1 + self._step)
        rate = self._capacity.capped(wanted, now)
        known = self._capacity.evidence.accepted_rate(now)
        if known is not None and self._rate < known < rate:
            rate = known
        self._epochs_without_refusals += 1
        if rate < wanted:
            self._step = _SMALLEST_STEP
            return max(rate, self._rate)
        # An epoch with few attempts proves less, so only every second one doubles the step.
        has_many = rate >= MEASURED_ATTEMPTS / MEASURED_SECONDS
        if has_many or self._epochs_without_refusals % 2 == 0 or self._step >= _STEPS[Confidence.LOW]:
            is_returning = rate < _FAR_BELOW * self._capacity.best_rate
            self._step = _RETURNING_STEP if is_returning else min(2 * self._step, _LARGEST_STEP)
        return rate

    def _next_epoch(self, now: float, rate: float) -> SetRate:
        interval = _RARE_PROBE_SECONDS if self._capacity.refusals_are_load else _PROBE_SECONDS
        if now - self._since_probe.since >= interval:
            if self._needs_probe(self._since_probe):
                self._before_probe = self._since_probe
                rate *= _PROBE_FACTOR
            self._since_probe = AttemptCounts(now)
        return self._continue(rate)

    def _needs_probe(self, counts: AttemptCounts) -> bool:
        """Whether a few attempts were refused, and it is not known whether the reason is noise or load."""
        noise = self._capacity.noise.share
        is_few = _PROBED_LOW < counts.share - noise < _PROBED_HIGH + _NOISE_ERROR * noise
        return is_few and counts.total >= _PROBED_ATTEMPTS

    def _judge_probe(self, now: float, counts: AttemptCounts, before: AttemptCounts) -> Transition | None:
        """Compare the refusals of a rate probe with those before it, once the probe has enough attempts."""
        is_mostly_refused = counts.share >= MAX_NOISE and counts.total >= _REFUSED_PROBE_ATTEMPTS
        is_over = counts.total >= _PROBE_ATTEMPTS and now - counts.since >= 2 * MEASURED_SECONDS
        if not is_mostly_refused and not is_over:
            return None
        self._before_probe, self._since_probe = None, AttemptCounts(now)
        self._alarm = ChangeDetector(self._capacity.noise.most)
        if not counts.refused:
            return self._continue(self._rate)  # The endpoint accepts more.
        share_under_load = 1 - (1 - before.share) / _PROBE_FACTOR
        evidence = log_likelihood(counts, before.share) - log_likelihood(counts, share_under_load)
        if counts.refused >= 2 and evidence >= PROBE_EVIDENCE:
            return StartOpen(Noise(before.accepted, before.refused))
        self._rate_is_reached(now)
        self._capacity.refusals_are_load = True
        return self._continue(self._rate / _PROBE_FACTOR)

    def _continue(self, rate: float) -> SetRate:
        self._rate = rate
        return SetRate(rate)
