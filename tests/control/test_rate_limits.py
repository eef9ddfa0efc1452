"""Limits per minute: configured by the user, or observed in an endpoint's headers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import Conversation, GenerationParams, RemoteParams, Usage
from asyncinfer.control.rate_limits import Demand, ObservedLimit, RateLimits, SlidingWindow, estimated_demand
from asyncinfer.types.limits import LimitObservation
from tests.fakes import question


def limits(**limit: int) -> RateLimits:
    return RateLimits(RemoteParams.model_validate(limit))


class TestSlidingWindow:
    @given(
        limit=st.integers(1, 50),
        requests=st.lists(
            st.tuples(st.floats(0, 30), st.integers(1, 60), st.floats(0, 90), st.integers(0, 60)), max_size=60
        ),
    )
    def test_no_minute_exceeds_the_limit(self, limit: int, requests: list[tuple[float, int, float, int]]) -> None:
        """Holds for any requests at any times, however long they take, if no request spends more than it reserved.

        A request larger than the limit is alone in its minute.
        """
        window, now = SlidingWindow(limit), 0.0
        running: list[tuple[float, int, int]] = []
        spends: list[tuple[float, int]] = []

        def settle(until: float) -> None:
            for end in sorted(end for end in running if end[0] <= until):
                running.remove(end)
                window.settle(end[1], end[0], end[2])
                spends.append((end[0], end[2]))

        for pause, amount, seconds, spent in requests:
            now += pause
            settle(now)
            while (wait := window.wait(now, amount)) > 0:
                now = min(running)[0] if wait == math.inf else math.nextafter(now + wait, math.inf)
                settle(now)
            window.reserve(amount)
            running.append((now + seconds, amount, min(spent, amount)))
        settle(math.inf)
        for start, _ in spends:
            within = [spent for at, spent in spends if start <= at < start + 60.0]
            assert sum(within) <= limit or sum(1 for spent in within if spent) == 1

    def test_a_reservation_counts_until_it_is_settled(self) -> None:
        window = SlidingWindow(100)
        window.reserve(80)
        assert window.wait(1e6, 30) == math.inf, "the wait depends on an answer"
        window.settle(80, 1e6, 10)
        assert window.wait(1e6, 30) == 0.0

    def test_spent_units_are_free_again_after_a_minute(self) -> None:
        window = SlidingWindow(100)
        for at in (0.0, 10.0):
            window.settle(0, at, 50)
        assert window.wait(20.0, 1) == 40.0
        assert window.wait(20.0, 51) == 50.0
        assert window.wait(60.0, 50) == 0.0

    def test_request_larger_than_the_limit_is_sent_alone(self) -> None:
        window = SlidingWindow(100)
        assert window.wait(0.0, 1000) == 0.0
        window.settle(0, 0.0, 1)
        assert window.wait(0.0, 1000) == 60.0


class TestConfiguredLimits:
    def test_requests_count_from_their_start(self) -> None:
        """Three requests per minute: the fourth waits until the first started a minute ago."""
        limit = limits(requests_per_minute=3)
        for at in (0.0, 1.0, 2.0):
            assert limit.wait(at, Demand()) == 0.0
            limit.reserve(at, Demand())
        assert limit.wait(3.0, Demand()) == 57.0

    def test_usage_replaces_the_reserved_tokens(self) -> None:
        limit = limits(input_tokens_per_minute=100, output_tokens_per_minute=100)
        reservation = limit.reserve(0.0, Demand(1, 60, 90))
        assert limit.wait(0.0, Demand(1, 60, 10)) == math.inf
        limit.settle(reservation, 5.0, Usage(20, 30, 50))
        assert limit.wait(5.0, Demand(1, 80, 70)) == 0.0
        assert limit.wait(5.0, Demand(1, 81, 70)) == 60.0
        assert limit.wait(5.0, Demand(1, 80, 71)) == 60.0

    def test_reservations_follow_the_length_of_recent_answers(self) -> None:
        """With `max_new_tokens` of 1000 but answers of ten tokens, a thousand tokens allow more than one request."""
        limit = limits(output_tokens_per_minute=1000)
        for i in range(20):
            limit.settle(limit.reserve(100.0 * i, Demand(1, 0, 1000)), 100.0 * i, Usage(0, 10, 10))
        for _ in range(90):
            assert limit.wait(2000.0, Demand(1, 0, 1000)) == 0.0
            limit.reserve(2000.0, Demand(1, 0, 1000))

    def test_a_long_answer_is_forgotten_in_time(self) -> None:
        limit = limits(output_tokens_per_minute=1000)
        for i, tokens in enumerate([1000] + [10] * 500):
            limit.settle(limit.reserve(100.0 * i, Demand(1, 0, 1000)), 100.0 * i, Usage(0, tokens, tokens))
        limit.reserve(1e6, Demand(1, 0, 1000))
        assert limit.wait(1e6, Demand(1, 0, 1000)) == 0.0

    def test_configured_limits_take_precedence_over_headers(self) -> None:
        limit = limits(requests_per_minute=1)
        limit.observe({"requests": LimitObservation(1000, 0, 60.0)}, 0.0, 0.0, None)
        assert limit.wait(0.0, Demand()) == 0.0

    def test_tokens_are_counted_only_with_limits_on_tokens(self) -> None:
        assert not limits().active
        assert not limits(requests_per_minute=5).counts_tokens
        assert limits(output_tokens_per_minute=5).counts_tokens


class TestObservedLimits:
    def observed(self, seen: LimitObservation, now: float = 0.0) -> ObservedLimit:
        limit = ObservedLimit()
        limit.observe(seen, now, now, 0)
        return limit

    def test_requests_wait_until_the_bucket_has_refilled(self) -> None:
        """None of sixty is left, and all are back in a minute: the bucket refills by one per second."""
        limit = self.observed(LimitObservation(60, 0, 60.0), 10.0)
        assert limit.wait(10.0, 1) == pytest.approx(1.0)
        assert limit.wait(15.0, 5) == 0.0
        assert limit.wait(15.0, 6) == pytest.approx(1.0)

    def test_bucket_refills_after_a_request_took_tokens(self) -> None:
        limit = self.observed(LimitObservation(60, 60, 60.0))
        limit.observe(LimitObservation(60, 1, 60.0), 0.0, 0.0, 0)
        limit.take(0.0, 1)
        assert limit.wait(0.0, 1) == pytest.approx(60 / 59)
        assert limit.wait(1.1, 1) == 0.0
        for second in range(2, 30):
            assert limit.wait(1.1 * second, 1) == 0.0, "one request per second can go on forever"
            limit.take(1.1 * second, 1)

    def test_limit_expires_if_no_response_shows_it_again(self) -> None:
        """It expires after twice its reset, and not before a minute."""
        limit = self.observed(LimitObservation(10, 0, 60.0))
        for _ in range(1000):
            limit.take(0.0, 1)
        assert 0 < limit.wait(0.0, 1) <= 120.0
        assert limit.wait(119.0, 1) <= 1.0
        assert limit.wait(120.0, 1) == 0.0

    @pytest.mark.parametrize("reset", [24 * 3600.0, 1e9, math.inf, -1.0, math.nan])
    def test_limit_with_a_long_or_invalid_reset_is_ignored(self, reset: float) -> None:
        assert self.observed(LimitObservation(10, 0, reset)).wait(0.0, 1) == 0.0

    def test_a_limit_of_zero_does_not_stop_requests_forever(self) -> None:
        limit = self.observed(LimitObservation(0, 0, 60.0))
        assert limit.wait(0.0, 1) <= 120.0
        assert limit.wait(120.0, 1) == 0.0

    def test_requests_sent_after_the_observed_one_are_counted(self) -> None:
        limit = ObservedLimit()
        limit.taken = 7
        limit.observe(LimitObservation(60, 3, 60.0), 10.0, 10.0, taken_before=5)
        assert limit.wait(10.0, 1) == 0.0
        assert limit.wait(10.0, 2) > 0.0

    def test_the_response_to_an_older_request_is_ignored(self) -> None:
        limit = self.observed(LimitObservation(60, 0, 60.0), 10.0)
        limit.observe(LimitObservation(60, 60, 60.0), 10.5, 9.0, 0)
        assert limit.wait(10.5, 1) > 0.0

    def test_request_larger_than_the_bucket_waits_until_it_is_full(self) -> None:
        assert self.observed(LimitObservation(100, 0, 20.0)).wait(0.0, 5000) == pytest.approx(20.0)

    def test_a_limit_on_tokens_counts_input_and_output(self) -> None:
        limit = limits()
        limit.observe({"tokens": LimitObservation(600, 100, 60.0)}, 0.0, 0.0, None)
        assert limit.active
        assert limit.counts_tokens
        assert limit.wait(0.0, Demand(1, 60, 40)) == 0.0
        assert limit.wait(0.0, Demand(1, 60, 90)) == pytest.approx(6.0, rel=0.01)

    def test_a_limit_on_requests_needs_no_estimate_of_tokens(self) -> None:
        limit = limits()
        limit.observe({"requests": LimitObservation(600, 100, 60.0)}, 0.0, 0.0, None)
        assert limit.active
        assert not limit.counts_tokens

    def test_an_expired_limit_is_no_longer_active(self) -> None:
        limit = limits()
        limit.observe({"tokens": LimitObservation(600, 0, 60.0)}, 0.0, 0.0, None)
        assert limit.wait(121.0, Demand(1, 10, 10)) == 0.0
        assert not limit.active
        assert not limit.counts_tokens

    @given(
        remaining=st.integers(0, 99),
        reset=st.floats(0, 120),
        amounts=st.lists(st.integers(1, 100), min_size=1, max_size=30),
    )
    def test_no_more_is_spent_than_the_bucket_holds_while_responses_show_it(
        self, remaining: int, reset: float, amounts: list[int]
    ) -> None:
        limit, now = limits(), 0.0
        limit.observe({"input_tokens": LimitObservation(100, remaining, reset)}, 0.0, 0.0, None)
        expires = max(2 * reset, 60.0)
        spent = 0
        for amount in amounts:
            wait = limit.wait(now, Demand(1, amount))
            assert 0.0 <= wait < math.inf
            now += wait
            if now >= expires - 1e-6:
                return
            limit.reserve(now, Demand(1, amount))
            spent += amount
            filled = (100 - remaining) / max(reset, 0.001) * now
            assert spent <= remaining + filled + 1e-6 * (1 + filled)

    @given(
        seen=st.builds(LimitObservation, st.integers(0, 10**12), st.integers(0, 10**12), st.floats(allow_nan=True)),
        taken=st.lists(st.integers(0, 10**9), max_size=20),
        amount=st.integers(0, 10**9),
    )
    def test_limit_that_was_observed_once_never_stops_requests_forever(
        self, seen: LimitObservation, taken: list[int], amount: int
    ) -> None:
        limit = limits()
        limit.observe({"tokens": seen, "requests": seen}, 0.0, 0.0, None)
        for tokens in taken:
            limit.reserve(1.0, Demand(1, tokens, tokens))
        demand = Demand(1, amount)
        assert 0.0 <= limit.wait(1.0, demand) <= 600.0
        assert limit.wait(600.0, demand) == 0.0


class TestSettling:
    @pytest.mark.parametrize("tokens", [10**309, -5, True, 1e308, None, "12"])
    def test_very_large_number_of_tokens_is_forgotten_after_a_minute(self, tokens: object) -> None:
        limit = limits(input_tokens_per_minute=100, output_tokens_per_minute=100)
        usage = Usage(0, 0, 0)
        object.__setattr__(usage, "prompt_tokens", tokens)
        object.__setattr__(usage, "completion_tokens", tokens)
        for i in range(30):
            limit.settle(limit.reserve(100.0 * i, Demand(1, 10, 10)), 100.0 * i, usage)
        assert limit.wait(100.0 * 31, Demand(1, 100, 100)) == 0.0, "a minute later all units are free again"

    @pytest.mark.parametrize("tokens", [-5, True, None, 10**12])
    def test_invalid_number_of_tokens_counts_as_the_reserved_tokens(self, tokens: object) -> None:
        limit = limits(input_tokens_per_minute=100)
        usage = Usage(0, 0, 0)
        object.__setattr__(usage, "prompt_tokens", tokens)
        limit.settle(limit.reserve(0.0, Demand(1, 90)), 0.0, usage)
        assert limit.wait(0.0, Demand(1, 10)) == 0.0
        assert limit.wait(0.0, Demand(1, 11)) == 60.0


class TestEstimates:
    def test_an_estimate_takes_the_length_of_the_prompt_and_the_longest_answer(self) -> None:
        assert estimated_demand(question("x" * 400), GenerationParams(max_new_tokens=50)) == Demand(1, 104, 50)

    def test_an_estimate_counts_images_and_tools(self) -> None:
        words = estimated_demand(question("What is this?"), GenerationParams())
        image = {"type": "image_url", "content": "https://example.org/cat.png"}
        seen = Conversation.from_dict(
            {"messages": [{"role": "user", "content": [{"type": "text", "content": "What is this?"}, image]}]}
        )
        assert estimated_demand(seen, GenerationParams()).input_tokens >= words.input_tokens + 1000
        tool = {"type": "function", "function": {"name": "f", "description": "d" * 400, "parameters": {}}}
        able = question("What is this?", tools=[tool])
        assert estimated_demand(able, GenerationParams()).input_tokens >= words.input_tokens + 100
