"""`EndpointGroup`: which endpoint gets an attempt, and when one is put aside, probed and used again."""

from __future__ import annotations

import logging
import math
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncinfer import RemoteParams, RequestError, Usage
from asyncinfer.control.endpoint_group import EndpointGroup
from asyncinfer.control.member import EndpointRole
from asyncinfer.control.permit import Permit
from asyncinfer.control.permit_source import Alternative
from asyncinfer.errors import ErrorScope
from tests.control.errors import connection_lost, fault, quota, rejected
from tests.fakes import refusal, rejection, timeout

FIXED = RemoteParams(use_adaptive_concurrency=False)


def revoked() -> RequestError:
    return rejected("the key was revoked", 401, ErrorScope.ACCOUNT)


class Client:
    """Starts and ends attempts at a group, on one event loop, at times that the test sets."""

    def __init__(self, *roles: EndpointRole, limit: int = 10, remote: RemoteParams = FIXED) -> None:
        self.group = EndpointGroup(roles, limit, remote)
        self.held = [0] * len(roles)
        self.now = 1000.0
        self.waiting = Permit(0.0)

    def start(self) -> Permit | float:
        self.group.update(self.now)
        started = self.group.start(self.now, held=self.held)
        if isinstance(started, Permit):
            self.held[started.endpoint] += 1
        return started

    def permit(self) -> Permit:
        started = self.start()
        assert isinstance(started, Permit), f"no attempt may start for {started} s"
        return started

    def permits(self, count: int) -> Counter[int]:
        return Counter(self.permit().endpoint for _ in range(count))

    def answer(self, permit: Permit) -> None:
        self.held[permit.endpoint] -= 1
        self.group.answered(permit, self.now, Usage())

    def fail(self, permit: Permit, error: RequestError | None, row: int = 0) -> None:
        self.held[permit.endpoint] -= 1
        self.group.failed(permit, self.now, error, in_flight=sum(self.held) + 1, row=row)

    def fail_at(self, endpoint: int, error: RequestError, count: int = 1) -> None:
        """Fail `count` attempts at one endpoint. All other attempts that start meanwhile are cancelled."""
        for row in range(count):
            others: list[Permit] = []
            while (permit := self.permit()).endpoint != endpoint:
                others.append(permit)
            self.fail(permit, error, row)
            for other in others:
                self.fail(other, None)

    def problem(self, endpoint: int) -> str | None:
        return [*self.group.problems().values()][endpoint]


def two() -> Client:
    return Client(EndpointRole("a"), EndpointRole("b"))


def standing_still(latency: float = 1.0) -> Client:
    """Two endpoints. Both have answered; then the first has an attempt in flight, and the second has answered again."""
    client = two()
    for permit in (client.permit(), client.permit()):
        client.now += latency
        client.answer(permit)
    first, second = client.permit(), client.permit()
    client.waiting, other = sorted((first, second), key=lambda permit: permit.endpoint)
    client.answer(other)
    client.now += 1.0
    while (another := client.permit()).endpoint == 0:
        client.fail(another, None)
    client.answer(another)
    return client


def with_fallback() -> Client:
    return Client(EndpointRole("a"), EndpointRole("b", is_fallback=True))


class TestChoice:
    def test_attempts_are_spread_evenly(self) -> None:
        assert two().permits(10) == {0: 5, 1: 5}

    def test_attempts_one_at_a_time_alternate(self) -> None:
        client, order = two(), list[int]()
        for _ in range(4):
            client.now += 1.0
            permit = client.permit()
            order.append(permit.endpoint)
            client.answer(permit)
        assert order == [0, 1, 0, 1]

    def test_weights_set_the_shares(self) -> None:
        client = Client(EndpointRole("a", weight=3.0), EndpointRole("b"))
        assert client.permits(8) == {0: 6, 1: 2}

    def test_an_endpoint_without_room_gets_nothing(self) -> None:
        client = Client(EndpointRole("a", weight=100.0), EndpointRole("b"))
        assert client.permits(20) == {0: 10, 1: 10}
        assert client.start() == math.inf, "both are full"

    def test_an_endpoint_that_asked_to_wait_gets_nothing_until_then(self) -> None:
        client = two()
        client.fail_at(0, refusal(5.0))
        assert client.permits(10) == {1: 10}
        assert client.start() == pytest.approx(5.0), "b is full, so a is next"
        client.now += 5.0
        assert client.permit().endpoint == 0

    def test_permits_of_all_endpoints_count(self) -> None:
        client = two()
        assert (client.group.permits(), client.group.most) == (20, 20)
        client.fail_at(0, revoked())
        assert client.group.permits() == 10

    def test_endpoint_that_failed_once_is_the_last_choice(self) -> None:
        client = two()
        client.fail_at(0, connection_lost())
        assert client.problem(0) is None
        assert client.permits(10) == {1: 10}
        assert client.permit().endpoint == 0

    @pytest.mark.parametrize("error", [connection_lost(), rejection()], ids=["failure", "rejection"])
    def test_endpoint_that_failed_once_is_chosen_again_after_4_s(self, error: RequestError) -> None:
        client = two()
        client.fail_at(0, error)
        client.now += 4.0
        assert client.permits(10) == {0: 5, 1: 5}


