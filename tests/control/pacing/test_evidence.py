"""Counts of attempts, and the alarm for a rising share of refusals."""

from __future__ import annotations

import pytest

from asyncinfer.control.pacing.evidence import AttemptCounts, ChangeDetector


class TestAttemptCounts:
    def test_share_is_the_refused_part_of_the_attempts_with_a_result(self) -> None:
        counts = AttemptCounts(0.0)
        assert (counts.total, counts.share) == (0, 0.0)
        for refused in (False, False, True, False):
            counts.add(refused=refused)
        counts.sent = 9
        assert (counts.total, counts.share) == (4, 0.25)


class TestChangeDetector:
    def alarms(self, detector: ChangeDetector, refusals: list[bool]) -> int | None:
        """The number of attempts after which the alarm is raised; None if it is not raised."""
        return next((i for i, refused in enumerate(refusals, 1) if detector.add(refused=refused)), None)

    def test_refusals_among_twenty_attempts_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [False] * 16 + [True] * 10) == 20

    def test_fewer_attempts_do_not_raise_the_alarm(self) -> None:
        """Noise can refuse several of the first few attempts."""
        assert self.alarms(ChangeDetector(0.0), [True] * 6 + [False] * 13) is None

    def test_one_refusal_does_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [True, *[False] * 100]) is None

    def test_two_refusals_among_few_attempts_do_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [True, False, True, *[False] * 20]) is None

    def test_refusals_spread_among_many_accepted_attempts_do_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), ([True] + [False] * 32) * 100) is None

    @pytest.mark.parametrize("base", [0.03, 0.12, 0.25])
    def test_expected_share_of_refusals_does_not_raise_the_alarm(self, base: float) -> None:
        every = round(1 / base)
        assert self.alarms(ChangeDetector(base), ([True] + [False] * (every - 1)) * 200) is None

    @pytest.mark.parametrize("base", [0.0, 0.03, 0.12, 0.25])
    def test_far_more_refusals_than_expected_raise_the_alarm(self, base: float) -> None:
        alarm = self.alarms(ChangeDetector(base), [True, True, False] * 50)
        assert alarm is not None
        assert alarm <= 60
