"""Adapts the number of permits and the pace to what an endpoint accepts."""

from __future__ import annotations

from asyncinfer.control.aimd import AIMDController
from asyncinfer.control.decisions import Decision, DecisionLog
from asyncinfer.control.levels import Levels
from asyncinfer.control.pacer import Mode, Pacer
from asyncinfer.control.permit import AttemptResult, Permit
from asyncinfer.control.rate_limits import Reservation
from asyncinfer.control.samples import SampleQueue

# The share of refusals, noise not counted, with which WARMUP still adds permits.
_TOLERATED = 0.3


class AdaptiveConcurrency:
    """Feeds samples to the parts that decide, and notes their decisions.

    The `AIMDController` sets the number of permits. The `Pacer` spaces attempts. `Levels` finds out whether the
    endpoint limits the attempts in flight; such a limit replaces the pace.
    """

    def __init__(self, aimd: AIMDController, decisions: DecisionLog) -> None:
        self._aimd, self._decisions = aimd, decisions
        self.pacer = Pacer()
        self._levels = Levels()
        self._samples = SampleQueue()

    def update(self, now: float) -> None:
        """Count attempts as accepted that have been pending for a long time. Add permits at the end of a window."""
        while (permit := self._samples.pop(now)) is not None:
            self._sample(now, permit, refused=permit.result is AttemptResult.REFUSED)
        aimd = self._aimd
        permits = aimd.permits
        aimd.update(now)
        if aimd.permits != permits:
            self._note_permits(now, permits)

    # What happens to attempts

    def started(self, now: float, reservation: Reservation | None) -> Permit:
        """An attempt starts."""
        pacer = self.pacer
        level, series = pacer.in_flight, pacer.series
        permit = Permit(now, pacer.started(now), series, level, reservation)
        self._samples.add(permit)
        return permit

    def answered(self, now: float, permit: Permit) -> None:
        """The endpoint answered the attempt."""
        self.pacer.answered(now)
        self._end(now, permit, AttemptResult.ACCEPTED)

    def ended(self, now: float, permit: Permit, result: AttemptResult) -> None:
        """The attempt ended without an answer and without a refusal."""
        self.pacer.ended()
        self._end(now, permit, result)

    def timed_out(self, now: float, permit: Permit) -> None:
        """The attempt timed out while others were in flight, so the endpoint may have too much to do."""
        self.ended(now, permit, AttemptResult.UNKNOWN)
        permits = self._aimd.permits
        self._aimd.timed_out(now)
        if self._aimd.permits != permits:
            self._note_permits(now, permits, "timeout, ")

    def refused(self, now: float, permit: Permit) -> None:
        """The endpoint refused the attempt."""
        pacer = self.pacer
        pacer.refusal_time = max(now - permit.sent, 0.9 * pacer.refusal_time)
        self._samples.set_refusal_time(pacer.refusal_time)
        if self._is_explained(now, permit):
            self.ended(now, permit, AttemptResult.UNKNOWN)
        else:
            pacer.refused(now, permit.number)
            self._end(now, permit, AttemptResult.REFUSED)

    # Samples

    def _end(self, now: float, permit: Permit, result: AttemptResult) -> None:
        if not permit.is_counted:
            permit.result = result
            while (ready := self._samples.pop(now)) is not None:
                self._sample(now, ready, refused=ready.result is AttemptResult.REFUSED)
        elif result is AttemptResult.REFUSED:
            self._sample(now, permit, refused=True)

    def _sample(self, now: float, permit: Permit, *, refused: bool) -> None:
        aimd, pacer = self._aimd, self.pacer
        permits, mode = aimd.permits, pacer.mode
        if not refused:
            self._accepted(now, permit)
        pacer.sample(now, permit.number, refused=refused)
        if aimd.permits != permits:
            self._note_permits(now, permits)
        if pacer.mode is not mode:
            self._note(now, pacer.mode.name.lower())

    # The limit on attempts in flight

    # While the mode is OPEN, levels are not collected: when too many attempts start at once, levels and refusals rise
    # together, whatever the cause.

    def _accepted(self, now: float, permit: Permit) -> None:
        aimd = self._aimd
        if self.pacer.mode is Mode.OPEN:
            self._levels.clear()
            aimd.accepted(now, permit.level)
            return
        self._levels.add(permit.number, permit.level, permit.series, refused=False)
        aimd.accepted(now, permit.level)
        if aimd.limit is None:
            self._finds_limit(now, permit.level)

    def _is_explained(self, now: float, permit: Permit) -> bool:
        """Whether a limit on the attempts in flight explains the refusal. Then it says nothing about the rate."""
        if self.pacer.mode is Mode.OPEN:
            self._levels.clear()
        else:
            self._levels.add(permit.number, permit.level, permit.series, refused=True)
        self._aimd.tolerance = self.pacer.noise_share + _TOLERATED
        return self._aimd.refused(now, permit.level) or self._finds_limit(now, permit.level)

    def _finds_limit(self, now: float, level: int) -> bool:
        """If the samples show a limit on the attempts in flight, follow it.

        Returns:
            Whether there is such a limit, and it explains a refusal at `level`.
        """
        limit = self._levels.limit()
        if limit is None:
            return False
        self._levels.require_more()
        self._aimd.found_limit(limit, now)
        self.pacer.reset(now)
        self._note(now, f"at most {limit} attempts in flight are accepted")
        return level >= limit

    # Decisions

    def _note_permits(self, now: float, before: int, why: str = "") -> None:
        self._note(now, f"{why}{self._aimd.phase}: {before} permits before")

    def _note(self, now: float, why: str) -> None:
        self._decisions.add(Decision(now, self._aimd.permits, self.pacer.rate, why))
