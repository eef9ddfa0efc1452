"""The history of attempts."""

from __future__ import annotations

from asyncinfer.control.pacing.history import AttemptHistory


class TestFlow:
    def test_an_attempt_counts_as_accepted_until_it_is_refused(self) -> None:
        history = AttemptHistory()
        for i in range(10):
            history.add(float(i))
        assert history.accepted(0.0, 10.0) == 10
        history.mark_refused(4)
        assert (history.sent(0.0, 10.0), history.refused(0.0, 10.0), history.accepted(0.0, 10.0)) == (10, 1, 9)

    def test_period_includes_its_start_and_excludes_its_end(self) -> None:
        history = AttemptHistory()
        for i in range(10):
            history.add(float(i))
        assert history.sent(2.0, 5.0) == 3

    def test_refusals_that_arrive_out_of_order_are_counted(self) -> None:
        history = AttemptHistory()
        for i in range(10):
            history.add(float(i))
        for number in (6, 5, 7):
            history.mark_refused(number)
        assert history.refused(0.0, 10.0) == 3

    def test_refusals_in_a_row_may_be_out_of_order_and_have_one_accepted_attempt_among_them(self) -> None:
        history = AttemptHistory()
        for i in range(20):
            history.add(float(i))
        for number in (10, 12, 14, 13, 15):
            history.mark_refused(number)
        assert history.refused_in_a_row(5, first=10)
        assert not history.refused_in_a_row(5, first=11)
        history.mark_refused(18)
        assert not history.refused_in_a_row(5, first=1)

    def test_history_keeps_a_bounded_number_of_attempts(self) -> None:
        history = AttemptHistory()
        for i in range(100_000):
            history.add(i / 1000)
        assert len(history._sent) <= 2 * AttemptHistory._KEPT
        assert history.accepted(99.0, 100.0) == 1000
