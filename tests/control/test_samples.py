"""The samples that the controller decides on: trials, alarms, rates of accepted attempts, levels in flight."""

from __future__ import annotations

import random

import pytest

from asyncinfer.control.levels import Levels
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial
from asyncinfer.control.pacing.flow import Flow


class TestTrial:
    def test_share_is_the_refused_part_of_the_decided_attempts(self) -> None:
        trial = Trial(0.0)
        assert (trial.count, trial.share) == (0, 0.0)
        for refused in (False, False, True, False):
            trial.add(refused=refused)
        trial.sent = 9
        assert (trial.count, trial.share) == (4, 0.25)


class TestChangeDetector:
    def alarms(self, detector: ChangeDetector, refusals: list[bool]) -> int | None:
        """After how many attempts the alarm is raised."""
        return next((i for i, refused in enumerate(refusals, 1) if detector.add(refused=refused)), None)

    def test_refusals_in_a_row_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [True] * 10) == 4

    def test_one_refusal_does_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [True, *[False] * 100]) is None

    def test_two_refusals_among_few_attempts_do_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [True, False, True, *[False] * 20]) is None

    def test_refusals_spread_among_many_accepted_attempts_do_not_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), ([True] + [False] * 32) * 100) is None

    @pytest.mark.parametrize("base", [0.03, 0.12, 0.25])
    def test_the_share_that_is_expected_does_not_raise_the_alarm(self, base: float) -> None:
        every = round(1 / base)
        assert self.alarms(ChangeDetector(base), ([True] + [False] * (every - 1)) * 200) is None

    @pytest.mark.parametrize("base", [0.0, 0.03, 0.12, 0.25])
    def test_far_more_refusals_than_expected_raise_the_alarm(self, base: float) -> None:
        alarm = self.alarms(ChangeDetector(base), [True, True, False] * 50)
        assert alarm is not None
        assert alarm <= 60


class TestFlow:
    def test_an_attempt_counts_as_accepted_until_it_is_refused(self) -> None:
        flow = Flow()
        for i in range(10):
            flow.send(float(i))
        assert flow.accepted(0.0, 10.0) == 10
        flow.refuse(3.0)
        assert (flow.sent(0.0, 10.0), flow.refused(0.0, 10.0), flow.accepted(0.0, 10.0)) == (10, 1, 9)

    def test_the_start_of_a_period_belongs_to_it_and_its_end_does_not(self) -> None:
        flow = Flow()
        for i in range(10):
            flow.send(float(i))
        assert flow.sent(2.0, 5.0) == 3

    def test_refusals_that_arrive_out_of_order_are_counted(self) -> None:
        flow = Flow()
        for i in range(10):
            flow.send(float(i))
        for sent in (5.0, 4.0, 6.0):
            flow.refuse(sent)
        assert flow.refused(0.0, 10.0) == 3

    def test_memory_is_bounded(self) -> None:
        flow = Flow()
        for i in range(100_000):
            flow.send(i / 1000)
        assert len(flow._sent) <= 2 * Flow._KEPT
        assert flow.accepted(99.0, 100.0) == 1000


class TestLevels:
    def fill(self, levels: Levels, samples: list[tuple[int, bool]]) -> None:
        """Add `(level, refused)` samples, one each 10 ms."""
        for i, (level, refused) in enumerate(samples):
            levels.add(i / 100, level, refused=refused)

    def test_refusals_at_one_level_and_acceptance_just_below_it_show_a_limit(self) -> None:
        levels = Levels()
        self.fill(levels, [(40, True), (39, False), (38, False)] * 8)
        assert levels.limit() == 40

    def test_a_limit_of_one_is_found(self) -> None:
        levels = Levels()
        self.fill(levels, [(1, True), (0, False)] * 10)
        assert levels.limit() == 1

    def test_few_refusals_show_no_limit(self) -> None:
        levels = Levels()
        self.fill(levels, [(40, True), (39, False)] * 3)
        assert levels.limit() is None

    def test_refusals_at_random_levels_show_no_limit(self) -> None:
        rng, levels = random.Random(0), Levels()
        self.fill(levels, [(rng.randrange(100), rng.random() < 0.3) for _ in range(200)])
        assert levels.limit() is None

    def test_one_burst_of_refusals_after_many_accepted_attempts_shows_no_limit(self) -> None:
        """A limit on the rate looks like this: everything is refused from one moment on."""
        levels = Levels()
        self.fill(levels, [(level, False) for level in range(40)] + [(level, True) for level in range(40, 60)])
        assert levels.limit() is None

    def test_accepted_attempts_far_below_the_refused_ones_show_no_limit(self) -> None:
        levels = Levels()
        self.fill(levels, [(100, True), (10, False)] * 10)
        assert levels.limit() is None

    def test_cleared_samples_show_no_limit(self) -> None:
        levels = Levels()
        self.fill(levels, [(40, True), (39, False)] * 10)
        levels.clear()
        assert levels.limit() is None

    def test_a_limit_in_doubt_takes_twice_as_many_refusals_to_find_again(self) -> None:
        levels = Levels()
        levels.doubt()
        self.fill(levels, [(40, True), (39, False)] * 7)
        assert levels.limit() is None
        self.fill(levels, [(40, True), (39, False)] * 10)
        assert levels.limit() == 40
