"""Several answers to one request: all of them are in `metadata["choices"]`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse

OPENAI = openai_chat()


def whole(dialect: Dialect, data: dict[str, Any]) -> Completion:
    return dialect.decode(HttpResponse(200, {}, json.dumps(data).encode()))


def streamed(dialect: Dialect, *events: dict[str, Any], end: bytes = b"data: [DONE]\n\n") -> Completion:
    decoder = dialect.stream()
    chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events] + [end]
    deltas = [delta for chunk in chunks for delta in decoder.feed(chunk)]
    return Completion.from_deltas([*deltas, decoder.finish()])


def choice(index: int, text: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason, **more}


def piece(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]}


def test_all_choices_of_a_response_are_kept() -> None:
    completion = whole(OPENAI, {"choices": [choice(0, "a"), choice(1, "b", "length"), choice(2, "c")]})
    assert completion.message.content == "a"
    assert completion.metadata is not None
    assert completion.metadata["choices"] == [choice(0, "a"), choice(1, "b", "length"), choice(2, "c")]


def test_choices_keep_their_log_probabilities_and_calls() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    logprobs = {"content": [{"token": "b", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    other = choice(1, "b", logprobs=logprobs)
    calls = choice(2, "", "tool_calls")
    calls["message"] |= {"content": None, "tool_calls": [call]}
    completion = whole(OPENAI, {"choices": [choice(0, "a"), other, calls]})
    assert completion.metadata is not None
    _, second, third = completion.metadata["choices"]
    assert [entry["token"] for entry in second["logprobs"]] == ["b"]
    assert (third["finish_reason"], third["message"]["tool_calls"]) == ("tool_calls", [call])


def test_single_choice_is_not_kept_twice() -> None:
    assert whole(OPENAI, {"choices": [choice(0, "a")]}).metadata is None
    assert streamed(OPENAI, piece(0, "a", "stop")).metadata is None


def test_choice_that_cannot_be_read_is_kept_as_it_came() -> None:
    broken = {"index": 1, "finish_reason": "stop"}
    completion = whole(OPENAI, {"choices": [choice(0, "a"), broken]})
    assert completion.metadata is not None
    assert completion.metadata["choices"][1] == {"index": 1, "unreadable": broken}


@given(st.lists(st.sampled_from("abc"), min_size=1), st.data())
def test_choices_of_a_stream_are_joined_in_any_order(texts: list[str], data: st.DataObject) -> None:
    events = [piece(index, text) for index in range(3) for text in texts]
    shuffled = data.draw(st.permutations(events))
    ends = [piece(index, "", "stop") for index in data.draw(st.permutations(range(3)))]
    completion = streamed(OPENAI, *shuffled, *ends)
    assert completion.metadata is not None
    found = completion.metadata["choices"]
    assert [one["index"] for one in found] == [0, 1, 2]
    assert [sorted(one["message"]["content"]) for one in found] == [sorted(texts)] * 3
    assert found[0]["message"]["content"] == completion.message.content


def test_stream_is_read_until_the_other_choices_are_complete() -> None:
    decoder = OPENAI.stream()
    events = [piece(0, "a"), piece(1, "b"), piece(0, "", "stop"), piece(1, "c"), piece(1, "", "stop")]
    settled: list[bool] = []
    for event in events:
        list(decoder.feed(f"data: {json.dumps(event)}\n\n".encode()))
        settled.append(decoder.end.is_settled)
    assert settled == [False, False, False, False, True]


def test_choice_that_a_stream_cuts_off_is_kept_as_it_came() -> None:
    completion = streamed(OPENAI, piece(0, "a"), piece(1, "b"), piece(0, "", "stop"))
    assert completion.message.content == "a"
    assert completion.metadata is not None
    assert completion.metadata["choices"][1]["unreadable"] == piece(1, "b")["choices"]


def candidate(index: int, text: str, reason: str | None = "STOP") -> dict[str, Any]:
    finish = {} if reason is None else {"finishReason": reason}
    return {"index": index, "content": {"role": "model", "parts": [{"text": text}]}, **finish}


def test_all_candidates_of_gemini_are_kept() -> None:
    completion = whole(GEMINI, {"candidates": [candidate(0, "a"), candidate(1, "b", "MAX_TOKENS")]})
    assert completion.message.content == "a"
    assert completion.metadata is not None
    assert completion.metadata["choices"] == [choice(0, "a"), choice(1, "b", "length")]


@pytest.mark.parametrize("together", [True, False])
def test_candidates_of_a_stream_are_joined(together: bool) -> None:
    steps = [[candidate(0, "a", None), candidate(1, "b", None)], [candidate(0, "c"), candidate(1, "d")]]
    groups = steps if together else [[one] for step in steps for one in step]
    completion = streamed(GEMINI, *({"candidates": group} for group in groups), end=b"")
    assert completion.message.content == "ac"
    assert completion.metadata is not None
    assert completion.metadata["choices"] == [choice(0, "ac"), choice(1, "bd")]
