"""When the watchdog reports work that takes long, and when it abandons it."""

from __future__ import annotations

from asyncinfer.engines.local.watchdog import LOADING, Stall, Watchdog, WatchdogTimeouts

TIMEOUTS = WatchdogTimeouts(warn_after=60, abandon_after=1000, stop_timeout=30)


class Clock:
    """A watchdog with a clock that the test sets."""

    def __init__(self) -> None:
        self.at = 0.0
        self.watchdog = Watchdog(TIMEOUTS, lambda: self.at)

    def check(self, at: float) -> tuple[float, bool] | None:
        """The duration that is reported at this time, and whether the work is abandoned."""
        self.at = at
        stall = self.watchdog.check()
        return stall and (stall.seconds, stall.abandoned)


def test_work_that_ends_in_time_is_not_reported() -> None:
    clock = Clock()
    for second in range(0, 500, 50):
        clock.at = second
        clock.watchdog.begin("a step")
        assert clock.check(second + 49) is None
        assert clock.watchdog.end()
    assert clock.check(10**6) is None


def test_stall_is_reported_at_doubling_times_and_abandoned_once() -> None:
    clock = Clock()
    clock.watchdog.begin("a step")
    reports = {second: clock.check(second) for second in range(1200)}
    assert {second: report for second, report in reports.items() if report} == {
        60: (60, False),
        120: (120, False),
        240: (240, False),
        480: (480, False),
        960: (960, False),
        1000: (1000, True),
    }
    assert not clock.watchdog.end()


def test_loading_is_never_abandoned() -> None:
    clock = Clock()
    clock.watchdog.begin(LOADING)
    assert clock.check(10**6) == (10**6, False)
    assert clock.watchdog.end()


def test_work_is_abandoned_soon_after_stop() -> None:
    clock = Clock()
    clock.watchdog.begin(LOADING)
    clock.at = 10
    clock.watchdog.stop()
    assert clock.check(39) is None
    clock.at = 40
    assert clock.watchdog.check() == Stall(LOADING, 40, abandoned=True, stopping=True)
