"""What is known of an endpoint's capacity.

The endpoint is modelled as a token bucket: each accepted attempt takes a token, the bucket refills at a constant rate,
and an empty bucket refuses. The bucket can be full after a pause, so only the attempts since it was last empty show
the rate. In addition, an endpoint may refuse a share of all attempts at random, at any rate: the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, log

from asyncinfer.control.pacing.evidence import FLOOD_EVIDENCE, AttemptCounts
from asyncinfer.control.pacing.history import AttemptHistory
from asyncinfer.control.pacing.noise import MAX_NOISE, Noise, NoiseEvidence, Reference
from asyncinfer.control.pacing.transitions import StartTrial

# At this share of the accepted rate, load causes no refusals.
SAFE_SHARE = 0.7
# Doubtful noise is checked at this share of the accepted rate.
_RECHECK_SHARE = 0.5
# The ceiling is a rate that is not exceeded for some time after an alarm at an endpoint with a small bucket. It is this
# share of the refused rate.
_CEILING_SHARE = 0.97
# The seconds and attempts that it takes to measure a rate. With fewer attempts, chance has too much influence.
MEASURED_SECONDS, MEASURED_ATTEMPTS = 0.5, 20
# The longest gap between two attempts, in seconds, so that a recovery is noticed in time.
LONGEST_GAP = 15.0
# The lowest rate of a TRIAL, relative to the best rate so far.
_LOWEST_SHARE = 0.005
# The size of a bucket, as the seconds in which it refills: the largest size that is assumed, and the largest that
# counts as small. A small bucket refuses bursts even if their average rate is low enough.
_LARGEST_BURST, SMALL_BURST = 1.0, 0.5
# Periods before an alarm, in seconds. If the capacity has grown, they show a higher rate than the average since the
# bucket was last empty.
_RECENT_SECONDS = (1.0, 2.0, 4.0, 8.0)
# How many seconds the ceiling lasts. Later the capacity may have grown.
_CEILING_SECONDS = 10.0
# The attempts and seconds at the present rate that show the latest accepted rate. With fewer, the last
# `_LAST_SECONDS` show it.
_LATEST_ATTEMPTS, _LATEST_SECONDS, _LAST_SECONDS = 10, 0.25, 1.0
# The period that shows the rate before a TRIAL: its longest and shortest length in seconds, and the fewest accepted
# attempts.
_REFERENCE_SECONDS, _SHORTEST_REFERENCE, _REFERENCE_ATTEMPTS = 60.0, 0.03, 8
# The fewest attempts at a rate that show how many are refused there.
_FEW_BEFORE = 8
# How many refusals in a row are a flood, and the attempts with which a TRIAL after a flood is compared. If noise is
# known, a flood takes more refusals in a row: a number that noise causes only once in about e^16 attempts.
_FLOOD_ATTEMPTS, _FLOOD = 6, AttemptCounts(0.0, refused=4)
# The longest wait, in seconds, for an empty bucket to refill by two attempts.
_LONGEST_REFILL = 1.0
# A shorter period, in seconds, counts as this long, so that a few attempts at once do not look like a high rate.
_SHORTEST_PERIOD = 0.1


@dataclass(slots=True)
class CapacityEstimate:
    """What the attempts so far have shown about the endpoint. The pacer, its modes and `Cycles` share it.

    Args:
        noise: The refusals that are expected at any rate. Written by the pacer when OPEN starts, by OPEN, which follows
            the latest attempts, and by `check_noise` and `recheck_noise`.
        refusal_time: How many seconds a refusal takes to arrive. Written by the owner of the pacer.
        history: The history of attempts. Written by the pacer.
        evidence: What distinguishes noise from load. Written by the pacer when a rate ends, and by `note_reference` and
            `recheck_noise`.
        began: When the first attempt was allowed; None before. Written by the pacer.
        burst: How many attempts were accepted before the first alarm; None before. Written by `note_burst`.
        exhausted_at: When the bucket was last known to be empty. Written by everything that finds it empty: an alarm,
            TRIAL, CRUISE and `Cycles`. The pacer moves it when the engine was idle.
        best_rate: The highest rate at which nearly nothing was refused. Written by OPEN and CRUISE.
        refusals_are_load: Whether the latest refusals were shown to come from load, not from noise. TRIAL, CLOSED and
            the rate probes of CRUISE set it; OPEN clears it.
    """

    noise: Noise = field(default_factory=Noise)
    refusal_time: float = 0.0
    history: AttemptHistory = field(default_factory=AttemptHistory)
    evidence: NoiseEvidence = field(default_factory=NoiseEvidence)
    began: float | None = None
    burst: int | None = None
    exhausted_at: float = 0.0
    best_rate: float = 0.0
    refusals_are_load: bool = False
    _ceiling: float = inf
    _ceiling_ends: float = 0.0

    def check_noise(self, counts: AttemptCounts) -> None:
        """Correct the share of noise if far fewer attempts were refused: noise is there at any rate."""
        if self.noise.is_disproved(counts):
            self.noise.follow(counts)

    def is_flooded(self, counts: AttemptCounts) -> bool:
        """Whether nearly all of the latest attempts were refused: more in a row than noise explains."""
        refusals = _FLOOD_ATTEMPTS
        if self.noise.share:
            refusals = max(refusals, ceil(FLOOD_EVIDENCE / log(1 / min(self.noise.most, MAX_NOISE))))
        return self.history.refused_in_a_row(refusals, counts.first)

    def start_trial(self, now: float, counts: AttemptCounts, earlier: AttemptCounts, *, is_flood: bool) -> StartTrial:
        """The alarm was raised: try the rate that was accepted since the bucket was last empty.

        The bucket is empty now, as it was then, so the average rate in between is the refill rate.

        Args:
            counts: The attempts at the present rate.
            earlier: The attempts before them, in the same mode.
            is_flood: Whether nearly all attempts are refused now.
        """
        before = _FLOOD
        if not is_flood:
            self.note_reference(now, counts, earlier + counts)
            before = counts if counts.rate is not None and counts.total >= _FEW_BEFORE else earlier + counts
        end = now - self.refusal_time
        self.note_burst(end)
        if counts.rate is not None and self.burst_seconds(counts.rate) < SMALL_BURST:
            # The refused rate is just above the limit.
            self._ceiling, self._ceiling_ends = _CEILING_SHARE * counts.rate, now + _CEILING_SECONDS
        is_measured = self._is_measured(end)
        rate = self._measured_rate(end) if is_measured else self._guessed_rate(now, counts)
        self.exhausted_at = now
        not_before = now + min(2 / rate, _LONGEST_REFILL)
        return StartTrial(rate / (1 - self.noise.share), before, is_measured=is_measured, not_before=not_before)

    def note_reference(
        self, now: float, counts: AttemptCounts, before: AttemptCounts, *, replace: bool = False
    ) -> None:
        """Note the rate that the endpoint accepts, as a reference for the evidence of noise.

        The bucket was empty at the first refusal, so the attempts after it show the rate.

        Args:
            counts: The attempts at the present rate.
            before: The attempts that show the share of refusals at the accepted rate.
            replace: As in `NoiseEvidence.set_reference`.
        """
        start, end = max(counts.since, self.began or 0.0, now - _REFERENCE_SECONDS), now - self.refusal_time
        first = self.history.first_refused(start, end)
        if first is None or end - first < _SHORTEST_REFERENCE or before.share > MAX_NOISE:
            return
        accepted = self.history.accepted(first, end)
        if accepted < _REFERENCE_ATTEMPTS:
            return
        if counts.rate is None:
            rate = accepted / (end - first)
        else:
            after_first = self.history.sent(first, end) - 1
            rate = counts.rate * accepted / after_first
        self.evidence.set_reference(now, Reference(rate, before), replace=replace)

    def recheck_noise(self, now: float, rate: float, before: AttemptCounts) -> StartTrial:
        """Forget the noise, and look for it again at a much lower rate.

        Args:
            rate: The rate at which the endpoint accepts attempts now.
            before: The attempts that show the present share of refusals.
        """
        rate = max(rate, self.lowest_rate)
        self.evidence.set_reference(now, Reference(rate, before), replace=True)
        earlier, self.noise = self.noise, Noise()
        return StartTrial(_RECHECK_SHARE * rate, before, earlier_noise=earlier)

    def note_burst(self, end: float) -> None:
        """The first alarm was at `end`: the attempts accepted until then show how large the bucket is."""
        if self.burst is None:
            self.burst = max(1, self.history.accepted(self.began or 0.0, end))

    def burst_seconds(self, rate: float) -> float:
        """The size of the bucket in seconds, if it refills at `rate`."""
        return _LARGEST_BURST if self.burst is None else min(_LARGEST_BURST, self.burst / rate)

    def capped(self, rate: float, now: float) -> float:
        """`rate`, or the ceiling if that is lower."""
        return min(rate, self._ceiling if now < self._ceiling_ends else inf)

    @property
    def lowest_rate(self) -> float:
        """The lowest rate of a TRIAL. It is high enough to notice in time that the endpoint works again."""
        return max(1 / LONGEST_GAP, _LOWEST_SHARE * self.best_rate)

    def latest_rate(self, now: float, counts: AttemptCounts) -> float:
        """Accepted attempts per second: at the present rate, or in the last second if that rate is new."""
        began = self.began if self.began is not None else now
        enough = counts.total >= _LATEST_ATTEMPTS and now - counts.since >= _LATEST_SECONDS
        start = max(began, counts.since if enough else now - _LAST_SECONDS)
        end = max(now - self.refusal_time, start + _SHORTEST_PERIOD)
        return max(self.history.accepted(start, end), 1) / (end - start)

    def recent_refill_rate(self, end: float, seconds: float) -> float:
        """The highest refill rate that a recent period before `end` proves; 0 if all are longer than `seconds`."""
        burst = self.burst or 0
        periods = (period for period in _RECENT_SECONDS if period < seconds)
        return max((self._refill_rate(end, period, burst) for period in periods), default=0.0)

    def _refill_rate(self, end: float, seconds: float, burst: int) -> float:
        """The lowest refill rate that explains what was accepted before `end`, if the bucket held `burst` tokens."""
        return max(self.history.accepted(end - seconds, end) - burst, 1) / seconds

    def _is_measured(self, end: float) -> bool:
        if end - self.exhausted_at < MEASURED_SECONDS:
            return False
        return self.history.accepted(self.exhausted_at, end) >= MEASURED_ATTEMPTS / 2

    def _measured_rate(self, end: float) -> float:
        seconds = end - self.exhausted_at
        return max(self._refill_rate(end, seconds, burst=0), self.recent_refill_rate(end, seconds))

    def _guessed_rate(self, now: float, counts: AttemptCounts) -> float:
        latest = self.latest_rate(now, counts)
        return latest if counts.rate is None else min(latest, SAFE_SHARE * counts.rate)
