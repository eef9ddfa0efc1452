"""When the next attempt may start: an opening ramp, then a rate that follows what the endpoint delivers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.control.pace import Delivered, Pace


def run(pace: Pace, begin: float, seconds: float, capacity: float = float("inf")) -> tuple[int, float | None]:
    """Send as soon as `pace` allows and have all answered, at most `capacity` a second; how many were sent,
    and when the first was refused.
    """
    now, sent, room = begin, 0, 1.0
    while now < begin + seconds:
        wait = pace.wait(now)
        if wait > 0:
            now, room = now + wait, min(1.0, room + wait * capacity)
            continue
        pace.started(now)
        sent += 1
        if room < 1.0:
            return sent, now
        room -= 1.0 / capacity if capacity == float("inf") else 1.0
        pace.answered(now, now)
    return sent, None


def refuse(pace: Pace, now: float, sent: float) -> None:
    """Refuse attempts until the pace heeds it; a few it takes for chance."""
    cuts = pace.cuts
    for _ in range(5):
        if pace.cuts == cuts:
            pace.refused(now, sent)
    assert pace.cuts == cuts + 1


@pytest.fixture
def paced() -> Pace:
    """A pace whose goal is 100/s: that is what was delivered for two seconds when a refusal came at 2.0."""
    pace = Pace()
    pace.wait(0.0)
    for i in range(200):
        pace.started(i / 100)
        pace.answered(i / 100, i / 100)
    pace.refused(2.0, 1.99)
    return pace


class TestOpening:
    def test_lets_ten_go_at_once_and_a_hundred_more_each_second(self) -> None:
        pace = Pace()
        for _ in range(10):
            assert pace.wait(0.0) == 0.0
            pace.started(0.0)
        assert pace.wait(0.0) == pytest.approx(0.01)
        assert pace.wait(0.01) == 0.0

    def test_grows_with_every_answer(self) -> None:
        pace = Pace()
        for _ in range(10):
            pace.wait(0.0)
            pace.started(0.0)
        pace.answered(0.0, 0.0)
        allowed = 0
        while pace.wait(0.0) == 0.0:
            pace.started(0.0)
            allowed += 1
        assert allowed == 2

    def test_has_no_rate(self) -> None:
        assert Pace().rate(0.0) is None


class TestTheFirstRefusal:
    def test_sets_the_goal_to_what_was_delivered(self, paced: Pace) -> None:
        assert paced.goal == pytest.approx(100, rel=0.02)
        assert paced.cuts == 1

    def test_before_any_answer_goes_by_what_was_sent(self) -> None:
        pace = Pace()
        pace.wait(0.0)
        for _ in range(50):
            pace.started(0.25)
        pace.refused(0.5, 0.25)
        assert pace.goal == pytest.approx(100, rel=0.02)


class TestTheRate:
    def test_is_cut_to_just_below_what_is_delivered(self, paced: Pace) -> None:
        assert paced.goal is not None
        assert paced.rate(2.0) == pytest.approx(0.95 * paced.goal)

    def test_comes_back_along_a_cubic_curve_and_then_probes_ever_faster(self, paced: Pace) -> None:
        goal = paced.goal or 0.0
        for i in range(200, 700):
            paced.answered(i / 100, i / 100)
        rates = [(paced.rate(2.0 + i / 10) or 0.0) / goal for i in range(45)]
        assert rates == sorted(rates)
        assert rates[10] == pytest.approx(1 - 0.05 / 8), "half-way back in time, seven eighths in rate"
        assert rates[20] == pytest.approx(1.0), "back after two seconds"
        assert rates[30] == pytest.approx(1.05)
        assert rates[40] == pytest.approx(1.4)

    def test_has_headroom_over_what_is_delivered_and_no_more(self, paced: Pace) -> None:
        """An endpoint that is not asked for more, for want of rows, has not shown that it could do more."""
        goal = paced.goal or 0.0
        for i in range(200, 3000):
            paced.answered(i / 100, i / 100)
        assert paced.rate(30.0) == pytest.approx(1.5 * 100, rel=0.02)
        assert paced.rate(60.0) is not None
        assert (paced.rate(60.0) or 0.0) >= goal, "never below the goal, though nothing was delivered lately"

    def test_of_a_slow_endpoint_takes_attempts_not_seconds_to_come_back(self) -> None:
        pace = Pace(goal=4.0)
        assert (pace.rate(19.0) or 0.0) < 4.0
        assert (pace.rate(20.0) or 0.0) == pytest.approx(4.0)
        assert (pace.rate(27.5) or 0.0) == pytest.approx(4.2)

    def test_of_the_slowest_is_back_in_half_a_minute(self) -> None:
        assert (Pace(goal=0.01).rate(30.0) or 0.0) == pytest.approx(0.01)

    def test_comes_back_soon_after_all_was_refused_for_a_while(self, paced: Pace) -> None:
        """It sinks as long as nothing gets through; a quarter of a minute after that ends it is what it was."""
        now = 2.0
        while now < 12.0:
            now += paced.wait(now)
            paced.started(now)
            refuse(paced, now, now)
        assert (paced.rate(now) or 0.0) < 10.0
        assert (paced.rate(now + 15.0) or 0.0) > 90.0

    def test_is_kept_by_the_attempts(self, paced: Pace) -> None:
        sent, refused = run(paced, 2.1, 1.0)
        assert refused is None
        assert sent == pytest.approx(97, abs=4)

    @given(st.lists(st.floats(0, 0.02), min_size=50, max_size=300))
    def test_is_never_exceeded_in_any_second(self, pauses: list[float]) -> None:
        """However irregular the callers: what was missed is not caught up."""
        pace, now, starts = Pace(goal=100.0), 0.0, list[float]()
        for pause in pauses:
            now += max(pause, pace.wait(now))
            pace.started(now)
            starts.append(now)
        for i, start in enumerate(starts):
            within = [at for at in starts[i:] if at < start + 0.5]
            assert len(within) <= 50 + 2


class TestARefusal:
    def test_of_an_attempt_under_way_at_the_cut_changes_nothing(self, paced: Pace) -> None:
        goal, rate = paced.goal, paced.rate(2.5)
        for sent in (1.9, 1.95, 1.999):
            paced.refused(2.05, sent)
        assert (paced.goal, paced.rate(2.5), paced.cuts) == (goal, rate, 1)

    def test_of_a_later_attempt_cuts_again_but_not_deeper_than_a_third(self, paced: Pace) -> None:
        """All that was sent since the cut was refused: that is news, and no chance."""
        rate = paced.rate(3.2)
        assert rate is not None
        for _ in range(2):
            paced.started(3.1)
            paced.refused(3.2, 3.1)
        assert paced.cuts == 2
        assert paced.goal == pytest.approx(0.7 * rate), "nothing was delivered lately, but that may only be late"

    def test_of_a_few_at_random_cuts_and_lowers_next_to_nothing(self, paced: Pace) -> None:
        """Some servers refuse one in thirty, at whatever rate they are asked."""
        now = 2.0
        for i in range(1, 3000):
            now += max(paced.wait(now), 0.001)
            paced.started(now)
            if i % 30:
                paced.answered(now, now)
            else:
                paced.refused(now, now)
        assert paced.goal is not None
        assert paced.goal > 80

    @pytest.mark.parametrize("outage", [10.0, 600.0])
    @pytest.mark.parametrize("let_in", [0.0, 0.5])
    def test_of_nearly_everything_is_forgotten_within_seconds(self, paced: Pace, outage: float, let_in: float) -> None:
        """An endpoint that was down, or let in one in two seconds, says nothing of what it takes when it is up."""
        now, room = 2.1, 0.0
        while now < 2.1 + outage:
            wait = paced.wait(now) + 0.01
            now, room = now + wait, min(room + wait * let_in, 1.0)
            paced.started(now)
            if room >= 1.0:
                paced.answered(now, now)
                room = 0.0
            else:
                paced.refused(now, now)
        back = now
        while (rate := paced.rate(now)) is not None and rate < 90:
            now += max(paced.wait(now), 0.001)
            paced.started(now)
            paced.answered(now, now)
        assert now - back < 30

    def test_leaves_out_two_attempts_so_that_there_is_room_for_the_next(self, paced: Pace) -> None:
        assert paced.wait(2.0) == pytest.approx(2 / 95, abs=0.005)

    def test_is_the_paces_own_doing_only_if_it_probed_or_was_under_way(self, paced: Pace) -> None:
        assert paced.probes(1.99), "sent before the cut, which is for it too"
        assert not paced.probes(3.0), "sent below the goal: the endpoint takes less than it did"
        assert paced.probes(4.5), "sent above the goal, to see whether there is more"
        assert not Pace().probes(1.0), "the opening knows nothing; its refusals speak for the endpoint"


class TestAHold:
    def test_lets_nothing_start_before_its_end(self, paced: Pace) -> None:
        paced.hold(12.0)
        assert paced.wait(2.0) == pytest.approx(10.0, abs=0.01)
        assert paced.wait(12.0) == 0.0

    def test_does_not_count_towards_the_next_probe(self, paced: Pace) -> None:
        paced.hold(12.0)
        assert not paced.probes(13.0)
        assert (paced.rate(12.0) or 0.0) == pytest.approx(0.95 * (paced.goal or 0.0))

    def test_that_costs_much_makes_probes_rarer(self, paced: Pace) -> None:
        """One second in five is lost to the wait after each probe: the next comes after eight seconds, not two."""
        paced.hold(3.0)
        for i in range(300, 600):
            paced.started(i / 100)
            paced.answered(i / 100, i / 100)
        refuse(paced, 6.0, 5.99)
        assert not paced.probes(6.0 + 7.9)
        assert paced.probes(6.0 + 8.1)

    def test_that_a_burst_made_good_does_not(self, paced: Pace) -> None:
        """A bucket fills during the wait; what it saved up is spent after it."""
        paced.hold(3.0)
        for i in range(400):
            paced.started(3.0 + i * 3 / 400)
            paced.answered(3.0 + i * 3 / 400, 3.0 + i * 3 / 400)
        refuse(paced, 6.0, 5.99)
        assert paced.probes(6.0 + 3.0)

    def test_tells_nothing_of_probing_if_the_refusal_came_on_the_way_back(self, paced: Pace) -> None:
        """The goal was too high; by it, the wait would seem to have cost what no endpoint could have delivered."""
        paced.hold(3.0)
        for i in range(40):
            paced.started(3.0 + i / 100)
            paced.answered(3.0 + i / 100, 3.0 + i / 100)
        refuse(paced, 3.4, 3.39)
        assert paced.probes(3.4 + 2.1)


class TestDelivered:
    def test_is_unknown_before_a_second_has_passed(self) -> None:
        delivered = Delivered()
        assert delivered.rate(5.0) is None
        delivered.add(0.0)
        delivered.add(0.5)
        assert delivered.rate(0.9) is None

    @pytest.mark.parametrize("rate", [5, 20, 100, 2000])
    def test_is_the_rate_of_answers_fast_or_slow(self, rate: int) -> None:
        delivered = Delivered()
        for i in range(10 * rate):
            delivered.add(i / rate)
        assert delivered.rate(10.0) == pytest.approx(rate, rel=0.11)

    def test_keeps_few_times(self) -> None:
        delivered = Delivered()
        for i in range(100_000):
            delivered.add(i / 1000)
        assert len(delivered._times) <= 2 * Delivered._KEPT
        assert delivered.rate(100.0) == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("capacity", [10, 50, 300])
def test_it_settles_near_an_unknown_capacity(capacity: int) -> None:
    """Half a minute of refusals, each heeded: the goal is within a quarter of what the endpoint takes."""
    pace, now = Pace(), 0.0
    while now < 30.0:
        _, refused_at = run(pace, now, 30.0 - now, capacity)
        if refused_at is None:
            break
        pace.refused(refused_at, refused_at)
        now = refused_at
    assert pace.goal == pytest.approx(capacity, rel=0.25)
