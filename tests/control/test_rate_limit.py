"""Limits a minute: set by the user, or learnt from what an endpoint tells."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import Conversation, GenerationParams, RemoteParams, Usage
from asyncinfer.control.rate_limit import Cost, LearntLimit, Observation, RateLimits, SlidingWindow, estimate
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
    def test_never_exceeds_the_limit_in_any_minute(
        self, limit: int, requests: list[tuple[float, int, float, int]]
    ) -> None:
        """Whatever is asked for and whenever, and however long it takes, as long as no more is spent than was
        reserved; what is larger than the limit is alone in its minute.
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

    def test_counts_what_is_reserved_until_it_is_settled_however_long_that_takes(self) -> None:
        window = SlidingWindow(100)
        window.reserve(80)
        assert window.wait(1e6, 30) == math.inf, "only an answer can tell"
        window.settle(80, 1e6, 10)
        assert window.wait(1e6, 30) == 0.0

    def test_frees_what_was_spent_a_minute_later(self) -> None:
        window = SlidingWindow(100)
        for at in (0.0, 10.0):
            window.settle(0, at, 50)
        assert window.wait(20.0, 1) == 40.0
        assert window.wait(20.0, 51) == 50.0
        assert window.wait(60.0, 50) == 0.0

    def test_lets_what_is_larger_than_the_limit_go_alone(self) -> None:
        window = SlidingWindow(100)
        assert window.wait(0.0, 1000) == 0.0
        window.settle(0, 0.0, 1)
        assert window.wait(0.0, 1000) == 60.0


class TestTheUsersLimits:
    def test_on_requests_count_them_when_they_start(self) -> None:
        """Three requests of a minute each: the fourth waits for the first start to be a minute old."""
        limit = limits(requests_per_minute=3)
        for at in (0.0, 1.0, 2.0):
            assert limit.wait(at, Cost()) == 0.0
            limit.reserve(at, Cost())
        assert limit.wait(3.0, Cost()) == 57.0

    def test_on_tokens_settle_on_the_real_usage(self) -> None:
        limit = limits(input_tokens_per_minute=100, output_tokens_per_minute=100)
        reservation = limit.reserve(0.0, Cost(1, 60, 90))
        assert limit.wait(0.0, Cost(1, 60, 10)) == math.inf
        limit.settle(reservation, 5.0, Usage(20, 30, 50))
        assert limit.wait(5.0, Cost(1, 80, 70)) == 0.0
        assert limit.wait(5.0, Cost(1, 81, 70)) == 60.0
        assert limit.wait(5.0, Cost(1, 80, 71)) == 60.0

    def test_reserve_for_answers_as_long_as_lately_once_there_were_enough(self) -> None:
        """`max_new_tokens` of 1000, but answers of ten: a thousand a minute is more than one request."""
        limit = limits(output_tokens_per_minute=1000)
        for i in range(20):
            limit.settle(limit.reserve(100.0 * i, Cost(1, 0, 1000)), 100.0 * i, Usage(0, 10, 10))
        for _ in range(90):
            assert limit.wait(2000.0, Cost(1, 0, 1000)) == 0.0
            limit.reserve(2000.0, Cost(1, 0, 1000))

    def test_fade_the_memory_of_a_long_answer(self) -> None:
        limit = limits(output_tokens_per_minute=1000)
        for i, tokens in enumerate([1000] + [10] * 500):
            limit.settle(limit.reserve(100.0 * i, Cost(1, 0, 1000)), 100.0 * i, Usage(0, tokens, tokens))
        limit.reserve(1e6, Cost(1, 0, 1000))
        assert limit.wait(1e6, Cost(1, 0, 1000)) == 0.0

    def test_are_heeded_whatever_the_endpoint_tells(self) -> None:
        limit = limits(requests_per_minute=1)
        limit.learn({"requests": Observation(1000, 0, 60.0)}, 0.0, None)
        assert limit.wait(0.0, Cost()) == 0.0

    def test_that_there_are_none_of_cost_nothing(self) -> None:
        assert not limits().active
        assert not limits(requests_per_minute=5).counts_tokens
        assert limits(output_tokens_per_minute=5).counts_tokens