class TestAside:
    @pytest.mark.parametrize("error", [revoked(), quota(), quota(100_000.0)], ids=["key", "quota", "long quota"])
    def test_endpoint_that_refuses_every_row_is_put_aside_at_once(self, error: RequestError) -> None:
        client = two()
        client.fail_at(0, error)
        assert client.problem(0) == str(error)
        assert client.permits(10) == {1: 10}

    @pytest.mark.parametrize("error", [connection_lost(), timeout(), fault(500)], ids=["connection", "timeout", "500"])
    def test_endpoint_that_fails_five_times_is_put_aside(self, error: RequestError) -> None:
        client = two()
        client.fail_at(0, error, 4)
        assert client.problem(0) is None
        client.fail_at(0, error)
        assert client.problem(0) == str(error)

    def test_failures_of_two_rows_put_no_endpoint_aside(self) -> None:
        client = two()
        for row in (1, 2) * 10:
            client.fail(client.permit(), connection_lost(), row)
        assert set(client.group.problems().values()) == {None}

    def test_more_failures_are_needed_if_many_attempts_are_in_flight(self) -> None:
        client = Client(EndpointRole("a"), EndpointRole("b"), limit=100)
        permits = [client.permit() for _ in range(80)]
        of_a = [permit for permit in permits if permit.endpoint == 0]
        assert len(of_a) == 40
        for row, permit in enumerate(of_a[:7]):
            client.fail(permit, fault(), row)
        assert client.problem(0) is None
        for row, permit in enumerate(of_a[7:10]):
            client.fail(permit, fault(), row)
        assert client.problem(0) is not None

    def test_endpoint_that_rejects_five_rows_in_a_row_is_put_aside(self) -> None:
        client = two()
        client.fail_at(0, rejection(), 4)
        assert client.problem(0) is None
        client.fail_at(0, rejection())
        assert client.problem(0) == "bad request"
        assert client.group.alternative(1) is Alternative.NONE

    @pytest.mark.parametrize(
        "error",
        [refusal(), rejected("too long", scope=ErrorScope.ROW), None],
        ids=["busy", "rejected row", "cancelled"],
    )
    def test_other_failures_put_nothing_aside(self, error: RequestError | None) -> None:
        client = two()
        for _ in range(20):
            client.fail(client.permit(), error)
        assert set(client.group.problems().values()) == {None}

    def test_pauses_between_probes_grow_to_4_s_and_after_a_minute_to_15_s(self) -> None:
        client = two()
        client.fail_at(0, connection_lost(), 5)
        assert client.permits(10) == {1: 10}
        pauses: list[float] = []
        for _ in range(25):
            pause = client.start()
            assert isinstance(pause, float)
            pauses.append(pause)
            client.now += pause
            probe = client.permit()
            assert probe.endpoint == 0
            assert client.start() != 0.0, "one probe at a time"
            client.fail(probe, connection_lost())
        assert pauses[:5] == pytest.approx([0.5, 1.0, 2.0, 4.0, 4.0])
        assert sum(pauses[:19]) == pytest.approx(65.0, abs=5.0)
        assert pauses[19:] == pytest.approx([8.0, *[15.0] * 5])

    def test_pause_before_the_next_probe_begins_again_when_a_probe_fails(self) -> None:
        client = two()
        client.fail_at(0, connection_lost(), 5)
        client.now += 0.5
        probe = client.permit()
        assert probe.endpoint == 0
        client.now += 300.0
        client.fail(probe, timeout())
        assert client.permits(10) == {1: 10}
        assert client.start() == pytest.approx(1.0)

    @pytest.mark.parametrize("response", ["answer", "busy", "rejected row"])
    def test_a_response_to_a_probe_brings_the_endpoint_back(self, response: str) -> None:
        client = two()
        client.fail_at(0, revoked())
        client.now += 1.0
        probe = client.permit()
        assert probe.endpoint == 0
        if response == "answer":
            client.answer(probe)
        else:
            client.fail(probe, refusal() if response == "busy" else rejected("too long", scope=ErrorScope.ROW))
        assert client.problem(0) is None
        assert client.permits(20) == {0: 10, 1: 10}

    @pytest.mark.parametrize(("error", "count"), [(revoked(), 1), (fault(), 5)], ids=["key", "500"])
    def test_the_answer_to_an_older_request_does_not_bring_the_endpoint_back(
        self, error: RequestError, count: int
    ) -> None:
        client = two()
        older = client.permit()
        assert older.endpoint == 0
        client.now += 1.0
        client.fail_at(0, error, count)
        client.answer(older)
        assert client.problem(0) is not None

    def test_any_answer_ends_a_standstill(self) -> None:
        client = standing_still()
        client.now += 31.0
        client.group.update(client.now)
        assert client.problem(0) is not None
        client.answer(client.waiting)
        assert client.problem(0) is None

    def test_an_answer_between_two_failures_starts_the_count_again(self) -> None:
        client = two()
        older = client.permit()
        client.fail_at(0, fault(), 4)
        client.answer(older)
        client.fail_at(0, fault(), 4)
        assert client.problem(0) is None

    def test_probes_start_although_hanging_attempts_hold_all_permits(self) -> None:
        client = two()
        client.permits(20)
        client.group._members[0].aside._put(client.now, "it stands still")
        client.now += 1.0
        assert client.permit().endpoint == 0

    def test_endpoint_that_stands_still_while_another_answers_is_put_aside(self) -> None:
        client = standing_still()
        client.now += 29.0
        client.group.update(client.now)
        assert client.problem(0) is None
        client.now += 2.0
        client.group.update(client.now)
        assert client.problem(0) == "none of 1 requests has ended for 32 s"
        assert client.group.is_given_up(client.waiting, client.now)
        assert client.problem(1) is None

    def test_probe_of_a_standstill_gets_as_much_time_as_other_attempts(self) -> None:
        client = standing_still()
        client.now += 31.0
        client.group.update(client.now)
        client.now += 1.0
        probe = client.permit()
        assert probe.endpoint == 0
        client.now += 29.0
        assert client.group.is_given_up(client.waiting, client.now)
        assert not client.group.is_given_up(probe, client.now)
        client.now += 2.0
        assert client.group.is_given_up(probe, client.now)

    def test_probe_that_stands_still_is_given_up(self) -> None:
        client = two()
        for _ in range(2):
            client.answer(client.permit())
        client.fail_at(0, timeout(), 5)
        client.now += 1.0
        probe, other = client.permit(), client.permit()
        assert (probe.endpoint, other.endpoint) == (0, 1)
        client.answer(other)
        client.now += 31.0
        while (another := client.permit()).endpoint == 0:
            continue  # Another probe.
        client.answer(another)
        assert client.group.is_given_up(probe, client.now)

    def test_endpoint_that_sends_parts_of_a_stream_does_not_stand_still(self) -> None:
        client = standing_still()
        for _ in range(10):
            client.now += 25.0
            client.group.part_arrived(client.waiting, client.now)
            client.group.update(client.now)
            assert client.problem(0) is None

    def test_part_of_a_stream_shows_that_an_endpoint_does_not_stand_still_any_more(self) -> None:
        client = standing_still()
        client.now += 31.0
        client.group.update(client.now)
        assert client.problem(0) is not None
        client.group.part_arrived(client.waiting, client.now)
        assert client.problem(0) is None

    def test_part_of_an_older_stream_does_not_show_that_a_failing_endpoint_works(self) -> None:
        client = two()
        older = client.permit()
        client.now += 1.0
        client.fail_at(0, connection_lost(), 5)
        client.group.part_arrived(older, client.now)
        assert client.problem(0) == "connection reset"

    def test_no_endpoint_stands_still_if_the_others_do_not_answer_either(self) -> None:
        client = two()
        for permit in (client.permit(), client.permit()):
            client.now += 2.0
            client.answer(permit)
        client.permits(2)
        client.now += 100.0
        client.group.update(client.now)
        assert set(client.group.problems().values()) == {None}

    def test_the_only_endpoint_of_a_list_never_stands_still(self) -> None:
        client = Client(EndpointRole("a"))
        client.now += 1.0
        client.answer(client.permit())
        client.permit()
        client.now += 100.0
        assert isinstance(client.start(), Permit)
        assert client.problem(0) is None

    def test_slow_answers_are_no_standstill(self) -> None:
        client = standing_still(latency=60.0)
        client.now += 170.0
        client.group.update(client.now)
        assert client.problem(0) is None

    def test_messages_say_when_an_endpoint_is_put_aside_and_used_again(self, caplog: pytest.LogCaptureFixture) -> None:
        client = two()
        with caplog.at_level(logging.WARNING, "asyncinfer"):
            client.fail_at(0, connection_lost(), 5)
            client.group.update(client.now)
            assert not caplog.messages, "it may work again within a second"
            client.now += 1.0
            client.group.update(client.now)
            assert caplog.messages == ["a is put aside: connection reset. Single requests show when it works again."]
            client.answer(client.permit())
        assert caplog.messages[1:] == ["a is in use again."]
        assert [(d.endpoint, d.why) for d in client.group.decisions.entries] == [
            ("a", "put aside"),
            ("a", "in use again"),
        ]

    def test_attempts_are_not_spaced_if_every_endpoint_refuses_every_row(self) -> None:
        """Then each row gets its error at once, and the run can end."""
        client = two()
        client.fail_at(0, revoked())
        client.fail_at(1, revoked())
        assert client.permits(10) == {0: 5, 1: 5}
        assert client.group.standstill(client.now) is None
        assert client.group.out_for(client.now + 100.0) == 0.0


