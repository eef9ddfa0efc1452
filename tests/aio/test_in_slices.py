"""`in_slices` runs a generator in a worker thread."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from asyncinfer.aio.tasks import in_slices


async def test_the_result_of_the_generator_is_returned() -> None:
    def count() -> Generator[None, None, int]:
        yield
        yield
        return 2

    assert await in_slices(count()) == 2


async def test_error_of_the_generator_is_raised_and_its_clean_up_is_done() -> None:
    cleaned = list[str]()

    def fail() -> Generator[None]:
        try:
            yield
            raise ValueError("reason")
        finally:
            cleaned.append("done")

    with pytest.raises(ValueError, match="reason"):
        await in_slices(fail())
    assert cleaned == ["done"]
