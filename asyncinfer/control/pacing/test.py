"""The mode TEST: finds out at a low rate whether refusals come from load or are noise."""

from __future__ import annotations

from asyncinfer.control.pacing.capacity import MAX_NOISE, SAFE_SHARE, SMALL_BURST, CapacityEstimate
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial, log_likelihood
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
# The attempts that are enough for a test in which most are refused, and for one that is compared with an earlier one.
_FEW_ATTEMPTS = _ATTEMPTS / 3
# Evidence, as a log likelihood ratio, that ends a test early: 55 to 1.
_SURE = 4.0
# Shares of refusals, noise not counted: the most with which a test passes, the least that proves load, and the share
# that is expected without load.
_PASSES, _LOAD, _NO_LOAD = 0.06, 0.06, 0.02
# The share of refusals, relative to that before the test, that is clearly higher; and the attempts that show it.
_RISE, _RISE_ATTEMPTS = 1.5, 10
# The refusals, without any accepted attempt, that show that the endpoint is closed.
_CLOSING = 4


class LowRateTest:
    """One test at one rate.

    If refusals become few, they came from load, and the rate is right for CRUISE. If their share stays the same as in
    the test before, at a higher rate, they are noise. Otherwise another test at a lower rate follows.
    """

    def __init__(self, capacity: CapacityEstimate, rate: float, start: StartTest) -> None:
        self._capacity = capacity
        self._rate = rate
        self._previous, self._repeats, self._is_measured = start.previous, start.repeats, start.is_measured
        self._alarm = ChangeDetector(capacity.noise)

    def sample(self, now: float, trial: Trial, *, refused: bool) -> Transition | None:
        """Judge an attempt that `trial` counts already."""
        if not trial.accepted and trial.refused >= _CLOSING:
            return StartClosed(self._rate)
        rises = self._alarm.add(refused=refused) and self._share_rises(trial)
        evidence = self._evidence_of_load(trial)
        passes = trial.share <= self._capacity.noise + _PASSES and not rises
        if passes and (evidence <= -_SURE or _is_over(trial, now)):
            return StartCruise(self._rate, self._confidence())
        if rises or _fails(trial, evidence) or _is_over(trial, now):
            return self._fail(now, trial)
        return None

    def _share_rises(self, trial: Trial) -> bool:
        return trial.share > _RISE * self._previous.share and trial.count >= _RISE_ATTEMPTS

    def _evidence_of_load(self, trial: Trial) -> float:
        """How much likelier the refusals are if the rate is still too high than if it is low enough."""
        noise = self._capacity.noise
        return log_likelihood(trial, noise + _NO_LOAD, max(self._previous.share, noise + _LOAD))

    def _confidence(self) -> Confidence:
        if not self._is_measured:
            return Confidence.LOW
        # A small bucket refuses some attempts before it is used up, so the measured rate is too low.
        has_bucket = self._capacity.burst_seconds(self._rate) >= SMALL_BURST
        return Confidence.HIGH if has_bucket else Confidence.MEDIUM

    def _fail(self, now: float, trial: Trial) -> Transition:
        capacity, previous = self._capacity, self._previous
        if self._repeats and _is_noise(previous, trial, capacity.noise):
            return StartOpen((previous.refused + trial.refused) / (previous.count + trial.count))
        if trial.share > MAX_NOISE:
            capacity.refusals_are_load = True
        capacity.exhausted_at = now
        rate = SAFE_SHARE * capacity.latest_rate(now, trial) / (1 - capacity.noise)
        if self._repeats:  # Tests in a row are one body of evidence.
            trial.absorb(previous)
        return StartTest(rate, trial, repeats=True)


def _fails(trial: Trial, evidence: float) -> bool:
    enough = _ATTEMPTS if trial.share <= MAX_NOISE else _FEW_ATTEMPTS
    return evidence >= _SURE and trial.count >= enough


def _is_over(trial: Trial, now: float) -> bool:
    if trial.count >= _MOST_ATTEMPTS:
        return True
    return trial.count >= _ATTEMPTS and now - trial.since >= _SECONDS


def _is_noise(before: Trial, trial: Trial, noise: float) -> bool:
    """Whether the share of refusals stayed the same in two tests while the rate fell.

    If load caused them, the endpoint would accept as many attempts a second as before, and the share would fall.
    """
    if before.rate is None or trial.rate is None or before.rate <= trial.rate:
        return False
    if before.count < _ATTEMPTS or trial.count < _FEW_ATTEMPTS or before.share > MAX_NOISE:
        return False
    under_load = max(1 - (1 - before.share) * before.rate / trial.rate, noise + _NO_LOAD)
    return before.share > under_load and log_likelihood(trial, under_load, before.share) >= _SURE
