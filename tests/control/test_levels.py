"""`Levels`: samples that show a limit on the attempts in flight, and samples that do not."""

from __future__ import annotations

import random

from asyncinfer.control.levels import Levels


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
        """With a limit on the rate, everything is refused from one moment on."""
        levels = Levels()
        self.fill(levels, [(level, False) for level in range(40)] + [(level, True) for level in range(40, 60)])
        assert levels.limit() is None

    def test_accepted_attempts_at_another_rate_show_no_limit(self) -> None:
        """At a higher rate, more attempts are in flight and more are refused, even without a limit on attempts in flight."""
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

    def test_twice_as_many_refusals_are_needed_to_find_a_limit_again(self) -> None:
        levels = Levels()
        levels.require_more()
        self.fill(levels, [(40, True), (39, False)] * 7)
        assert levels.limit() is None
        self.fill(levels, [(40, True), (39, False)] * 10)
        assert levels.limit() == 40
