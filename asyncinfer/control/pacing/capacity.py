"""What is known of an endpoint's capacity.

The model of the endpoint is a token bucket: each accepted attempt takes a token, the bucket refills at a constant
rate, and an empty bucket refuses. It can be full after a pause, so only the attempts since it was last empty show the
rate.
In addition, an endpoint may refuse a share of all attempts at random, at any rate: the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, log

from asyncinfer.control.pacing.evidence import Trial
from asyncinfer.control.pacing.flow import Flow
from asyncinfer.control.pacing.noise import MAX_NOISE, Noise, NoiseEvidence, Reference
from asyncinfer.control.pacing.transitions import StartTest

# At this share of the accepted rate, load causes no refusals.
SAFE_SHARE = 0.7
# The share of the accepted rate at which doubtful noise is looked for.
_DOUBT_SHARE = 0.5
# After an overload of an endpoint with a small bucket, the ceiling is this share of the refused rate.
_CEILING_SHARE = 0.97
# The seconds and attempts that it takes to measure a rate. Fewer attempts differ too much by chance.
MEASURED_SECONDS, MEASURED_ATTEMPTS = 0.5, 20
# The longest gap between two attempts, in seconds, so that a recovery is noticed in time.
LONGEST_GAP = 15.0
# The lowest rate of a test, relative to the best rate so far.
_LOWEST_SHARE = 0.005
# Bucket sizes, in seconds of the refill rate: the largest that is assumed, and the largest that counts as small. A
# small bucket refuses bursts even if their average rate is low enough.
_LARGEST_BURST, SMALL_BURST = 1.0, 0.5
# Periods in seconds before an overload. If the capacity has grown, they show a higher rate than the average since the
# overload before.
_RECENT_SECONDS = (1.0, 2.0, 4.0, 8.0)
# How many seconds the ceiling lasts. Later the capacity may have grown.
_CEILING_SECONDS = 10.0
# The attempts and seconds that a trial needs to show the latest rate; else the last seconds show it.
_TRIAL_ATTEMPTS, _TRIAL_SECONDS, _LAST_SECONDS = 10, 0.25, 1.0
# What shows the rate before a test: the seconds at most and at least, and the fewest accepted attempts.
_REFERENCE_SECONDS, _SHORTEST_REFERENCE, _REFERENCE_ATTEMPTS = 60.0, 0.03, 8
# The fewest attempts at a rate that show how many are refused there.
_FEW_BEFORE = 8
# The refusals in a row that are a flood, and the attempts that a test after a flood is compared with. With known noise
# a flood takes so many refusals that the noise makes them in a row only once in about e^16 attempts.
_FLOOD_ATTEMPTS, _FLOOD, _NO_CHANCE = 6, Trial(0.0, refused=4), 16.0
# The longest wait, in seconds, for an empty bucket to refill by two attempts.
_LONGEST_REFILL = 1.0
# No period counts as shorter, in seconds, so that a few attempts at once do not look like a high rate.
_SHORTEST_PERIOD = 0.1


@dataclass(slots=True)
class CapacityEstimate:
    """What the attempts so far have shown about the endpoint.

    Args:
        refused_anyway: What is known of the noise.
        lag: How many seconds a refusal takes to arrive.
        flow: The history of attempts.
        evidence: What tells noise from load.
        began: When the first attempt was allowed; None before.
        burst: How many attempts were accepted before the first overload; None before.
        exhausted_at: When the bucket was last known to be empty.
        best_rate: The highest rate at which nearly nothing was refused.
        refusals_are_load: Whether the latest refusals were shown to come from load, not from noise.
    """

    refused_anyway: Noise = field(default_factory=Noise)
    lag: float = 0.0
    flow: Flow = field(default_factory=Flow)
    evidence: NoiseEvidence = field(default_factory=NoiseEvidence)
    began: float | None = None
    burst: int | None = None
    exhausted_at: float = 0.0
    best_rate: float = 0.0
    refusals_are_load: bool = False
    _ceiling: float = inf
    _ceiling_ends: float = 0.0

    @property
    def noise(self) -> float:
        """The share of attempts that the endpoint refuses at any rate."""
        return self.refused_anyway.share

    def check_noise(self, trial: Trial) -> None:
        """Noise is there at any rate, so a rate at which much less is refused disproves it."""
        if self.refused_anyway.is_disproved(trial):
            self.refused_anyway.follow(trial)

    def is_flooded(self, trial: Trial) -> bool:
        """Whether nearly all of the latest attempts were refused: more in a row than noise explains."""
        count = _FLOOD_ATTEMPTS
        if self.noise:
            count = max(count, ceil(_NO_CHANCE / log(1 / min(self.refused_anyway.most, MAX_NOISE))))
        return self.flow.refused_in_a_row(count, trial.first)

    def overloaded(self, now: float, trial: Trial, earlier: Trial, *, is_flood: bool) -> StartTest:
        """Refusals have begun: test the rate that was accepted since the bucket was last empty.

        It is empty now as it was then, so the average rate in between is the refill rate.

        Args:
            earlier: The attempts before the trial, in the same mode.
            is_flood: Whether nearly all attempts are refused now.
        """
        before = _FLOOD
        if not is_flood:
            self.refer(now, trial, earlier + trial)
            before = trial if trial.rate is not None and trial.count >= _FEW_BEFORE else earlier + trial
        end = now - self.lag
        self.note_burst(end)
        if trial.rate is not None and self.burst_seconds(trial.rate) < SMALL_BURST:
            # The refused rate is just above the limit.
            self._ceiling, self._ceiling_ends = _CEILING_SHARE * trial.rate, now + _CEILING_SECONDS
        is_measured = self._is_measured(end)
        rate = self._measured_rate(end) if is_measured else self._guessed_rate(now, trial)
        self.exhausted_at = now
        not_before = now + min(2 / rate, _LONGEST_REFILL)
        return StartTest(rate / (1 - self.noise), before, is_measured=is_measured, not_before=not_before)

    def refer(self, now: float, trial: Trial, before: Trial, *, replace: bool = False) -> None:
        """Note the rate that the trial shows to be accepted, while as many attempts were refused as in `before`.

        The bucket was empty at the first refusal, so the attempts after it show the rate.
        """
        start, end = max(trial.since, self.began or 0.0, now - _REFERENCE_SECONDS), now - self.lag
        first = self.flow.first_refused(start, end)
        if first is None or end - first < _SHORTEST_REFERENCE or before.share > MAX_NOISE:
            return
        accepted = self.flow.accepted(first, end)
        if accepted < _REFERENCE_ATTEMPTS:
            return
        if trial.rate is None:
            rate = accepted / (end - first)
        else:
            after_first = self.flow.sent(first, end) - 1
            rate = trial.rate * accepted / after_first
        self.evidence.refer(now, Reference(rate, before), replace=replace)

    def doubt(self, now: float, rate: float, before: Trial) -> StartTest:
        """Look for the noise anew, at a much lower rate than `rate`, at which the endpoint accepts attempts."""
        rate = max(rate, self.lowest_rate)
        self.evidence.refer(now, Reference(rate, before), replace=True)
        doubted, self.refused_anyway = self.refused_anyway, Noise()
        return StartTest(_DOUBT_SHARE * rate, before, doubted=doubted)

    def note_burst(self, end: float) -> None:
        """The first overload was at `end`: what was accepted until then shows how large the bucket is."""
        if self.burst is None:
            self.burst = max(1, self.flow.accepted(self.began or 0.0, end))

    def burst_seconds(self, rate: float) -> float:
        """The size of the bucket in seconds, if it refills at `rate`."""
        return _LARGEST_BURST if self.burst is None else min(_LARGEST_BURST, self.burst / rate)

    def capped(self, rate: float, now: float) -> float:
        """`rate`, or the ceiling if that is lower."""
        return min(rate, self._ceiling if now < self._ceiling_ends else inf)

    @property
    def lowest_rate(self) -> float:
        """The lowest rate of a test, so that the end of a trouble is noticed in time."""
        return max(1 / LONGEST_GAP, _LOWEST_SHARE * self.best_rate)

    def latest_rate(self, now: float, trial: Trial) -> float:
        """Accepted attempts a second: in the current trial, or in the last second if the trial is short."""
        began = self.began if self.began is not None else now
        enough = trial.count >= _TRIAL_ATTEMPTS and now - trial.since >= _TRIAL_SECONDS
        start = max(began, trial.since if enough else now - _LAST_SECONDS)
        end = max(now - self.lag, start + _SHORTEST_PERIOD)
        return max(self.flow.accepted(start, end), 1) / (end - start)

    def recent_refill_rate(self, end: float, seconds: float) -> float:
        """The highest refill rate that one of the periods before `end` proves; 0 if all are longer than `seconds`."""
        burst = self.burst or 0
        periods = (period for period in _RECENT_SECONDS if period < seconds)
        return max((self._refill_rate(end, period, burst) for period in periods), default=0.0)

    def _refill_rate(self, end: float, seconds: float, burst: int) -> float:
        """The lowest refill rate that explains the attempts accepted before `end`, if `burst` tokens were there."""
        return max(self.flow.accepted(end - seconds, end) - burst, 1) / seconds

    def _is_measured(self, end: float) -> bool:
        if end - self.exhausted_at < MEASURED_SECONDS:
            return False
        return self.flow.accepted(self.exhausted_at, end) >= MEASURED_ATTEMPTS / 2

    def _measured_rate(self, end: float) -> float:
        seconds = end - self.exhausted_at
        return max(self._refill_rate(end, seconds, burst=0), self.recent_refill_rate(end, seconds))

    def _guessed_rate(self, now: float, trial: Trial) -> float:
        latest = self.latest_rate(now, trial)
        return latest if trial.rate is None else min(latest, SAFE_SHARE * trial.rate)
