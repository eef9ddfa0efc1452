"""Lines of results that would block the event loop, or use up the memory, are refused by every batch API."""

from __future__ import annotations

import pytest

from asyncinfer.errors import RequestError
from asyncinfer.providers.catalog import CATALOG

BATCHES = {name: provider.batch for name, provider in CATALOG.items() if provider.batch is not None}


@pytest.mark.parametrize("engine", BATCHES)
@pytest.mark.parametrize("filling", [b"[]", b"0"], ids=["lists", "numbers"])
def test_line_with_too_many_values_is_refused(engine: str, filling: bytes) -> None:
    batch = BATCHES[engine]
    line = b'{"custom_id":"a","key":"a","recordId":"a","x":[%b0]}' % ((filling + b",") * 2_100_000)
    with pytest.raises(RequestError, match="more values than any answer has"):
        batch.answer(line)


@pytest.mark.parametrize("engine", BATCHES)
@pytest.mark.parametrize("line", [b"[]", b"1", b"null", b'"x"', b"<html>", b"{"])
def test_line_that_is_not_an_object_is_refused(engine: str, line: bytes) -> None:
    with pytest.raises(RequestError, match="has a line that is not"):
        BATCHES[engine].answer(line)
