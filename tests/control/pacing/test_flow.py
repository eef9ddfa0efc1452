"""The history of attempts."""

from __future__ import annotations

from asyncinfer.control.pacing.flow import Flow


class TestFlow:
    def test_an_attempt_counts_as_accepted_until_it_is_refused(self) -> None:
        flow = Flow()
        for i in range(10):
            flow.send(float(i))
        assert flow.accepted(0.0, 10.0) == 10
        flow.refuse(4)
        assert (flow.sent(0.0, 10.0), flow.refused(0.0, 10.0), flow.accepted(0.0, 10.0)) == (10, 1, 9)

    def test_period_includes_its_start_and_excludes_its_end(self) -> None:
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

    def test_refusals_in_a_row_may_be_out_of_order_and_have_one_accepted_attempt_among_them(self) -> None:
        flow = Flow()
        for i in range(20):
            flow.send(float(i))
        for number in (10, 12, 14, 13, 15):
            flow.refuse(number)
        assert flow.refused_in_a_row(5, first=10)
        assert not flow.refused_in_a_row(5, first=11)
        flow.refuse(18)
        assert not flow.refused_in_a_row(5, first=1)

    def test_flow_keeps_a_bounded_number_of_attempts(self) -> None:
        flow = Flow()
        for i in range(100_000):
            flow.send(i / 1000)
        assert len(flow._sent) <= 2 * Flow._KEPT
        assert flow.accepted(99.0, 100.0) == 1000
