"""Work that may end early: it is cancelled when another call returns."""

from __future__ import annotations

import anyio
import pytest

from asyncinfer.aio.tasks import done_before


async def nothing() -> None:
    """Return at once."""


async def test_work_is_completed_and_the_other_call_is_cancelled() -> None:
    assert await done_before(anyio.sleep_forever, nothing)


async def test_work_is_cancelled_when_the_other_call_returns() -> None:
    assert not await done_before(nothing, anyio.sleep_forever)


async def test_work_is_cancelled_with_its_scope() -> None:
    scope = anyio.CancelScope()
    scope.cancel()
    assert not await done_before(anyio.sleep_forever, anyio.sleep_forever, scope)


async def test_error_of_the_work_is_raised_by_itself() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await done_before(anyio.sleep_forever, fail)


async def test_cancellation_of_the_caller_passes_through() -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        await done_before(anyio.sleep_forever, anyio.sleep_forever)
        pytest.fail("the caller was cancelled")
    assert outer.cancelled_caught