class TestFallback:
    def test_fallback_is_unused_while_another_endpoint_is_busy(self) -> None:
        client = with_fallback()
        assert client.permits(10) == {0: 10}
        assert client.start() == math.inf

    def test_fallback_is_unused_while_another_endpoint_asks_to_wait(self) -> None:
        client = with_fallback()
        client.fail(client.permit(), refusal(5.0))
        assert client.start() == pytest.approx(5.0)

    def test_fallback_is_used_while_all_others_are_aside(self) -> None:
        client = with_fallback()
        client.fail(client.permit(), revoked())
        assert client.permits(3) == {1: 3}
        client.now += 1.0
        probe = client.permit()
        assert probe.endpoint == 0, "the other endpoint is still probed"
        client.answer(probe)
        assert client.permits(3) == {0: 3}

    def test_fallback_is_used_by_a_row_that_failed_five_times(self) -> None:
        client = with_fallback()
        for _ in range(5):
            permit = client.permit()
            assert permit.endpoint == 0
            client.fail(permit, connection_lost())
        assert client.problem(0) is None, "the row may be the reason"
        assert client.permits(3) == {1: 3}
        client.now += 4.0
        assert client.permit().endpoint == 0

    def test_fallback_is_unused_while_another_attempt_may_be_answered(self) -> None:
        client = with_fallback()
        client.permit()
        for _ in range(10):
            permit = client.permit()
            assert permit.endpoint == 0
            client.fail(permit, connection_lost())

    def test_fallback_is_used_while_all_others_refuse_every_request(self) -> None:
        remote = RemoteParams()
        client = Client(EndpointRole("a"), EndpointRole("b", is_fallback=True), limit=50, remote=remote)
        used: set[int] = set()
        for _ in range(2000):
            client.now += 0.01
            started = client.start()
            if isinstance(started, Permit):
                used.add(started.endpoint)
                if started.endpoint == 1:
                    client.answer(started)
                else:
                    client.fail(started, refusal())
        assert used == {0, 1}


