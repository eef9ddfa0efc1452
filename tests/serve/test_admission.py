"""The bounded queue of a server: slots, order, refusals, cancellation, and the end of the server."""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest

from asyncinfer.serve.admission import Admission
from asyncinfer.serve.api_errors import ApiError


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def admission(slots: int = 1, max_queue: int = 10, clock: Clock | None = None) -> Admission:
    return Admission(slots, max_queue, clock or Clock())


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def test_requests_wait_for_a_slot_in_the_order_of_their_arrival() -> None:
    one, order, release = admission(), list[int](), anyio.Event()

    async def answer(number: int) -> None:
        async with one.acquire():
            order.append(number)
            await release.wait()

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(answer, number)
        await settle()
        assert (order, one.in_use, one.waiting) == ([0], 1, 2)
        release.set()
    assert (order, one.in_use, one.waiting) == ([0, 1, 2], 0, 0)


async def test_full_queue_is_refused_and_says_when_to_come_back() -> None:
    clock = Clock()
    one = admission(slots=1, max_queue=0, clock=clock)
    for _ in range(50):
        async with one.acquire():
            clock.time += 5  # Each answer takes 5 seconds.
    async with one.acquire():
        with pytest.raises(ApiError) as refused:
            async with one.acquire():
                pass
    assert (refused.value.status, refused.value.code) == (429, "rate_limit_exceeded")
    assert refused.value.retry_after == pytest.approx(5, rel=0.1)
    assert (b"retry-after", b"5") in refused.value.headers()


async def test_request_with_several_answers_takes_as_many_slots() -> None:
    one = admission(slots=4)
    async with one.acquire(3):
        assert one.in_use == 3
        with anyio.move_on_after(0) as scope:
            async with one.acquire(2):
                pass
        assert scope.cancelled_caught
        async with one.acquire():
            assert one.in_use == 4


async def test_request_with_more_answers_than_slots_takes_all_slots() -> None:
    one = admission(slots=2)
    async with one.acquire(5):
        assert one.in_use == 2


async def test_cancelled_request_gives_its_place_in_the_queue_to_the_next() -> None:
    one, release, entered = admission(), anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with one.acquire():
            await release.wait()

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            async with one.acquire():
                entered.set()

    cancelled = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await settle()
        tasks.start_soon(wait, cancelled)
        tasks.start_soon(wait, anyio.CancelScope())
        await settle()
        cancelled.cancel()
        await settle()
        assert one.waiting == 1
        release.set()
    assert entered.is_set()
    assert (one.in_use, one.waiting) == (0, 0)


async def test_request_that_is_cancelled_as_it_gets_its_slot_gives_it_back() -> None:
    one = admission()

    async def wait() -> None:
        async with one.acquire():
            pytest.fail("the request was cancelled")

    async with one.acquire():
        waiting = asyncio.create_task(wait())
        await settle()
    waiting.cancel()  # The slot was granted when the block above ended.
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (one.in_use, one.waiting) == (0, 0)


async def test_slot_is_given_back_after_an_error() -> None:
    one = admission()
    with pytest.raises(ValueError, match="broken"):
        async with one.acquire():
            raise ValueError("broken")
    assert one.in_use == 0


async def test_draining_waits_for_running_and_waiting_requests_and_refuses_new_ones() -> None:
    one, release, answered, drained = admission(), anyio.Event(), list[int](), anyio.Event()

    async def answer(number: int) -> None:
        async with one.acquire():
            await release.wait()
            answered.append(number)

    async def drain() -> None:
        await one.drain()
        drained.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer, 0)
        tasks.start_soon(answer, 1)
        await settle()
        tasks.start_soon(drain)
        await settle()
        assert not drained.is_set()
        with pytest.raises(ApiError) as refused:
            async with one.acquire():
                pass
        assert (refused.value.status, refused.value.code) == (503, "shutting_down")
        release.set()
    assert (answered, drained.is_set()) == ([0, 1], True)


async def test_cutting_off_ends_all_work() -> None:
    one = admission()
    with one.cancellable() as scope, scope:
        assert one.cut_off() == 1
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert one.cut_off() == 0
