"""AdaptiveSemaphore: no permit is lost, calls wait in order, and limits and rests are respected."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asyncinfer import RemoteParams
from asyncinfer.control.endpoint import Endpoint
from asyncinfer.control.permit import Permit
from asyncinfer.control.rate_limits import ONE_REQUEST, Demand
from asyncinfer.run.semaphore import AdaptiveSemaphore
from tests.fakes import FakeClock, refusal, timeout


class Permits(Endpoint):
    """An endpoint whose permits a test sets. The permits are numbered as they are granted."""

    granted = 0
    in_use: Callable[[], int] = staticmethod(lambda: 0)

    def begin(self, now: float, demand: Demand = ONE_REQUEST) -> Permit:
        # Here, because the number may be lowered before the task with the new permit runs.
        assert self.in_use() <= self.permits(), "more were let in than there are permits"
        self.granted += 1
        permit = super().begin(now, demand)
        permit.number = self.granted
        return permit

    def allow(self, permits: int) -> None:
        self._aimd.permits = permits


def semaphore_of(endpoint: Endpoint, politeness: float = 0.0) -> tuple[AdaptiveSemaphore, FakeClock]:
    clock = FakeClock()
    return AdaptiveSemaphore(endpoint, threading.Lock(), clock, politeness), clock


class Visitor:
    """A task that acquires a permit, and releases it when it is told to."""

    def __init__(self, semaphore: AdaptiveSemaphore) -> None:
        self._semaphore = semaphore
        self._told = anyio.Event()
        self._scope = anyio.CancelScope()
        self.inside = self.gone = False
        self.granted: int | None = None

    async def visit(self) -> None:
        attempt: Permit | None = None
        with self._scope:
            attempt = await self._semaphore.acquire()
            self.granted = attempt.number
            self.inside = True
            try:
                await self._told.wait()
            finally:
                self.inside = False
                self._semaphore.release(attempt, answered=not self._scope.cancel_called)
        self.gone = True

    def release(self) -> None:
        self._told.set()

    def cancel(self) -> None:
        self._scope.cancel()


class TestPermits:
    async def test_a_free_permit_is_acquired_without_waiting(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(2))
        assert semaphore.acquire_nowait() is not None
        assert semaphore.acquire_nowait() is not None
        assert semaphore.acquire_nowait() is None
        assert semaphore.in_use == semaphore.limit == 2

    async def test_a_permit_is_released_after_any_outcome(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        for outcome in ({"answered": True}, {"error": timeout()}, {"error": refusal()}, {}):
            semaphore.release(await semaphore.acquire(), **outcome)
            assert semaphore.in_use == 0
        assert semaphore.answers == 1

    async def test_waiting_calls_get_permits_in_their_order(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        order: list[int] = []
        first = await semaphore.acquire()

        async def wait(i: int) -> None:
            attempt = await semaphore.acquire()
            order.append(i)
            semaphore.release(attempt, answered=True)

        async with anyio.create_task_group() as tasks:
            for i in range(20):
                tasks.start_soon(wait, i)
            await anyio.wait_all_tasks_blocked()
            assert semaphore.waiting == 20
            semaphore.release(first, answered=True)
        assert order == list(range(20))

    async def test_a_new_call_does_not_overtake_waiting_calls(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        visitor = Visitor(semaphore)
        first = await semaphore.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.visit)
            await anyio.wait_all_tasks_blocked()
            semaphore.release(first, answered=True)
            assert semaphore.acquire_nowait() is None, "the one in line has not looked yet, but goes first"
            await anyio.wait_all_tasks_blocked()
            assert visitor.inside
            visitor.release()

    async def test_the_owner_of_the_only_waiting_call_may_take_its_permit(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        first, owner = await semaphore.acquire(), object()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(semaphore.acquire, owner=owner))
            await anyio.wait_all_tasks_blocked()
            semaphore.release(first, answered=True)
            assert semaphore.acquire_nowait(owner=object()) is None
            assert semaphore.acquire_nowait(owner=owner) is not None
            tasks.cancel_scope.cancel()

    async def test_an_owner_does_not_overtake_other_waiting_calls(self) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        first, owner = await semaphore.acquire(), object()
        async with anyio.create_task_group() as tasks:
            for turn in (owner, None):
                tasks.start_soon(partial(semaphore.acquire, owner=turn))
            await anyio.wait_all_tasks_blocked()
            semaphore.release(first, answered=True)
            assert semaphore.acquire_nowait(owner=owner) is None
            tasks.cancel_scope.cancel()

    async def test_permits_above_a_lowered_limit_are_not_granted_again(self) -> None:
        endpoint = Permits(4)
        semaphore, _ = semaphore_of(endpoint)
        inside = [await semaphore.acquire() for _ in range(4)]
        endpoint.allow(2)
        for left in (3, 2):
            semaphore.release(inside.pop(), answered=True)
            assert semaphore.in_use == left
            assert semaphore.acquire_nowait() is None
        semaphore.release(inside.pop(), answered=True)
        assert semaphore.acquire_nowait() is not None

    async def test_a_raised_limit_grants_several_permits_at_once(self) -> None:
        """One permit is released and three more are allowed: all calls that fit get one."""
        endpoint = Permits(1)
        semaphore, _ = semaphore_of(endpoint)
        visitors = [Visitor(semaphore) for _ in range(6)]
        first = await semaphore.acquire()
        async with anyio.create_task_group() as tasks:
            for visitor in visitors:
                tasks.start_soon(visitor.visit)
            await anyio.wait_all_tasks_blocked()
            endpoint.allow(4)
            semaphore.release(first, answered=True)
            await anyio.wait_all_tasks_blocked()
            assert [visitor.inside for visitor in visitors] == [True] * 4 + [False] * 2
            for visitor in visitors:
                visitor.release()

    async def test_a_released_permit_rests_for_the_politeness_policy(self) -> None:
        semaphore, clock = semaphore_of(Endpoint(2), politeness=5.0)
        times: list[float] = []

        async def visit() -> None:
            attempt = await semaphore.acquire()
            times.append(clock.now())
            await clock.sleep(1.0)
            semaphore.release(attempt, answered=True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            async with anyio.create_task_group() as visits:
                for _ in range(6):
                    visits.start_soon(visit)
            tasks.cancel_scope.cancel()
        assert times == [0.0, 0.0, 6.0, 6.0, 12.0, 12.0]

    @pytest.mark.parametrize("error", [refusal(30.0)])
    async def test_a_call_waits_until_the_endpoint_allows_an_attempt(self, error: Exception) -> None:
        semaphore, clock = semaphore_of(Endpoint(2, RemoteParams(num_workers=2, use_adaptive_concurrency=False)))
        semaphore.release(await semaphore.acquire(), error=error)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            await semaphore.acquire()
            tasks.cancel_scope.cancel()
        assert clock.now() == 30.0


class TestACancelledWait:
    @pytest.mark.parametrize("place", [0, 1, 2])
    async def test_a_cancelled_wait_takes_no_permit_and_lets_the_next_call_go(self, place: int) -> None:
        semaphore, _ = semaphore_of(Endpoint(1))
        visitors = [Visitor(semaphore) for _ in range(3)]
        first = await semaphore.acquire()
        async with anyio.create_task_group() as tasks:
            for visitor in visitors:
                tasks.start_soon(visitor.visit)
            await anyio.wait_all_tasks_blocked()
            gone = visitors.pop(place)
            gone.cancel()
            semaphore.release(first, answered=True)
            await anyio.wait_all_tasks_blocked()
            assert (gone.gone, gone.inside) == (True, False)
            assert visitors[0].inside
            for visitor in visitors:
                visitor.release()
        assert (semaphore.in_use, semaphore.waiting) == (0, 0)

    async def test_a_wait_that_is_cancelled_when_its_permit_is_granted_loses_nothing(self) -> None:
        """The first waiting call is cancelled after its permit was granted, and before its task runs."""
        semaphore, _ = semaphore_of(Endpoint(1))
        first, second = Visitor(semaphore), Visitor(semaphore)
        held = await semaphore.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.visit)
            tasks.start_soon(second.visit)
            await anyio.wait_all_tasks_blocked()
            semaphore.release(held, answered=True)
            first.cancel()
            await anyio.wait_all_tasks_blocked()
            assert second.inside
            second.release()
        assert semaphore.in_use == 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "leave", "cancel", "allow", "turn"]), st.integers(0, 30)), max_size=80
)


@given(permits=st.integers(1, 5), steps=STEPS)
@example(permits=1, steps=[("come", 0), ("come", 0), ("turn", 0), ("allow", 1), ("allow", 0), ("turn", 0)])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_permits_are_conserved_and_granted_in_order(permits: int, steps: list[tuple[str, int]]) -> None:
    """Visitors come, leave and are cancelled at any moment, between any two iterations of the event loop, while the
    limit changes. There are never more let in than permits, those in line go in order, and in the end all
    permits are back.
    """
    asyncio.run(_play(permits, steps))


async def _play(permits: int, steps: list[tuple[str, int]]) -> None:
    endpoint = Permits(permits)
    semaphore, _ = semaphore_of(endpoint)
    visitors: list[Visitor] = []
    endpoint.in_use = lambda: semaphore.in_use
    async with anyio.create_task_group() as tasks:
        for step, n in steps:
            if step == "come":
                visitors.append(Visitor(semaphore))
                tasks.start_soon(visitors[-1].visit)
            elif step == "allow":
                endpoint.allow(1 + n % 5)
                semaphore._grant()
            elif step == "turn":
                await anyio.lowlevel.checkpoint()
            elif visitors:
                visitor = visitors[n % len(visitors)]
                (visitor.release if step == "leave" else visitor.cancel)()
        await anyio.wait_all_tasks_blocked()
        inside = sum(visitor.inside for visitor in visitors)
        assert semaphore.in_use == inside
        assert not semaphore.waiting or inside >= semaphore.limit, "someone waits though there is a permit"
        for visitor in visitors:
            visitor.release()
    granted = [visitor.granted for visitor in visitors if visitor.granted is not None]
    assert granted == sorted(granted)
    assert (semaphore.in_use, semaphore.waiting) == (0, 0)
    assert all(visitor.gone for visitor in visitors)


class TestTwoLoops:
    def test_two_loops_share_what_the_endpoint_has_shown(self) -> None:
        """A refusal on one loop delays the other loop too. Each loop has its own permits."""
        endpoint, lock, clock = Endpoint(1, RemoteParams(num_workers=1)), threading.Lock(), FakeClock()

        async def be_refused() -> None:
            semaphore = AdaptiveSemaphore(endpoint, lock, clock)
            semaphore.release(await semaphore.acquire(), error=refusal(20.0))

        async def acquire() -> float:
            semaphore = AdaptiveSemaphore(endpoint, lock, clock)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.run)
                await semaphore.acquire()
                tasks.cancel_scope.cancel()
            return clock.now()

        asyncio.run(be_refused())
        assert asyncio.run(acquire()) == 20.0

    def test_two_loops_at_the_same_time_count_every_answer(self) -> None:
        endpoint, lock = Endpoint(3, RemoteParams(num_workers=3, use_adaptive_concurrency=False)), threading.Lock()

        async def visits() -> None:
            clock = FakeClock()
            semaphore = AdaptiveSemaphore(endpoint, lock, clock)

            async def visit() -> None:
                attempt = await semaphore.acquire()
                await anyio.lowlevel.checkpoint()
                semaphore.release(attempt, answered=True)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clock.run)
                async with anyio.create_task_group() as visits:
                    for _ in range(500):
                        visits.start_soon(visit)
                tasks.cancel_scope.cancel()
            assert semaphore.in_use == 0

        threads = [threading.Thread(target=asyncio.run, args=(visits(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert endpoint.answers == 1000