class TestAlternative:
    def test_another_endpoint_that_works_can_answer_now(self) -> None:
        assert two().group.alternative(0) is Alternative.NOW

    def test_another_endpoint_that_fails_may_answer_later(self) -> None:
        client = two()
        client.fail_at(1, connection_lost(), 5)
        assert client.group.alternative(0) is Alternative.LATER

    def test_another_endpoint_that_refuses_every_row_is_no_alternative(self) -> None:
        client = two()
        client.fail_at(1, revoked())
        assert client.group.alternative(0) is Alternative.NONE


class TestOutage:
    def test_outage_begins_when_the_last_endpoint_fails(self) -> None:
        client = two()
        client.answer(client.permit())
        client.fail_at(1, connection_lost(), 5)
        client.now += 10.0
        assert client.group.out_for(client.now) == 0.0
        for row in range(8):
            client.now += 0.001
            started = client.start()
            if isinstance(started, Permit):
                client.fail(started, connection_lost(), row)
        client.now += 20.0
        assert 20.0 <= client.group.out_for(client.now) < 21.0
        assert client.group.health(0, client.now).is_out

    def test_an_endpoint_with_a_revoked_key_does_not_hide_an_outage_of_the_others(self) -> None:
        client = two()
        client.fail_at(0, connection_lost(), 5)
        client.fail(client.permit(), revoked())
        client.now += 20.0
        assert client.group.out_for(client.now) == pytest.approx(20.0)

    def test_the_reason_for_waiting_names_the_endpoint(self) -> None:
        client = two()
        client.fail_at(0, connection_lost(), 5)
        assert client.group.standstill(client.now) is None, "b works"
        client.fail(client.permit(), revoked())
        stop = client.group.standstill(client.now)
        assert stop is not None
        assert stop.reason in ("a: connection reset", "b: the key was revoked")
        assert stop.seconds == pytest.approx(0.5)


