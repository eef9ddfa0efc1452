"""`AIMDController`: phases and windows, cuts for timeouts, and the limit on attempts in flight."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asyncinfer import AdaptiveConcurrencyParams, ConfigError, RemoteParams
from asyncinfer.control.aimd import AIMDController, Phase, adaptive_params, fixed_params

PARAMS = AdaptiveConcurrencyParams(
    min_concurrency=1, max_concurrency=101, concurrency_step=10, min_update_time=1.0, min_window_size=100
)


class Windows:
    """Feeds whole windows to a controller. A window has a hundred attempts and takes a second."""

    def __init__(self) -> None:
        self.controller = AIMDController(PARAMS)
        self._now = 0.0
        self.controller.accepted(0.0, 0)  # begins the first window
        self._seen = 1

    def window(self, timeouts: int) -> int:
        """Feed a window in which so many attempts time out.

        Returns:
            The permits after it.
        """
        for i in range(100 - self._seen):
            now = self._now + (i == 99 - self._seen)
            if i < timeouts:
                self.controller.timed_out(now)
            else:
                self.controller.accepted(now, 0)
        self._now += 1
        self._seen = 0
        return self.controller.permits


@pytest.fixture
def windows() -> Windows:
    return Windows()


class TestPhases:
    def test_permits_start_half_way_between_the_bounds(self, windows: Windows) -> None:
        assert windows.controller.permits == 51
        assert windows.controller.phase is Phase.WARMUP

    def test_warmup_adds_a_step_each_window_up_to_the_maximum(self, windows: Windows) -> None:
        assert [windows.window(timeouts=0) for _ in range(7)] == [61, 71, 81, 91, 101, 101, 101]
        assert windows.controller.phase is Phase.WARMUP

    def test_timeouts_at_the_error_threshold_cut_the_permits(self, windows: Windows) -> None:
        assert windows.window(timeouts=1) == 40
        assert windows.controller.phase is Phase.BACKOFF

    def test_two_more_bad_windows_cut_the_permits_a_second_time(self, windows: Windows) -> None:
        assert [windows.window(timeouts=5) for _ in range(5)] == [40, 40, 32, 32, 25]

    def test_good_window_between_bad_windows_delays_the_second_cut(self, windows: Windows) -> None:
        assert [windows.window(timeouts) for timeouts in (5, 5, 0, 5, 5)] == [40, 40, 40, 40, 32]

    def test_two_good_windows_start_the_recovery(self, windows: Windows) -> None:
        assert [windows.window(timeouts) for timeouts in (5, 0, 0, 0)] == [40, 40, 50, 60]
        assert windows.controller.phase is Phase.RECOVERY

    def test_recovery_ends_at_the_maximum(self, windows: Windows) -> None:
        windows.window(timeouts=5)
        assert [windows.window(timeouts=0) for _ in range(9)][-1] == 101
        assert windows.controller.phase is Phase.WARMUP

    def test_a_bad_window_in_recovery_cuts_again(self, windows: Windows) -> None:
        assert [windows.window(timeouts) for timeouts in (5, 0, 0, 5)] == [40, 40, 50, 40]
        assert windows.controller.phase is Phase.BACKOFF

    def test_share_of_timeouts_between_the_thresholds_keeps_the_permits(self) -> None:
        controller = AIMDController(PARAMS.model_copy(update={"recovery_threshold": 0.0, "error_threshold": 0.5}))
        permits = list[int]()
        for now, timeouts in ((0.0, 99), (1.0, 10), (2.0, 10), (3.0, 10)):
            for i in range(100):
                if i < timeouts:
                    controller.timed_out(now)
                else:
                    controller.accepted(now, 0)
            permits.append(controller.permits)
        assert permits[1:] == [permits[1]] * 3
        assert permits[1] < 51

    def test_timeouts_at_one_moment_do_not_end_a_window(self) -> None:
        controller = AIMDController(PARAMS)
        for _ in range(1000):
            controller.timed_out(0.5)
        assert controller.permits == 51

    def test_window_with_too_few_attempts_does_not_cut_the_permits(self) -> None:
        controller = AIMDController(PARAMS)
        for now in range(99):
            controller.timed_out(float(now))
        assert controller.permits == 51

    def test_a_backoff_factor_above_one_adds_no_permits(self) -> None:
        controller = AIMDController(PARAMS.model_copy(update={"backoff_factor": 3.0, "min_window_size": 1}))
        controller.timed_out(0.0)
        controller.timed_out(1.0)
        assert controller.permits == 51


class TestWarmupWithoutAnswers:
    def test_permits_grow_while_attempts_are_pending(self) -> None:
        """No answer is needed: a model that takes 30 s to answer would delay every step by 30 s."""
        controller, now = AIMDController(PARAMS), 0.0
        controller.update(now)
        while (after := controller.next_update(now)) < math.inf:
            now += after
            controller.update(now)
        assert controller.permits == 101
        assert now == pytest.approx(5 * 0.25, abs=0.01)

    def test_early_update_adds_no_permits(self) -> None:
        controller = AIMDController(PARAMS)
        for now in (0.0, 0.1, 0.2):
            controller.update(now)
        assert controller.permits == 51

    def test_warmup_adds_no_permits_with_more_refusals_than_the_tolerance(self) -> None:
        controller = AIMDController(PARAMS)
        controller.update(0.0)
        controller.tolerance = 0.3
        for i in range(10):
            if i < 4:
                controller.refused(0.1, 0)
            else:
                controller.accepted(0.1, 0)
        controller.update(0.25)
        assert controller.permits == 51

    def test_warmup_adds_permits_with_refusals_within_the_tolerance(self) -> None:
        controller = AIMDController(PARAMS)
        controller.update(0.0)
        controller.tolerance = 0.3
        for i in range(10):
            if i < 3:
                controller.refused(0.1, 0)
            else:
                controller.accepted(0.1, 0)
        controller.update(0.25)
        assert controller.permits == 61

    def test_no_update_is_due_after_a_cut(self, windows: Windows) -> None:
        windows.window(timeouts=5)
        assert windows.controller.next_update(1.0) == math.inf


class TestSettings:
    def test_settings_of_an_endpoint_follow_from_its_number_of_workers(self) -> None:
        params = adaptive_params(RemoteParams(num_workers=256, politeness_policy=20.0))
        assert (params.min_concurrency, params.max_concurrency, params.concurrency_step) == (1, 256, 31)
        assert params.min_update_time == 20.0, "if permits rest for so long, a change shows no sooner"
        assert AIMDController(params).permits == 128
        assert AIMDController(adaptive_params(RemoteParams(num_workers=1))).permits == 1

    def test_parameters_of_the_user_are_used(self) -> None:
        mine = AdaptiveConcurrencyParams(min_concurrency=2, max_concurrency=40, concurrency_step=3, min_update_time=5)
        assert adaptive_params(RemoteParams(num_workers=50, adaptive=mine)) is mine

    @pytest.mark.parametrize(("workers", "bounds"), [(1, (1, 1)), (3, (1, 3)), (50, (5, 50)), (256, (5, 100))])
    def test_bounds_that_are_not_set_suit_the_number_of_workers(self, workers: int, bounds: tuple[int, int]) -> None:
        mine = AdaptiveConcurrencyParams(concurrency_step=3)
        params = adaptive_params(RemoteParams(num_workers=workers, adaptive=mine))
        assert (params.min_concurrency, params.max_concurrency) == bounds
        assert params.concurrency_step == 3
        assert mine.max_concurrency == 100

    def test_bound_above_the_number_of_workers_is_an_error_that_names_both(self) -> None:
        remote = RemoteParams(adaptive=AdaptiveConcurrencyParams(max_concurrency=40)).model_copy(
            update={"num_workers": 20}
        )
        said = r"remote_params\.adaptive\.max_concurrency \(40\) must not be more than num_workers \(20\)"
        with pytest.raises(ConfigError, match=said):
            adaptive_params(remote)

    def test_a_fixed_number_of_permits_never_changes(self) -> None:
        controller = AIMDController(fixed_params(7))
        for now in range(100):
            controller.timed_out(float(now))
            controller.update(float(now))
        assert controller.permits == 7
        assert controller.next_update(100.0) == math.inf


class TestLimitOnAttemptsInFlight:
    """In these tests the endpoint accepts an attempt while fewer than `limit` others are in flight."""

    @pytest.fixture
    def limited(self) -> AIMDController:
        """A controller that found a limit of 40 at 0.0."""
        controller = AIMDController(PARAMS)
        controller.found_limit(40, 0.0)
        return controller

    def accept(self, controller: AIMDController, count: int, level: int, now: float) -> None:
        for _ in range(count):
            controller.accepted(now, level)

    def test_found_limit_sets_the_permits_at_once(self, limited: AIMDController) -> None:
        assert (limited.permits, limited.phase) == (40, Phase.BACKOFF)

    def test_permits_do_not_grow_with_time(self, limited: AIMDController) -> None:
        for now in range(100):
            limited.update(float(now))
        assert limited.permits == 40
        assert limited.next_update(100.0) == math.inf

    def test_a_limit_above_the_maximum_leaves_the_maximum(self) -> None:
        controller = AIMDController(PARAMS)
        controller.found_limit(500, 0.0)
        assert controller.permits == 101

    def test_accepted_attempts_lead_to_a_probe_above_the_limit(self, limited: AIMDController) -> None:
        self.accept(limited, 200, 39, now=2.0)
        assert (limited.permits, limited.phase) == (41, Phase.RECOVERY)

    def test_probes_are_at_least_a_second_apart(self, limited: AIMDController) -> None:
        self.accept(limited, 200, 39, now=0.5)
        assert limited.permits == 40

    def test_refusal_above_the_limit_is_explained_and_ends_the_probe(self, limited: AIMDController) -> None:
        self.accept(limited, 200, 39, now=2.0)
        assert limited.refused(2.1, 40)
        assert (limited.permits, limited.limit) == (40, 40)

    def test_probes_become_rarer_each_time_they_fail(self, limited: AIMDController) -> None:
        counts, now = list[int](), 0.0
        for _ in range(6):
            count = 0
            while limited.permits == 40:
                now, count = now + 0.1, count + 1
                limited.accepted(now, 39)
            limited.refused(now, 40)
            counts.append(count)
        assert counts == sorted(counts)
        assert counts[-1] >= 8 * counts[0]

    def test_attempts_accepted_above_the_limit_raise_it(self, limited: AIMDController) -> None:
        self.accept(limited, 200, 39, now=2.0)
        self.accept(limited, 10, 40, now=2.1)
        assert limited.limit == 41
        assert limited.permits == 43, "the next probe is twice as large"

    def test_refusals_below_the_limit_lower_it(self, limited: AIMDController) -> None:
        self.accept(limited, 100, 39, now=0.5)
        for _ in range(3):
            assert not limited.refused(0.6, 35), "the limit does not explain it"
        assert (limited.limit, limited.permits) == (39, 39)

    def test_a_new_limit_is_forgotten_at_the_second_refusal_below_it(self, limited: AIMDController) -> None:
        limited.refused(0.1, 35)
        limited.refused(0.1, 35)
        assert limited.limit is None
        assert limited.phase is Phase.WARMUP

    def test_a_limit_that_is_lowered_again_and_again_is_forgotten(self, limited: AIMDController) -> None:
        """Then the refusals have another cause."""
        self.accept(limited, 100, 39, now=0.5)
        for _ in range(9):
            limited.refused(0.6, 10)
        assert limited.limit is None

    def test_a_limit_raised_to_the_maximum_is_forgotten(self, limited: AIMDController) -> None:
        now = 0.0
        while (limit := limited.limit) is not None:
            now += 1.1
            self.accept(limited, 1000, limit - 1, now)
            if limited.phase is Phase.RECOVERY:
                self.accept(limited, 10, limit, now)
            assert now < 50.0
        assert limited.permits == 101

    def test_a_limit_of_zero_leaves_one_permit(self) -> None:
        controller = AIMDController(PARAMS)
        controller.found_limit(0, 0.0)
        assert controller.permits == 1


class AIMDMachine(RuleBasedStateMachine):
    """Permits stay within their bounds, and windows are not too short, whatever happens."""

    @initialize(
        low=st.integers(1, 20),
        more=st.integers(0, 200),
        step=st.integers(1, 50),
        factor=st.floats(0.0, 1.0),
        backoff=st.floats(0.1, 3.0),
        size=st.integers(1, 20),
    )
    def begin(self, low: int, more: int, step: int, factor: float, backoff: float, size: int) -> None:
        self.controller = AIMDController(
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
        self.permits = self.controller.permits
        self.had_limit = False

    @rule(count=st.integers(1, 30), seconds=st.floats(0, 3), level=st.integers(0, 250))
    def accept(self, count: int, seconds: float, level: int) -> None:
        self.now += seconds
        for _ in range(count):
            self.controller.accepted(self.now, level)

    @rule(count=st.integers(1, 30), seconds=st.floats(0, 3), level=st.integers(0, 250))
    def refuse(self, count: int, seconds: float, level: int) -> None:
        self.now += seconds
        for _ in range(count):
            self.controller.refused(self.now, level)

    @rule(count=st.integers(1, 30), seconds=st.floats(0, 3))
    def time_out(self, count: int, seconds: float) -> None:
        self.now += seconds
        for _ in range(count):
            self.controller.timed_out(self.now)

    @rule(timeouts=st.integers(1, 5), good=st.integers(0, 5))
    def time_out_some(self, timeouts: int, good: int) -> None:
        assume(timeouts + good > 1)
        self.time_out(timeouts, 1.0)
        self.accept(good or 1, 0.0, 0)

    @rule(seconds=st.floats(0, 3))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.controller.update(self.now)

    @rule(limit=st.integers(0, 250))
    def find_limit(self, limit: int) -> None:
        self.controller.found_limit(limit, self.now)
        self.had_limit = True

    @invariant()
    def permits_are_within_bounds(self) -> None:
        if hasattr(self, "controller"):
            params = self.controller.params
            assert params.min_concurrency <= self.controller.permits <= params.max_concurrency
            assert self.controller.next_update(self.now) >= 0.0

    @invariant()
    def windows_change_permits_no_sooner_than_they_may(self) -> None:
        if not hasattr(self, "controller") or self.had_limit or self.controller.permits == self.permits:
            return
        assert self.now >= self.changed_at + 0.25 - 0.001
        self.changed_at, self.permits = self.now, self.controller.permits


TestAIMDWithAnySequence = AIMDMachine.TestCase
