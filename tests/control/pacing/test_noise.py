"""The share of noise, and the evidence that distinguishes noise from load."""

from __future__ import annotations

import pytest

from asyncinfer.control.pacing.evidence import AttemptCounts
from asyncinfer.control.pacing.noise import Noise, NoiseEvidence, Reference


def counts(rate: float, accepted: int, refused: int) -> AttemptCounts:
    return AttemptCounts(0.0, rate, accepted=accepted, refused=refused)


class TestNoise:
    def test_share_of_noise_is_the_refused_part(self) -> None:
        assert Noise().share == 0.0
        assert Noise(30, 10).share == 0.25

    def test_largest_likely_share_of_noise_is_higher_after_few_attempts(self) -> None:
        assert Noise(3, 1).most > Noise(300, 100).most > 0.25

    def test_noise_follows_the_latest_attempts_slowly(self) -> None:
        noise = Noise(300, 100)
        noise.follow(counts(10, 140, 60))
        assert 0.25 < noise.share < 0.3

    def test_noise_is_replaced_when_far_fewer_attempts_are_refused(self) -> None:
        noise = Noise(300, 100)
        noise.follow(counts(10, 198, 2))
        assert noise.share == 0.01

    def test_few_attempts_without_refusal_do_not_disprove_noise(self) -> None:
        assert not Noise(300, 100).is_disproved(counts(10, 5, 0))


class TestNoiseEvidence:
    """In these tests the endpoint refused 25 of 100 attempts at a rate of 100 attempts per second."""

    @pytest.fixture
    def evidence(self) -> NoiseEvidence:
        evidence = NoiseEvidence()
        evidence.set_reference(0.0, Reference(75.0, counts(100, 75, 25)))
        return evidence

    def test_refusals_as_frequent_at_half_the_rate_are_noise(self, evidence: NoiseEvidence) -> None:
        noise = evidence.find_noise(1.0, counts(37, 30, 10), 0.015)
        assert noise is not None
        assert noise.share == 0.25

    def test_refusals_that_become_rare_are_not_noise(self, evidence: NoiseEvidence) -> None:
        assert evidence.find_noise(1.0, counts(37, 100, 1), 0.015) is None

    def test_refusals_that_become_more_frequent_are_not_noise(self, evidence: NoiseEvidence) -> None:
        """The capacity has fallen."""
        assert evidence.find_noise(1.0, counts(37, 30, 30), 0.015) is None

    def test_refusals_near_the_accepted_rate_do_not_prove_noise(self, evidence: NoiseEvidence) -> None:
        assert evidence.find_noise(1.0, counts(70, 30, 10), 0.015) is None

    def test_few_attempts_do_not_prove_noise(self, evidence: NoiseEvidence) -> None:
        assert evidence.find_noise(1.0, counts(37, 15, 5), 0.015) is None

    def test_attempts_of_several_trials_prove_noise_together(self, evidence: NoiseEvidence) -> None:
        evidence.add(counts(37, 15, 5))
        assert evidence.find_noise(1.0, counts(30, 15, 5), 0.015) is not None

    def test_old_reference_does_not_prove_noise(self, evidence: NoiseEvidence) -> None:
        assert evidence.find_noise(60.0, counts(37, 30, 10), 0.015) is None

    def test_reference_with_a_lower_rate_does_not_replace_a_valid_reference(self, evidence: NoiseEvidence) -> None:
        evidence.set_reference(1.0, Reference(20.0, counts(30, 20, 10)))
        assert evidence.accepted_rate(1.0) == 75.0
        evidence.set_reference(60.0, Reference(20.0, counts(30, 20, 10)))
        assert evidence.accepted_rate(60.0) == 20.0