class GroupMachine(RuleBasedStateMachine):
    """Attempts at three endpoints, one of them a fallback, with any results at any times."""

    def __init__(self) -> None:
        super().__init__()
        roles = (EndpointRole("a"), EndpointRole("b", weight=2.0), EndpointRole("c", is_fallback=True))
        self.client = Client(*roles, limit=4, remote=RemoteParams(num_workers=4))
        self.permits: list[Permit] = []

    @rule()
    def start(self) -> None:
        group = self.client.group
        group.update(self.client.now)
        works = any(member.is_usable for member in group._primary)
        aside = {member.number for member in group._members if member.aside.reason is not None}
        room = {m.number for m in group._members if self.client.held[m.number] < m.endpoint.permits()}
        started = self.client.start()
        if isinstance(started, Permit):
            self.permits.append(started)
            assert started.endpoint in room | aside, "it has a free permit, or is probed"
            assert started.endpoint != 2 or not works, "a fallback is used only while no other endpoint works"
        else:
            assert started > 0.0

    @rule(seconds=st.floats(0.001, 40.0))
    def wait(self, seconds: float) -> None:
        self.client.now += seconds

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.client.answer(self._take(data))

    @precondition(lambda self: self.permits)
    @rule(
        data=st.data(),
        error=st.sampled_from(
            [connection_lost(), fault(), revoked(), quota(), refusal(), refusal(9.0), rejection(), None]
        ),
        row=st.integers(0, 9),
    )
    def fail(self, data: st.DataObject, error: RequestError | None, row: int) -> None:
        self.client.fail(self._take(data), error, row)

    def _take(self, data: st.DataObject) -> Permit:
        return self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))

    @invariant()
    def attempts_in_flight_are_counted(self) -> None:
        in_flight = Counter(permit.endpoint for permit in self.permits)
        for member in self.client.group._members:
            assert member.aside.in_flight == in_flight[member.number] == self.client.held[member.number]

    @invariant()
    def an_idle_group_starts_an_attempt_within_a_minute(self) -> None:
        """No endpoint stays aside for good, and no learned limit lasts."""
        if self.permits:
            return
        waited = 0.0
        while not isinstance(started := self.client.start(), Permit):
            assert started < 60.0
            waited += started
            assert waited < 60.0
            self.client.now += started
        self.client.fail(started, None)


TestGroupMachine = GroupMachine.TestCase
