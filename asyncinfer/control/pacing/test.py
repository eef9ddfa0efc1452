"""The mode TEST: finds out at a low rate whether refusals come from load or are noise."""

from __future__ import annotations

from math import ceil

from asyncinfer.control.pacing.capacity import SAFE_SHARE, SMALL_BURST, CapacityEstimate
from asyncinfer.control.pacing.evidence import Trial, log_likelihood, log_likelihood_after
from asyncinfer.control.pacing.noise import MAX_NOISE, NO_LOAD
from asyncinfer.control.pacing.transitions import (
    Confidence,
    StartClosed,
    StartCruise,
    StartOpen,
    StartTest,
    Transition,
)

# The seconds and attempts of a test whose evidence is not clear, and its most attempts.
_SECONDS, _ATTEMPTS, _MOST_ATTEMPTS = 3.0, 30, 400
# The fewest attempts with which a test passes, with which it fails, and with which it fails clearly.
_PASSES, _FAILS, _FAILS_CLEARLY = 5, 30, 10
# The least share of refusals, noise not counted, that load causes at too high a rate.
_LOAD = 0.06
# The share of refusals of a test that fails clearly: more than noise makes among so few attempts.
_CLEARLY = 0.7
# Evidence, as a log likelihood ratio, that ends a test early: 30 to 1 for few refusals, 55 to 1 for many.
_FEW, _MANY = -3.4, 4.0
# The refusals, without any accepted attempt, that show that the endpoint is closed; and how unlikely, as a logarithm,
# noise must make them.
_CLOSING, _NOT_NOISE = 4, -6.0


class LowRateTest:
    """One test at one rate.

    If refusals become few, they came from load, and the rate is right for CRUISE. If they stay as frequent as at a
    clearly higher rate, they are noise. Otherwise another test at a lower rate follows.
    """

    def __init__(self, capacity: CapacityEstimate, rate: float, start: StartTest) -> None:
        self._capacity = capacity
        self._rate = rate
        self._before, self._is_measured = _at_least(start.before, capacity.noise + _LOAD), start.is_measured
        self._doubted = start.doubted

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if not trial.accepted and trial.refused >= _CLOSING and self._is_closed(trial):
            return StartClosed(self._rate)
        noise = self._capacity.evidence.noise(now, trial, self._capacity.noise + NO_LOAD)
        if noise is not None:
            noise.is_confirmed = self._doubted is not None
            return StartOpen(noise)
        persistence = self._persistence(trial)
        is_over = _is_over(trial, now)
        if is_over and self._doubted is not None and self._capacity.evidence.is_safe(now, trial):
            self._doubted.is_confirmed = True  # Nothing speaks against it.
            return StartOpen(self._doubted)
        if (persistence <= _FEW and trial.count >= _PASSES) or (is_over and self._may_pass(now, trial, persistence)):
            self._capacity.check_noise(trial)
            return StartCruise(self._rate, self._confidence())
        if is_over or _fails(trial, persistence):
            return self._fail(now, trial)
        return None

    def _is_closed(self, trial: Trial) -> bool:
        reference = self._capacity.evidence.reference
        return reference is None or log_likelihood_after(trial, reference.trial) <= _NOT_NOISE

    def _persistence(self, trial: Trial) -> float:
        """How much likelier the refusals are if they are as frequent as before than if the rate is low enough."""
        share = min(max(trial.share, NO_LOAD), self._capacity.noise + NO_LOAD)
        return log_likelihood_after(trial, self._before) - log_likelihood(trial, share)

    def _may_pass(self, now: float, trial: Trial, persistence: float) -> bool:
        """Whether few were refused, or no more than at a higher rate: then a lower rate would not help."""
        return persistence < 0 or self._capacity.evidence.is_safe(now, trial)

    def _confidence(self) -> Confidence:
        if not self._is_measured:
            return Confidence.LOW
        # A small bucket refuses some attempts before it is used up, so the measured rate is too low.
        has_bucket = self._capacity.burst_seconds(self._rate) >= SMALL_BURST
        return Confidence.HIGH if has_bucket else Confidence.MEDIUM

    def _fail(self, now: float, trial: Trial) -> Transition:
        capacity = self._capacity
        if trial.share > MAX_NOISE:
            capacity.refusals_are_load = True
        capacity.exhausted_at = now
        capacity.check_noise(trial)
        capacity.refer(now, trial, trial, replace=capacity.evidence.has_fallen(trial))
        rate = SAFE_SHARE * trial.accepted_rate / (1 - capacity.noise)
        return StartTest(rate, trial, doubted=self._doubted)


def _at_least(trial: Trial, share: float) -> Trial:
    """The trial, with so many refusals that their share is at least `share`."""
    return Trial(trial.since, accepted=trial.accepted, refused=max(trial.refused, ceil(share * trial.count)))


def _fails(trial: Trial, persistence: float) -> bool:
    if trial.share >= _CLEARLY:
        return trial.count >= _FAILS_CLEARLY
    return persistence >= _MANY and trial.count >= _FAILS


def _is_over(trial: Trial, now: float) -> bool:
    if trial.count >= _MOST_ATTEMPTS:
        return True
    return trial.count >= _ATTEMPTS and now - trial.since >= _SECONDS
