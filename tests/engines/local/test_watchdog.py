"""When a piece of work is told of, and when it is given up."""

from __future__ import annotations

from asyncinfer.engines.local.watchdog import LOADING, Stall, Watchdog, WatchdogTimeouts

PATIENCE = WatchdogTimeouts(tell_after=60, give_up_after=1000, stop_within=30)


class Hand:
    """A clock whose hand the test moves."""

    def __init__(self) -> None:
        self.at = 0.0
        self.pulse = Watchdog(PATIENCE, lambda: self.at)

    def look(self, at: float) -> tuple[float, bool] | None:
        """The seconds that are told at this time, and whether the work is given up."""
        self.at = at
        stuck = self.pulse.look()
        return stuck and (stuck.seconds, stuck.given_up)


def test_what_ends_in_time_is_not_told_of() -> None:
    hand = Hand()
    for second in range(0, 500, 50):
        hand.at = second
        hand.pulse.begin("a step")
        assert hand.look(second + 49) is None
        assert hand.pulse.end()
    assert hand.look(10**6) is None


def test_what_does_not_end_is_told_of_ever_more_seldom_and_given_up_once() -> None:
    hand = Hand()
    hand.pulse.begin("a step")
    told = {second: hand.look(second) for second in range(1200)}
    assert {second: one for second, one in told.items() if one} == {
        60: (60, False),
        120: (120, False),
        240: (240, False),
        480: (480, False),
        960: (960, False),
        1000: (1000, True),
    }
    assert not hand.pulse.end()


def test_a_model_is_loaded_for_as_long_as_it_takes() -> None:
    hand = Hand()
    hand.pulse.begin(LOADING)
    assert hand.look(10**6) == (10**6, False)
    assert hand.pulse.end()


def test_once_it_is_to_stop_it_is_given_up_soon() -> None:
    hand = Hand()
    hand.pulse.begin(LOADING)
    hand.at = 10
    hand.pulse.stop()
    assert hand.look(39) is None
    hand.at = 40
    assert hand.pulse.look() == Stall(LOADING, 40, given_up=True, stopping=True)
