"""When the next attempt may start: the pacer follows the rate at which an endpoint accepts attempts.

The pacer is in one of four modes:

- OPEN: no limit but a ramp at the start. An alarm, when clearly more attempts are refused than before, starts a TEST.
- TEST: well below the accepted rate. If the refusals stop, they came from load: CRUISE at the accepted rate. If their
  share stays the same, they are noise, which no rate avoids: back to OPEN, and that share is expected from now on.
  Otherwise the next test is at a still lower rate.
- CRUISE: near the accepted rate, judged epoch by epoch. The pacer aims at a small share of refusals: none at all means
  that there may be room, so the rate grows, the longer the faster; many mean too much.
- CLOSED: everything is refused. Attempts go out one at a time, with growing pauses. The first accepted attempt opens
  the endpoint again, at the average rate that it accepted since it closed last: that is the right rate for an
  endpoint that admits a fixed number of requests each minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf, log

from asyncinfer.control.samples import ChangeDetector, Flow, Trial

# The ramp: so many attempts may be undecided at once, one more for each accepted one, and so many more each second.
_FIRST, _PER_SECOND = 2, 150.0
# A test runs at this share of the accepted rate, and sees so many attempts before refusals count as noise.
_TEST, _TEST_ATTEMPTS, _MOST_TEST_ATTEMPTS, _TEST_SECONDS = 0.7, 30, 400, 3.0
# Evidence, as a log likelihood ratio, that ends a test early.
_SURE = 4.0
# A larger share of refusals is not believed to be noise.
_MOST_NOISE = 0.5
# So many refusals, and nothing else, close the endpoint.
_CLOSING = 4
# The share of refusals that CRUISE aims at lies between these, noise not counted.
_LOW, _HIGH = 0.01, 0.04
# An epoch of CRUISE: at least so many seconds and attempts; with few attempts it ends after the third figure.
_EPOCH_SECONDS, _EPOCH_ATTEMPTS, _EPOCH_MOST = 0.5, 20, 20.0
# Growth in an epoch without refusals: near a rate that is known well, less well, or not; and the largest.
_STEP, _SECOND_STEP, _FIRST_STEP, _LARGEST_STEP = 0.02, 0.08, 0.25, 0.5
# OPEN looks at the noise anew after so many attempts. CRUISE ends where fewer than this share of its rate was sent.
_NOISE_ATTEMPTS, _BINDING = 200, 0.7
# Seconds before an overload of which the accepted rate is looked at; and the most that an endpoint saves up, in
# seconds.
_LOOK_BACK, _MOST_SAVED = (1.0, 2.0, 4.0, 8.0), 1.0
# After so many seconds with a few refusals, a rate that is so many times higher shows whether they are noise, in
# so many attempts.
_PROBE_SECONDS, _PROBE, _PROBE_ATTEMPTS = 3.0, 1.25, 60
# Once they were shown to be load, it is seen again after so many seconds.
_PROVEN_SECONDS = 60.0
# A test passes with at most this share of refusals, noise not counted.
_FEW = 0.06
# Pauses while the endpoint is closed: so many attempts' time at the known rate, within these bounds, in seconds.
_FIRST_PAUSE, _PAUSE_ATTEMPTS, _SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 10, 2.0, 15.0
# Seconds after which the rate that an endpoint accepts is known.
_KNOWN_SECONDS = 5.0
# Rates count as the same within this share; and the longest rest, in seconds, at a rate that was found repeatedly.
_SAME, _REST, _LONGEST_REST = 0.25, 3.0, 1800.0
# Refusals are noise if so many cuts in a row do not end them.
_UNEXPLAINED = 3
# A rate that was refused is not reached again for so many seconds, but this share of it.
_CEILING_SECONDS, _BELOW = 10.0, 0.95
# A hold of more seconds outlasts what an endpoint saves up.
_LONG_HOLD = 5.0
# A stop of fewer seconds tells the rate by itself.
_SHORT_STOP = 1.0
# The shortest stop in seconds: a coarse clock shows none.
_NO_TIME = 1e-9
# Seconds that an attempt may be early, for timers are no more exact.
_SLACK = 0.003


class Mode(Enum):
    OPEN = auto()
    TEST = auto()
    CRUISE = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Pacer:
    """Spaces attempts. `rate`: attempts a second, None for no limit. `noise`: the share of attempts that the endpoint
    refuses at any rate. `lag`: the seconds that a refusal takes.
    """

    mode: Mode = Mode.OPEN
    rate: float | None = None
    noise: float = 0.0
    lag: float = 0.0
    _began: float | None = None
    _undecided: int = 0
    _accepted_count: int = 0
    _due: float = 0.0
    _trial: Trial = field(default_factory=lambda: Trial(0.0))
    _before: Trial = field(default_factory=lambda: Trial(0.0))
    _alarm: ChangeDetector = field(default_factory=lambda: ChangeDetector(0.0))
    _flow: Flow = field(default_factory=Flow)
    _step: float = _STEP
    _nudges: int = 0
    _quiet_epochs: int = 0
    _confirmed: int = 0
    _unexplained: int = 0
    _doubted: float = 0.0
    _light: Trial = field(default_factory=lambda: Trial(0.0))
    _probing: Trial | None = None
    _probe_after: float = _PROBE_SECONDS
    _burst: int | None = None
    _ceiling: float = inf
    _ceiling_until: float = 0.0
    _emptied: float = 0.0
    _goal_is_known: bool = False
    _pause: float = 0.0
    _closed_at: float = 0.0
    _woken: bool = False
    _sleep_until: float = 0.0
    _cycle: float = 0.0
    _goal: float | None = None
    _rest_until: float = 0.0

    # Starting attempts

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start."""
        if self.mode is not Mode.OPEN:
            return max(0.0, self._due - _SLACK - now)
        if self._began is None:
            self._began = self._cycle = now
        room = _FIRST + self._accepted_count + _PER_SECOND * (now - self._began) - self._undecided
        return 0.0 if room >= 1 else (1 - room) / _PER_SECOND

    def started(self, now: float) -> None:
        """An attempt starts."""
        self._undecided += 1
        self._trial.sent += 1
        self._flow.send(now)
        if self.mode is Mode.CLOSED:
            self._due = now + self._pause
        elif self.rate is not None:
            self._due = max(self._due, now - _SLACK) + min(1 / self.rate, _LONGEST_PAUSE)

    def hold(self, now: float, until: float) -> None:
        """Nothing starts before `until`, as the endpoint asked."""
        if until <= self._due:
            return
        self._due = until
        if now < self._cycle:  # It is held already: this attempt was in flight then.
            self._cycle = self._emptied = until
            return
        before = self._goal
        self._note_burst(now - self.lag)
        if not self._unexplained:
            self._doubted = self._cycle
        self._settle(until, cost=until - now, is_hold=True)
        # The endpoint keeps refusing attempts, however far the rate falls.
        is_falling = before is not None and self._goal is not None and self._goal < _TEST * before
        self._unexplained = self._unexplained + 1 if is_falling else 0
        if self._unexplained >= _UNEXPLAINED:
            share = self._flow.refused(self._doubted, now) / max(self._flow.sent(self._doubted, now), 1)
            self._open(until, noise=min(max(share, _LOW), _MOST_NOISE))

    def answered(self, now: float) -> None:
        """An answer arrived, so an endpoint that limits the attempts in flight has room for another."""
        if self.mode is Mode.CLOSED and not self._woken and now >= self._sleep_until:
            self._due, self._woken = now, True

    # Learning from samples

    def reconsidered(self) -> None:
        """An attempt that counted as accepted gets another sample."""
        self._undecided += 1

    def withdrawn(self) -> None:
        """An attempt ended without a sample."""
        self._undecided -= 1

    def sample(self, now: float, sent: float, *, refused: bool) -> None:
        """An attempt that started at `sent` was accepted or refused."""
        self._undecided -= 1
        if not refused:
            self._accepted_count += 1
        else:
            self._flow.refuse(sent)
        if sent < self._trial.since:
            return  # The rate has changed since then.
        self._trial.add(refused=refused)
        match self.mode:
            case Mode.OPEN:
                self._sample_open(now, refused=refused)
            case Mode.TEST:
                self._sample_test(now, refused=refused)
            case Mode.CRUISE:
                self._sample_cruise(now, refused=refused)
            case Mode.CLOSED:
                self._sample_closed(now, refused=refused)

    def _sample_open(self, now: float, *, refused: bool) -> None:
        if self._alarm.add(refused=refused):
            self._overload(now)
        elif self._trial.count >= _NOISE_ATTEMPTS:
            if self.noise:
                self.noise = min(self._trial.share, 2 * self.noise)
                self._alarm = ChangeDetector(self.noise)
            self._trial = Trial(now)

    def _overload(self, now: float) -> None:
        """Refusals have begun: go back to the rate that was accepted since they last did, and see whether they stop.

        An endpoint that saves up capacity was at its end then as it is now, so that average is what it takes.
        """
        end = now - self.lag
        elapsed = end - self._emptied
        self._note_burst(end)
        if self.rate is not None and self._saved(self.rate) < _MOST_SAVED / 2:
            # An endpoint that saves up little refuses at once what comes too fast, so its limit is just below.
            self._ceiling, self._ceiling_until = _BELOW * self.rate, now + _CEILING_SECONDS
        self._goal_is_known = (
            elapsed >= _EPOCH_SECONDS and self._flow.accepted(self._emptied, end) >= _EPOCH_ATTEMPTS / 2
        )
        if self._goal_is_known:
            goal = max(self._taken(end, elapsed, saved=0), self._taken_lately(end, elapsed))
        else:
            goal = self._accepted_rate(now)
            if self.rate is not None:
                goal = min(goal, _TEST * self.rate)
        self._emptied = now
        self._due = max(self._due, now + min(2 / goal, 1.0))
        self._test(now, goal / (1 - self.noise))

    def _note_burst(self, end: float) -> None:
        if self._burst is None:
            self._burst = max(1, self._flow.accepted(self._began or 0.0, end))

    def _saved(self, rate: float) -> float:
        """How many seconds' worth of requests the endpoint saves up, to judge by what it accepted at first."""
        return _MOST_SAVED if self._burst is None else min(_MOST_SAVED, self._burst / rate)

    def _taken(self, end: float, seconds: float, saved: int) -> float:
        """The least rate at which an endpoint that had saved up `saved` requests can have accepted what it did."""
        return max(self._flow.accepted(end - seconds, end) - saved, 1) / seconds

    def _taken_lately(self, end: float, elapsed: float) -> float:
        looked_back = (self._taken(end, seconds, saved=self._burst or 0) for seconds in _LOOK_BACK if seconds < elapsed)
        return max(looked_back, default=0.0)

    def _test(self, now: float, rate: float) -> None:
        before, trial = self._before, self._trial
        if before.is_test and trial.is_test:  # Tests in a row are one body of evidence.
            trial.accepted += before.accepted
            trial.refused += before.refused
        self._before = trial
        self._switch(now, Mode.TEST, max(rate, 1 / _LONGEST_PAUSE))
        self._trial.is_test = True
        self._alarm = ChangeDetector(self.noise)

    def _sample_test(self, now: float, *, refused: bool) -> None:
        trial, before = self._trial, self._before
        if not trial.accepted and trial.refused >= _CLOSING:
            self._close(now)
            return
        worse = self._alarm.add(refused=refused) and trial.share > 1.5 * before.share and trial.count >= 10
        evidence = log_likelihood(trial, self.noise + 0.02, max(before.share, self.noise + 0.06))
        has_few = trial.share <= self.noise + _FEW and not worse
        if has_few and (evidence <= -_SURE or self._test_is_over(now)):
            rate = self.rate or 1.0
            is_exact = self._goal_is_known and self._saved(rate) >= _MOST_SAVED / 2
            self._cruise(now, rate, _STEP if is_exact else _SECOND_STEP if self._goal_is_known else _FIRST_STEP)
        elif worse or self._test_has_failed(evidence) or self._test_is_over(now):
            if is_noise(before, trial, self.noise):
                self._open(now, noise=(before.refused + trial.refused) / (before.count + trial.count))
            else:
                if trial.share > _MOST_NOISE:
                    self._probe_after = _PROVEN_SECONDS
                self._emptied, self._goal_is_known = now, False
                self._test(now, _TEST * self._accepted_rate(now) / (1 - self.noise))

    def _test_has_failed(self, evidence: float) -> bool:
        trial = self._trial
        enough = _TEST_ATTEMPTS if trial.share <= _MOST_NOISE else _TEST_ATTEMPTS / 3
        return evidence >= _SURE and trial.count >= enough

    def _test_is_over(self, now: float) -> bool:
        trial = self._trial
        return trial.count >= _MOST_TEST_ATTEMPTS or (
            trial.count >= _TEST_ATTEMPTS and now - trial.since >= _TEST_SECONDS
        )

    def _sample_cruise(self, now: float, *, refused: bool) -> None:
        trial, rate = self._trial, self.rate or 1.0
        if self._alarm.add(refused=refused) and self._probing is None:
            self._overload(now)
            return
        elapsed = now - trial.since
        seconds = min(max(_EPOCH_SECONDS, _EPOCH_ATTEMPTS / rate), _EPOCH_MOST)
        grows = self._step > 2 * _STEP and not trial.refused and trial.count >= _EPOCH_ATTEMPTS / 2
        if elapsed < (_EPOCH_SECONDS if grows else seconds) or trial.count < 4:
            return
        if self._probing is not None:
            self._judge_probe(now)
            return
        excess = trial.share - self.noise
        self._light.accepted += trial.accepted
        self._light.refused += trial.refused
        high = _HIGH + self.noise / 2  # It is not known exactly.
        if excess > high:
            self._step = _STEP
            self._nudges += 1
            if self._nudges > 2:
                self._overload(now)
                return
            rate *= 1 - min(excess, 1 - _TEST)
            self._emptied = now
        elif excess > _LOW:
            self._nudges, self._step = 0, _STEP
            self._emptied = now
        elif now >= self._rest_until:
            self._nudges = 0
            rate = max(rate, min(rate * (1 + self._step), self._ceiling if now < self._ceiling_until else inf))
            self._quiet_epochs += 1
            # With few attempts an epoch without refusals says less.
            if rate >= _EPOCH_ATTEMPTS / _EPOCH_SECONDS or self._quiet_epochs % 2 == 0 or self._step >= _FIRST_STEP:
                self._step = min(2 * self._step, _LARGEST_STEP)
        if trial.sent < _BINDING * (self.rate or 1.0) * elapsed and excess <= high:
            self._open(now, noise=self.noise)
        elif now - self._light.since >= self._probe_after:
            self._probe(now, rate)
        else:
            self._switch(now, Mode.CRUISE, rate)

    def _probe(self, now: float, rate: float) -> None:
        """After a while with a few refusals, see whether they become more at a higher rate: noise does not."""
        light = self._light
        if light.count >= _TEST_ATTEMPTS and _LOW / 2 < light.share - self.noise < 2 * _HIGH + self.noise / 2:
            self._probing = light
            rate *= _PROBE
        self._light = Trial(now)
        self._switch(now, Mode.CRUISE, rate)

    def _judge_probe(self, now: float) -> None:
        assert self._probing is not None
        before, trial = self._probing, self._trial
        is_clear = trial.share >= _MOST_NOISE and trial.count >= _TEST_ATTEMPTS
        is_over = trial.count >= _PROBE_ATTEMPTS and now - trial.since >= 2 * _EPOCH_SECONDS
        if not is_clear and not is_over:
            return
        under_load = 1 - (1 - before.share) / _PROBE
        self._probing, self._light = None, Trial(now)
        if trial.refused >= 2 and log_likelihood(trial, before.share, under_load) <= -_SURE:
            self._open(now, noise=before.share)
        elif not trial.refused:
            self._switch(now, Mode.CRUISE, self.rate)  # There is room.
        else:
            self._emptied, self._step = now, _STEP
            self._probe_after = _PROVEN_SECONDS
            self._switch(now, Mode.CRUISE, (self.rate or 1.0) / _PROBE)

    def _close(self, now: float) -> None:
        self._pause = max(2 / (self.rate or max(self._accepted_rate(now), 1.0)), _FIRST_PAUSE)
        self._probe_after = _PROVEN_SECONDS  # No noise refuses so many in a row.
        self._closed_at, self._woken, self._sleep_until = now, False, now + self.lag
        self._switch(now, Mode.CLOSED, self.rate)

    def _sample_closed(self, now: float, *, refused: bool) -> None:
        if not refused:
            self._due = now
            self._settle(now, cost=now - self._closed_at)
            return
        self._pause = min(2 * self._pause, self._longest_pause())
        if self._woken:
            self._sleep_until, self._woken = now + 2 * (now - self._closed_at), False

    def _longest_pause(self) -> float:
        """Seconds: an endpoint that was fast for a while before it closed is asked more often."""
        seconds = self._closed_at - (self._began or 0.0)
        if seconds < _KNOWN_SECONDS:
            return _LONGEST_PAUSE
        known = self._flow.accepted(max(self._began or 0.0, self._closed_at - 60.0), self._closed_at) / min(
            seconds, 60.0
        )
        return min(max(_PAUSE_ATTEMPTS / max(known, 0.1), _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _settle(self, now: float, cost: float, *, is_hold: bool = False) -> None:
        """Go on from `now` at the average rate of the cycle that ends, after a stop of `cost` seconds.

        What an endpoint could have taken during a short hold it saved up, as far as it saves up anything.
        """
        length = now - self._cycle
        goal = max(self._flow.accepted(self._cycle, now), 1) / max(length, 0.01)
        if is_hold and cost < _LONG_HOLD:
            goal *= length / max(length - cost + min(cost, self._saved(goal)), 0.01)
            goal = max(goal, self._taken_lately(now - cost, length - cost))
        if (
            cost < _SHORT_STOP and length < _EPOCH_SECONDS
        ):  # The endpoint fills a bucket, and had saved up before: it accepts one each `cost`.
            goal = min(goal, 2 / max(cost, _NO_TIME))
        same = self._goal is not None and abs(goal - self._goal) <= _SAME * self._goal
        self._confirmed = self._confirmed + 1 if same else 0
        # An endpoint that was open for a moment only admits so many in each minute, say; it takes that average rate.
        is_window = length - cost < cost / 4 and cost > _SHORT_STOP
        rest = min(length * 2**self._confirmed, _REST * cost) if same else 0.0
        self._rest_until = now + min(rest, _LONGEST_REST)
        self._cycle = self._emptied = now
        self._cruise(now, goal, _STEP if same or is_window else _FIRST_STEP)

    # Changing modes

    def _cruise(self, now: float, goal: float, step: float) -> None:
        self._goal, self._step = goal, step
        self._nudges = self._quiet_epochs = 0
        self._probing, self._light = None, Trial(now)
        self._switch(now, Mode.CRUISE, goal)
        self._alarm = ChangeDetector(self.noise)

    def _open(self, now: float, *, noise: float) -> None:
        self.noise = noise
        self._switch(now, Mode.OPEN, None)
        self._alarm, self._probe_after = ChangeDetector(noise), _PROBE_SECONDS

    def reset(self, now: float) -> None:
        """Forget what was learned from refusals: they had another cause."""
        self._open(now, noise=0.0)

    def _switch(self, now: float, mode: Mode, rate: float | None) -> None:
        self.mode, self.rate = mode, rate
        self._trial = Trial(now, rate)

    def _accepted_rate(self, now: float) -> float:
        """Accepted attempts a second of late."""
        began = self._began if self._began is not None else now
        trial = self._trial
        enough = trial.count >= 10 and now - trial.since >= 0.25
        start = max(began, trial.since if enough else now - 1.0)
        end = max(now - self.lag, start + 0.01)
        return max(self._flow.accepted(start, end), 1) / (end - start)


def log_likelihood(trial: Trial, low: float, high: float) -> float:
    """The log of how much likelier the trial is at a share of `high` refusals than at `low`."""
    high = min(high, 0.95)
    return trial.refused * log(high / low) + trial.accepted * log((1 - high) / (1 - low))


def is_noise(before: Trial, trial: Trial, noise: float) -> bool:
    """Whether the share of refusals stayed the same while the rate fell.

    Were they due to load, the endpoint would have accepted as many attempts a second as before, and the share would
    have fallen.
    """
    if not before.is_test or before.rate is None or trial.rate is None or before.rate <= trial.rate:
        return False
    if before.count < _TEST_ATTEMPTS or trial.count < _TEST_ATTEMPTS / 3 or before.share > _MOST_NOISE:
        return False
    under_load = max(1 - (1 - before.share) * before.rate / trial.rate, noise + 0.02)
    return before.share > under_load and log_likelihood(trial, under_load, before.share) >= _SURE
