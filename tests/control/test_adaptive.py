"""AIMD on the number in flight: half to start with, steps up, cuts down, and back again."""

from __future__ import annotations

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncinfer import AdaptiveConcurrencyParams, RemoteParams
from asyncinfer.control.adaptive import Aimd, Phase, adaptive_params

PARAMS = AdaptiveConcurrencyParams(
    min_concurrency=1, max_concurrency=101, concurrency_step=10, min_update_time=1.0, min_window_size=100
)


class Windows:
    """An Aimd that is fed whole windows of a hundred outcomes, a second each."""

    def __init__(self) -> None:
        self.aimd = Aimd(PARAMS)
        self._now = 0.0
        self.aimd.answered(0.0)  # opens the first window
        self._seen = 1

    def window(self, bad: int) -> int:
        """A window with `bad` overloads; the permits after it."""
        for i in range(100 - self._seen):
            (self.aimd.overloaded if i < bad else self.aimd.answered)(self._now + (i == 99 - self._seen))
        self._now += 1
        self._seen = 0
        return self.aimd.permits


@pytest.fixture
def windows() -> Windows:
    return Windows()


def test_starts_at_half(windows: Windows) -> None:
    assert windows.aimd.permits == 51


def test_warms_up_by_a_step_a_window_until_the_maximum(windows: Windows) -> None:
    assert [windows.window(bad=0) for _ in range(7)] == [61, 71, 81, 91, 101, 101, 101]


def test_cuts_at_one_per_cent(windows: Windows) -> None:
    assert windows.window(bad=1) == 40
    assert windows.aimd.phase is Phase.BACKOFF


def test_a_second_cut_wants_two_bad_windows(windows: Windows) -> None:
    assert [windows.window(bad=5) for _ in range(5)] == [40, 40, 32, 32, 25]


def test_a_good_window_between_two_bad_ones_begins_the_count_anew(windows: Windows) -> None:
    assert [windows.window(bad) for bad in (5, 5, 0, 5, 5)] == [40, 40, 40, 40, 32]


def test_two_good_windows_end_the_backoff_and_it_warms_up_again(windows: Windows) -> None:
    assert [windows.window(bad) for bad in (5, 0, 0, 0)] == [40, 40, 50, 60]
    assert windows.aimd.phase is Phase.WARMUP


def test_between_the_thresholds_nothing_changes() -> None:
    aimd = Aimd(PARAMS.model_copy(update={"recovery_threshold": 0.0, "error_threshold": 0.5}))
    for now, bad in ((0.0, 99), (1.0, 10), (2.0, 10), (3.0, 10)):
        for i in range(100):
            (aimd.overloaded if i < bad else aimd.answered)(now)
        if now == 1.0:
            cut = aimd.permits
    assert aimd.permits == cut < 51


def test_no_window_closes_before_its_time_or_with_too_few_outcomes() -> None:
    aimd = Aimd(PARAMS)
    for _ in range(1000):
        aimd.overloaded(0.5)
    assert aimd.permits == 51, "a thousand refusals at one moment are one window"
    aimd = Aimd(PARAMS)
    for now in range(99):
        aimd.overloaded(float(now))
    assert aimd.permits == 51


def test_an_endpoint_is_stepped_by_an_eighth_from_one_to_its_workers() -> None:
    params = adaptive_params(RemoteParams(num_workers=256, politeness_policy=20.0))
    assert (params.min_concurrency, params.max_concurrency, params.concurrency_step) == (1, 256, 31)
    assert params.min_update_time == 20.0, "permits that rest for so long show a change no sooner"
    assert Aimd(params).permits == 128
    assert Aimd(adaptive_params(RemoteParams(num_workers=1))).permits == 1


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens, the permits stay within their bounds and move by one step or one cut at a time."""

    @initialize(
        low=st.integers(1, 20),
        more=st.integers(0, 200),
        step=st.integers(1, 50),
        factor=st.floats(0.0, 1.0),
        backoff=st.floats(0.1, 3.0),
        size=st.integers(1, 20),
    )
    def begin(self, low: int, more: int, step: int, factor: float, backoff: float, size: int) -> None:
        self.aimd = Aimd(
            AdaptiveConcurrencyParams(
                min_concurrency=low,
                max_concurrency=low + more,
                concurrency_step=step,
                initial_concurrency_factor=factor,
                backoff_factor=backoff,
                min_window_size=size,
                min_update_time=1.0,
            )
        )
        self.now = 0.0
        self.changed_at = -1.0
        self.permits = self.aimd.permits

    @rule(count=st.integers(1, 30), seconds=st.floats(0, 3), bad=st.booleans())
    def outcomes(self, count: int, seconds: float, bad: bool) -> None:
        self.now += seconds
        for _ in range(count):
            (self.aimd.overloaded if bad else self.aimd.answered)(self.now)

    @rule(bad=st.integers(1, 5), good=st.integers(0, 5))
    def mixed(self, bad: int, good: int) -> None:
        assume(bad + good > 1)
        self.outcomes(bad, 1.0, True)
        self.outcomes(good or 1, 0.0, False)

    @invariant()
    def is_within_bounds_and_steady(self) -> None:
        if not hasattr(self, "aimd"):
            return
        params = self.aimd.params
        assert params.min_concurrency <= self.aimd.permits <= params.max_concurrency
        if self.aimd.permits != self.permits:
            assert self.now >= self.changed_at + params.min_update_time, "permits changed too soon"
            self.changed_at, self.permits = self.now, self.aimd.permits


TestAnyCourse = AnyCourse.TestCase
