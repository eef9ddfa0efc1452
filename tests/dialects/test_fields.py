"""Fields of responses with values of any type."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer import ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.dialects.fields import as_count, checked_depth
from tests.fakes import question
from tests.recorder import SUCCESS, Recorder


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *((0, 0), (12, 12), (10**9, 10**9), (12.0, 12), ("12", 12), (" 12 ", 12), ("0", 0)),
        *((value, None) for value in (True, False, None, -1, 10**9 + 1, 10**308, 10**4299, 1.5, -0.5)),
        *((value, None) for value in (float("inf"), float("nan"), 1e308, "", "-1", "1.5", "1" * 309, "٣", "²", "0x1")),
        *((value, None) for value in ([], [1], {}, {"a": 1})),
    ],
)
def test_count_is_a_whole_number_up_to_a_billion(value: Any, count: int | None) -> None:
    read = as_count(value)
    assert (read, type(read)) == (count, type(count))


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2))
def test_any_value_is_a_count_or_none(value: Any) -> None:
    count = as_count(value)
    assert count is None or 0 <= count <= 10**9


def test_value_that_is_nested_too_deeply_is_refused() -> None:
    value: Any = json.loads("[" * 100 + "]" * 100)
    assert checked_depth(value) is value
    for deeper in ([value], {"a": value}):
        with pytest.raises(ValueError, match="nested more than 100 levels deep"):
            checked_depth(deeper)


@pytest.mark.parametrize(
    "count",
    [10**308, 10**4299, -(10**308), True, "9" * 400, [1]],
    ids=["309 digits", "4300 digits", "negative", "true", "text", "a list"],
)
async def test_huge_token_counts_do_not_stop_the_engine(count: Any, api: Recorder) -> None:
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"), count)
    api.answers(SUCCESS | {"usage": usage})
    limits = RemoteParams(
        api_url=api.url, num_workers=1, max_retries=0, input_tokens_per_minute=10**6, output_tokens_per_minute=10**6
    )
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=limits) as engine:
        answered = await engine.ainfer([question("a"), question("b")])
        answered += await engine.ainfer([question("c")])
    assert [conversation.metadata["usage"]["total_tokens"] for conversation in answered] == [0, 0, 0]
