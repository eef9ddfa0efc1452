"""The samples that the controller decides on: trials, alarms, rates of accepted attempts, levels in flight."""

from __future__ import annotations

import random

import pytest

from asyncinfer.control.levels import Levels
from asyncinfer.control.pacing.evidence import ChangeDetector, Trial
from asyncinfer.control.pacing.flow import Flow
from asyncinfer.control.pacing.noise import Noise, NoiseEvidence, Reference


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

    def test_refusals_among_twenty_attempts_raise_the_alarm(self) -> None:
        assert self.alarms(ChangeDetector(0.0), [False] * 16 + [True] * 10) == 20

    def test_fewer_attempts_do_not_raise_the_alarm(self) -> None:
        """At the start, noise can refuse several of a few attempts."""
        assert self.alarms(ChangeDetector(0.0), [True] * 6 + [False] * 13) is None

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
        flow.refuse(4)
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
        for number in (6, 5, 7):
            flow.refuse(number)
        assert flow.refused(0.0, 10.0) == 3

    def test_refusals_in_a_row_allow_for_one_accepted_attempt_and_for_any_order(self) -> None:
        flow = Flow()
        for i in range(20):
            flow.send(float(i))
        for number in (10, 12, 14, 13, 15):
            flow.refuse(number)
        assert flow.refused_in_a_row(5, first=10)
        assert not flow.refused_in_a_row(5, first=11)
        flow.refuse(18)
        assert not flow.refused_in_a_row(5, first=1)

    def test_memory_is_bounded(self) -> None:
        flow = Flow()
        for i in range(100_000):
            flow.send(i / 1000)
        assert len(flow._sent) <= 2 * Flow._KEPT
        assert flow.accepted(99.0, 100.0) == 1000


def trial(rate: float, accepted: int, refused: int) -> Trial:
    return Trial(0.0, rate, accepted=accepted, refused=refused)


class TestNoise:
    def test_share_is_the_refused_part(self) -> None:
        assert Noise().share == 0.0
        assert Noise(30, 10).share == 0.25

    def test_few_attempts_may_show_too_small_a_share(self) -> None:
        assert Noise(3, 1).most > Noise(300, 100).most > 0.25

    def test_it_follows_the_latest_attempts_slowly(self) -> None:
        noise = Noise(300, 100)
        noise.follow(trial(10, 140, 60))
        assert 0.25 < noise.share < 0.3

    def test_far_fewer_refusals_replace_it(self) -> None:
        noise = Noise(300, 100)
        noise.follow(trial(10, 198, 2))
        assert noise.share == 0.01

    def test_a_few_attempts_without_refusal_prove_nothing(self) -> None:
        assert not Noise(300, 100).is_disproved(trial(10, 5, 0))


class TestNoiseEvidence:
    """At 100 attempts a second, the endpoint refused 25 of 100."""

    @pytest.fixture
    def evidence(self) -> NoiseEvidence:
        evidence = NoiseEvidence()
        evidence.refer(0.0, Reference(75.0, trial(100, 75, 25)))
        return evidence

    def test_refusals_that_are_as_frequent_at_half_the_rate_are_noise(self, evidence: NoiseEvidence) -> None:
        noise = evidence.noise(1.0, trial(37, 30, 10), 0.015)
        assert noise is not None
        assert noise.share == 0.25

    def test_refusals_that_become_rare_are_not(self, evidence: NoiseEvidence) -> None:
        assert evidence.noise(1.0, trial(37, 100, 1), 0.015) is None

    def test_refusals_that_become_more_frequent_are_not(self, evidence: NoiseEvidence) -> None:
        """The capacity has fallen."""
        assert evidence.noise(1.0, trial(37, 30, 30), 0.015) is None

    def test_a_rate_near_the_accepted_one_proves_nothing(self, evidence: NoiseEvidence) -> None:
        assert evidence.noise(1.0, trial(70, 30, 10), 0.015) is None

    def test_few_attempts_prove_nothing(self, evidence: NoiseEvidence) -> None:
        assert evidence.noise(1.0, trial(37, 15, 5), 0.015) is None

    def test_tests_in_a_row_are_one_body_of_evidence(self, evidence: NoiseEvidence) -> None:
        evidence.add(trial(37, 15, 5))
        assert evidence.noise(1.0, trial(30, 15, 5), 0.015) is not None

    def test_an_old_reference_proves_nothing(self, evidence: NoiseEvidence) -> None:
        assert evidence.noise(60.0, trial(37, 30, 10), 0.015) is None

    def test_a_reference_with_a_lower_rate_does_not_replace_one_that_holds(self, evidence: NoiseEvidence) -> None:
        evidence.refer(1.0, Reference(20.0, trial(30, 20, 10)))
        assert evidence.accepted_rate(1.0) == 75.0
        evidence.refer(60.0, Reference(20.0, trial(30, 20, 10)))
        assert evidence.accepted_rate(60.0) == 20.0


class TestLevels:
    def fill(self, levels: Levels, samples: list[tuple[int, bool]]) -> None:
        """Add `(level, refused)` samples."""
        for i, (level, refused) in enumerate(samples):
            levels.add(i, level, series=0, refused=refused)

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

    def test_another_rate_proves_nothing(self) -> None:
        """At a high rate more are in flight, and more are refused, without a limit on those in flight."""
        levels = Levels()
        for i in range(60):
            is_fast = (i // 5) % 2 == 0
            levels.add(i, 40 if is_fast else 39, series=i // 5, refused=is_fast)
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
