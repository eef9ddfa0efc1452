"""Decides when the next attempt may start. The pacer follows the rate at which an endpoint accepts attempts.

The pacer is in one of four modes:

- OPEN: no limit except a ramp at the start. If clearly more attempts are refused than before, an alarm starts a TRIAL.
- TRIAL: sends at the accepted rate, and then at lower rates. If refusals become rare, they came from load, and CRUISE
  follows at that rate. If they are as frequent as at a rate that the endpoint accepted before, they are noise, which
  no rate avoids. Then OPEN follows, and that share of refusals is expected from now on. Otherwise the next trial uses
  an even lower rate.
- CRUISE: sends near the accepted rate, and judges it epoch by epoch. The pacer aims at a small share of refusals. If
  nothing is refused, the endpoint may accept more, so the rate grows, in steps that become larger. If many attempts are
  refused, the rate is too high. Noise is recognised here too.
- CLOSED: the endpoint refuses everything. Attempts start one at a time, with growing pauses. The first accepted attempt
  opens the endpoint again, at the average rate that it accepted since it closed last. This is the right rate for an
  endpoint that admits a fixed number of requests each minute.

Each mode is a class in `asyncinfer.control.pacing`. It judges samples and returns transitions, which the pacer applies.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

from asyncinfer.control.pacing.capacity import LONGEST_GAP, CapacityEstimate
from asyncinfer.control.pacing.closed import ClosedMode
from asyncinfer.control.pacing.cruise import CruiseMode
from asyncinfer.control.pacing.cycles import Cycles
from asyncinfer.control.pacing.evidence import AttemptCounts
from asyncinfer.control.pacing.noise import Noise
from asyncinfer.control.pacing.open import OpenMode, Ramp
from asyncinfer.control.pacing.transitions import (
    Confidence,
    Reopen,
    SetRate,
    StartClosed,
    StartCruise,
    StartOpen,
    StartTrial,
    Transition,
)
from asyncinfer.control.pacing.trial import TrialMode

# How many seconds early an attempt may start, because timers are not more exact.
_EARLY_START = 0.003
# After this number of seconds without an attempt, the engine was idle, and was not only waiting for answers.
_IDLE = 60.0


class Mode(Enum):
    """The modes of the pacer, as described above."""

    OPEN = auto()
    TRIAL = auto()
    CRUISE = auto()
    CLOSED = auto()


class Pacer:
    """Spaces attempts. Times are seconds of one monotonic clock.

    Args:
        mode: The first mode, OPEN or CRUISE.
        rate: Attempts per second in CRUISE; None for no limit.

    Attributes:
        mode: The present mode.
        rate: Attempts per second; None for no limit.
        in_flight: How many attempts are in flight.
        series: The number of the first attempt at the present rate.
    """

    def __init__(self, mode: Mode = Mode.OPEN, rate: float | None = None) -> None:
        self._capacity = CapacityEstimate()
        self._cycles = Cycles(self._capacity)
        self._ramp = Ramp()
        self.in_flight = self.series = 0
        # When the next attempt may start; OPEN ignores it.
        self._due = 0.0
        self._last_sent = -inf
        self._counts = AttemptCounts(0.0, rate)
        self._state: OpenMode | TrialMode | CruiseMode | ClosedMode = OpenMode(self._capacity)
        self.mode, self.rate = mode, rate
        if mode is Mode.CRUISE and rate is not None:
            self._state = CruiseMode(self._capacity, 0.0, StartCruise(rate, Confidence.HIGH), 0.0)

    @property
    def noise_share(self) -> float:
        """The share of attempts that the endpoint refuses at any rate."""
        return self._capacity.noise.share

    @property
    def refusal_time(self) -> float:
        """How many seconds a refusal takes to arrive."""
        return self._capacity.refusal_time

    @refusal_time.setter
    def refusal_time(self, seconds: float) -> None:
        self._capacity.refusal_time = seconds

    # Starting attempts

    def wait(self, now: float) -> float:
        """Seconds until the next attempt may start."""
        if self.mode is not Mode.OPEN:
            return max(0.0, self._due - _EARLY_START - now)
        if self._capacity.began is None:
            self._capacity.began = self._capacity.exhausted_at = self._cycles.start = now
        return self._ramp.wait(now, self.in_flight)

    def started(self, now: float) -> int:
        """An attempt starts.

        Returns:
            Its number.
        """
        if now - self._last_sent > _IDLE:
            self._leave_out_idle_time(now)
        self._last_sent = now
        self.in_flight += 1
        self._counts.sent += 1
        number = self._capacity.history.add(now)
        if isinstance(self._state, ClosedMode):
            self._due = now + self._state.pause
        elif self.rate is not None:
            self._due = max(self._due, now - _EARLY_START) + min(1 / self.rate, LONGEST_GAP)
        return number

    def _leave_out_idle_time(self, now: float) -> None:
        """Leave out the time in which there was nothing to send: it does not show which rate the endpoint accepts."""
        idle = now - max(self._last_sent, self._due)
        if idle > _IDLE and self._last_sent > -inf:
            self._cycles.start += idle
            self._capacity.exhausted_at += idle

    def delay_until(self, now: float, until: float) -> None:
        """The endpoint requested a wait: no attempt starts before `until`, and the rate may change.

        `Endpoint` also keeps `until`: it applies without a pacer too, and an answer in CLOSED does not shorten it.
        """
        if until <= self._due:
            return
        self._due = until
        transition = self._cycles.wait_requested(now, until)
        if transition is not None:
            self._apply(until, transition)
        elif self.mode is Mode.OPEN:
            self._ramp.restart(until, self.in_flight)

    def answered(self, now: float) -> None:
        """An answer arrived, so an endpoint that limits the attempts in flight has room for another attempt."""
        self.in_flight -= 1
        self._ramp.answers += 1
        if isinstance(self._state, ClosedMode) and self._state.allows_early_attempt(now):
            self._due = now

    def ended(self) -> None:
        """An attempt ended without an answer, and the rate is not the reason."""
        self.in_flight -= 1

    # Samples

    def refused(self, now: float, number: int) -> None:
        """The attempt with this number was refused. Its sample follows when all earlier attempts have a result."""
        self.in_flight -= 1
        self._capacity.history.mark_refused(number)
        if isinstance(self._state, OpenMode | CruiseMode) and self._capacity.is_flooded(self._counts):
            self._apply(now, self._state.start_trial(now, self._counts, is_flood=True))

    def sample(self, now: float, number: int, *, refused: bool) -> None:
        """The attempt with this number was accepted or refused."""
        if number < self.series:
            return  # It was sent before the latest change of the rate.
        self._counts.add(refused=refused)
        transition = self._state.sample(now, self._counts, refused=refused)
        if transition is not None:
            self._apply(now, transition)

    def reset(self, now: float) -> None:
        """Forget what refusals have shown so far: they had another cause."""
        self._apply(now, StartOpen(Noise()))

    # Changes of the mode

    def _apply(self, now: float, transition: Transition) -> None:
        match transition:
            case SetRate(rate):
                self._switch(now, self.mode, rate)
            case StartOpen(noise):
                self._open(now, noise)
            case StartTrial():
                self._start_trial(now, transition)
            case StartCruise():
                self._cruise(now, transition)
            case StartClosed(rate):
                self._close(now, rate)
            case Reopen(stopped):
                self._due = now
                if self._cycles.is_first_accepted(now):
                    self._cycles.start = now
                    self._open(now, self._capacity.noise)
                else:
                    self._cruise(now, self._cycles.finish(now, stopped))

    def _open(self, now: float, noise: Noise) -> None:
        self._capacity.noise, self._capacity.refusals_are_load = noise, False
        self._capacity.evidence.forget()
        self._state = OpenMode(self._capacity)
        self._ramp.restart(now, self.in_flight)
        self._switch(now, Mode.OPEN, None)

    def _start_trial(self, now: float, start: StartTrial) -> None:
        self._due = max(self._due, start.not_before)
        rate = max(start.rate, self._capacity.lowest_rate)
        self._state = TrialMode(self._capacity, rate, start)
        self._switch(now, Mode.TRIAL, rate)

    def _cruise(self, now: float, start: StartCruise) -> None:
        self._cycles.rate = start.rate
        self._state = CruiseMode(self._capacity, now, start, self._cycles.steady_until)
        self._switch(now, Mode.CRUISE, start.rate)

    def _close(self, now: float, rate: float) -> None:
        self._capacity.refusals_are_load = True  # Noise does not refuse this many attempts in a row.
        self._state = ClosedMode(self._capacity, now, rate)
        self._switch(now, Mode.CLOSED, rate)

    def _switch(self, now: float, mode: Mode, rate: float | None) -> None:
        if mode is not Mode.OPEN:
            self._capacity.evidence.add(self._counts)
        self.mode, self.rate = mode, rate
        self.series = self._capacity.history.count + 1
        self._counts = AttemptCounts(now, rate, self.series)
