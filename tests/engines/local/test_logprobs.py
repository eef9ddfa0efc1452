"""Log probabilities of local models: computed from raw scores, and added to deltas and answers."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.answer import AnswerBuilder
from asyncinfer.engines.local.logprobs import logprobs_of_token, text_of_bytes
from asyncinfer.engines.local.request import Request
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.logprobs import token_logprob
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage
from tests.fakes import question

if find_spec("numpy") is None:
    pytest.skip("needs NumPy", allow_module_level=True)

PIECES = [b"a", b"b", b" c", "é".encode()[:1]]
HI, YOU = token_logprob("Hi", -0.5), token_logprob(" you", -1.5)


def entry(token: int, count: int | None, scores: list[float]) -> dict[str, Any]:
    import numpy as np

    return logprobs_of_token(np.array(scores, dtype="f4"), token, count, lambda one: text_of_bytes(PIECES[one]))


def test_probabilities_are_those_of_the_scores() -> None:
    scores = [0.0, math.log(2), math.log(5), math.log(2)]
    found = entry(1, 4, scores)
    assert math.exp(found["logprob"]) == pytest.approx(0.2)
    assert [math.exp(one["logprob"]) for one in found["top_logprobs"]] == pytest.approx([0.5, 0.2, 0.2, 0.1])
    assert [one["token"] for one in found["top_logprobs"]] == [" c", "b", "\ufffd", "a"]


@pytest.mark.parametrize(("count", "length"), [(None, 0), (0, 0), (2, 2), (20, 4)])
def test_number_of_the_likeliest_tokens_is_as_requested(count: int | None, length: int) -> None:
    assert len(entry(0, count, [0.0, 1.0, 2.0, 3.0])["top_logprobs"]) == length


def test_token_that_is_a_part_of_a_character_has_its_bytes() -> None:
    assert (entry(3, None, [0.0] * 4)["token"], entry(3, None, [0.0] * 4)["bytes"]) == ("\ufffd", [0xC3])


def test_very_high_scores_do_not_overflow() -> None:
    assert entry(0, None, [1e30, 0.0, 0.0, -1e30])["logprob"] == 0.0


def built(*, stream: bool, stop: str) -> list[Any]:
    """The events of an answer of two tokens."""
    request = Request(question("?"), GenerationParams(stop_strings=[stop]), ModelParams(), stream=stream)
    events: list[Any] = []
    answer = AnswerBuilder(0, request, [])
    for piece, logprobs in ((b"Hi", HI), (b" you", YOU)):
        answer.add_logprobs(logprobs)
        answer.add(piece, lambda _, event: events.append(event))
    answer.finish(FinishReason.STOP, Usage(), lambda _, event: events.append(event))
    return events


def test_log_probabilities_of_an_answer_are_in_its_metadata() -> None:
    [completion] = built(stream=False, stop="END")
    assert completion.metadata == {"logprobs": [HI, YOU]}


@pytest.mark.parametrize(
    ("stop", "deltas"),
    [
        ("END", [StreamDelta("Hi", logprobs=(HI,)), StreamDelta(" you", logprobs=(YOU,))]),
        ("you there", [StreamDelta("Hi", logprobs=(HI,)), StreamDelta(" ", logprobs=(YOU,)), StreamDelta("you")]),
        (" you", [StreamDelta("Hi", logprobs=(HI,)), StreamDelta(logprobs=(YOU,))]),
    ],
)
def test_log_probabilities_of_a_stream_come_once(stop: str, deltas: list[StreamDelta]) -> None:
    *found, completion = built(stream=True, stop=stop)
    assert found == deltas
    assert isinstance(completion, Completion)
    assert completion.metadata is None
