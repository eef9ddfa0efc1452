"""The memory budget of bodies: it is never exceeded much, never deadlocks, and is given back."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.transport.memory import MemoryBudget


@given(sizes=st.lists(st.lists(st.integers(1, 50), max_size=6), max_size=8))
def test_all_bodies_are_read_and_memory_stays_bounded(sizes: list[list[int]]) -> None:
    async def main() -> None:
        budget, held, done = MemoryBudget(100), dict[int, int](), list[int]()
        largest = max((sum(parts) for parts in sizes), default=0)

        async def read(number: int) -> None:
            share = budget.share()
            for part in sizes[number]:
                await share.grow(part)
                held[number] = held.get(number, 0) + part
                assert sum(held.values()) <= 100 + largest
                await checkpoint()
            held.pop(number, None)
            share.release()
            done.append(number)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for number in range(len(sizes)):
                    tasks.start_soon(read, number)
        assert sorted(done) == list(range(len(sizes)))
        await budget.share().grow(100)  # all of it was given back

    anyio.run(main)


@pytest.mark.parametrize("first", [100, 101])
async def test_cancelled_body_returns_its_share(first: int) -> None:
    budget = MemoryBudget(100)
    holder = budget.share()
    await holder.grow(first)
    beyond, waiting = budget.share(), budget.share()
    if first == 100:
        await beyond.grow(50)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.grow, 60)
        await checkpoint()
        holder.release()
    assert waiting.taken == 60
