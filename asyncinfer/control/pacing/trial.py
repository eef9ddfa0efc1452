"""The mode TRIAL: finds out at a low rate whether refusals come from load or are noise."""

from __future__ import annotations

from math import ceil

from asyncinfer.control.pacing.capacity import SAFE_SHARE, SMALL_BURST, CapacityEstimate
from asyncinfer.control.pacing.evidence import (
    CLOSED_EVIDENCE,
    FEW_EVIDENCE,
    MANY_EVIDENCE,
    AttemptCounts,
    log_likelihood,
    log_likelihood_after,
)
from asyncinfer.control.pacing.noise import MAX_NOISE, NO_LOAD
from asyncinfer.control.pacing.transitions import (
    Confidence,
    StartClosed,
    StartCruise,
    StartOpen,
    StartTrial,
    Transition,
)

# A trial without clear evidence ends after `_SECONDS` and `_ATTEMPTS`, and at the latest after `_MOST_ATTEMPTS`.
_SECONDS, _ATTEMPTS, _MOST_ATTEMPTS = 3.0, 30, 400
# The fewest attempts with which a trial passes, with which it fails, and with which it fails clearly.
_PASSES, _FAILS, _FAILS_CLEARLY = 5, 30, 10
# The smallest share of refusals, noise not counted, that load causes at too high a rate.
_LOAD = 0.06
# A trial fails clearly with this share of refusals: noise does not cause so large a share in `_FAILS_CLEARLY` attempts.
_CLEARLY = 0.7
# How many refusals, without any accepted attempt, show that the endpoint is closed.
_CLOSING = 4


class TrialMode:
    """One trial at one rate.

    If refusals become rare, they came from load, and the rate is right for CRUISE. If they stay as frequent as at a
    clearly higher rate, they are noise. Otherwise another trial at a lower rate follows.
    """

    def __init__(self, capacity: CapacityEstimate, rate: float, start: StartTrial) -> None:
        self._capacity = capacity
        self._rate = rate
        self._before = _with_share(start.before, capacity.noise.share + _LOAD)
        self._is_measured = start.is_measured
        self._earlier_noise = start.earlier_noise

    def sample(self, now: float, counts: AttemptCounts, *, refused: bool) -> Transition | None:
        """Judge an attempt. `counts` includes it."""
        if not counts.accepted and counts.refused >= _CLOSING and self._is_closed(counts):
            return StartClosed(self._rate)
        noise = self._capacity.evidence.find_noise(now, counts, self._capacity.noise.share + NO_LOAD)
        if noise is not None:
            noise.is_confirmed = self._earlier_noise is not None
            return StartOpen(noise)
        persistence = self._persistence(counts)
        is_over = _is_over(counts, now)
        if is_over and self._earlier_noise is not None and self._capacity.evidence.is_safe(now, counts):
            self._earlier_noise.is_confirmed = True  # The trial did not disprove it.
            return StartOpen(self._earlier_noise)
        if (persistence <= -FEW_EVIDENCE and counts.total >= _PASSES) or (
            is_over and self._may_pass(now, counts, persistence)
        ):
            self._capacity.check_noise(counts)
            return StartCruise(self._rate, self._confidence())
        if is_over or _fails(counts, persistence):
            return self._fail(now, counts)
        return None

    def _is_closed(self, counts: AttemptCounts) -> bool:
        reference = self._capacity.evidence.reference
        return reference is None or log_likelihood_after(counts, reference.counts) <= -CLOSED_EVIDENCE

    def _persistence(self, counts: AttemptCounts) -> float:
        """The evidence that refusals are as frequent as before; negative if it shows that the rate is low enough."""
        share = min(max(counts.share, NO_LOAD), self._capacity.noise.share + NO_LOAD)
        return log_likelihood_after(counts, self._before) - log_likelihood(counts, share)

    def _may_pass(self, now: float, counts: AttemptCounts, persistence: float) -> bool:
        """Whether few attempts were refused, or no more than at a higher rate. Then a lower rate would not help."""
        return persistence < 0 or self._capacity.evidence.is_safe(now, counts)

    def _confidence(self) -> Confidence:
        if not self._is_measured:
            return Confidence.LOW
        # A small bucket refuses some attempts before it is empty, so the measured rate is too low.
        has_bucket = self._capacity.burst_seconds(self._rate) >= SMALL_BURST
        return Confidence.HIGH if has_bucket else Confidence.MEDIUM

    def _fail(self, now: float, counts: AttemptCounts) -> Transition:
        capacity = self._capacity
        if counts.share > MAX_NOISE:
            capacity.refusals_are_load = True
        capacity.exhausted_at = now
        capacity.check_noise(counts)
        capacity.note_reference(now, counts, counts, replace=capacity.evidence.has_fallen(counts))
        rate = SAFE_SHARE * counts.accepted_rate / (1 - capacity.noise.share)
        return StartTrial(rate, counts, earlier_noise=self._earlier_noise)


def _with_share(counts: AttemptCounts, share: float) -> AttemptCounts:
    """The same attempts, with enough refusals added that their share is at least `share`."""
    return AttemptCounts(
        counts.since, accepted=counts.accepted, refused=max(counts.refused, ceil(share * counts.total))
    )


def _fails(counts: AttemptCounts, persistence: float) -> bool:
    if counts.share >= _CLEARLY:
        return counts.total >= _FAILS_CLEARLY
    return persistence >= MANY_EVIDENCE and counts.total >= _FAILS


def _is_over(counts: AttemptCounts, now: float) -> bool:
    if counts.total >= _MOST_ATTEMPTS:
        return True
    return counts.total >= _ATTEMPTS and now - counts.since >= _SECONDS