class TestLearntLimits:
    def test_hold_requests_until_there_is_room(self) -> None:
        """None of sixty left, all back in a minute: one a second."""
        limit = LearntLimit()
        limit.learn(Observation(60, 0, 60.0), 10.0, 0)
        assert limit.wait(10.0, 1) == pytest.approx(1.0)
        assert limit.wait(15.0, 5) == 0.0
        assert limit.wait(15.0, 6) == pytest.approx(1.0)

    def test_count_what_went_out_since_that_response_was_asked_for(self) -> None:
        limit = LearntLimit()
        limit.taken = 7
        limit.learn(Observation(60, 3, 60.0), 10.0, taken_before=5)
        assert limit.wait(10.0, 1) == 0.0
        assert limit.wait(10.0, 2) > 0.0

    def test_are_as_the_latest_request_saw_them(self) -> None:
        limit = LearntLimit()
        limit.learn(Observation(60, 0, 60.0), 10.0, 0)
        limit.learn(Observation(60, 60, 60.0), 9.0, 0)
        assert limit.wait(10.0, 1) > 0.0, "an older request's response came later"

    def test_never_hold_for_longer_than_until_all_is_there(self) -> None:
        limit = LearntLimit()
        limit.learn(Observation(100, 0, 20.0), 0.0, 0)
        assert limit.wait(0.0, 5000) == pytest.approx(20.0)

    def test_on_tokens_count_both_ways(self) -> None:
        limit = limits()
        limit.learn({"tokens": Observation(600, 100, 60.0)}, 0.0, None)
        assert limit.active
        assert limit.counts_tokens
        assert limit.wait(0.0, Cost(1, 60, 40)) == 0.0
        assert limit.wait(0.0, Cost(1, 60, 90)) == pytest.approx(6.0, rel=0.01)

    def test_on_requests_alone_need_no_estimate_of_tokens(self) -> None:
        limit = limits()
        limit.learn({"requests": Observation(600, 100, 60.0)}, 0.0, None)
        assert limit.active
        assert not limit.counts_tokens

    @given(
        remaining=st.integers(0, 99),
        reset=st.floats(0, 120),
        costs=st.lists(st.integers(1, 100), min_size=1, max_size=30),
    )
    def test_never_spend_more_than_the_bucket_holds(self, remaining: int, reset: float, costs: list[int]) -> None:
        limit, now = limits(), 0.0
        limit.learn({"input_tokens": Observation(100, remaining, reset)}, 0.0, None)
        spent = 0
        for amount in costs:
            wait = limit.wait(now, Cost(1, amount))
            assert 0.0 <= wait < math.inf
            now += wait
            limit.reserve(now, Cost(1, amount))
            spent += amount
            filled = (100 - remaining) / max(reset, 0.001) * now
            assert spent <= remaining + filled + 1e-6 * (1 + filled)


class TestEstimates:
    def test_are_of_the_prompt_by_its_length_and_of_the_answer_at_its_longest(self) -> None:
        assert estimate(question("x" * 400), GenerationParams(max_new_tokens=50)) == Cost(1, 104, 50)

    def test_count_images_and_tools(self) -> None:
        words = estimate(question("What is this?"), GenerationParams())
        image = {"type": "image_url", "content": "https://example.org/cat.png"}
        seen = Conversation.from_dict(
            {"messages": [{"role": "user", "content": [{"type": "text", "content": "What is this?"}, image]}]}
        )
        assert estimate(seen, GenerationParams()).input_tokens >= words.input_tokens + 1000
        tool = {"type": "function", "function": {"name": "f", "description": "d" * 400, "parameters": {}}}
        able = question("What is this?", tools=[tool])
        assert estimate(able, GenerationParams()).input_tokens >= words.input_tokens + 100
