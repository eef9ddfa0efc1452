"""The deltas of an answer and its complete message have the same text."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.answer import AnswerBuilder
from asyncinfer.engines.local.request import Request
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.usage import Usage
from tests.asking import WEATHER
from tests.fakes import question

CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def finished(
    *pieces: str, prefix: str = "", reason: FinishReason = FinishReason.STOP, **generation: Any
) -> tuple[str, Completion]:
    """The text of all deltas for these pieces, and the Completion."""
    emitted: list[Any] = []
    request = Request(
        question("?", tools=[WEATHER]), GenerationParams.model_validate(generation), ModelParams(), stream=True
    )
    answer = AnswerBuilder(0, request, request.tools, prefix)
    for piece in pieces:
        answer.add(piece.encode(), lambda _, event: emitted.append(event))
    answer.finish(reason, Usage(1, 1, 2), lambda _, event: emitted.append(event))
    *deltas, completion = emitted
    assert isinstance(completion, Completion)
    return "".join(delta.content for delta in deltas if isinstance(delta, StreamDelta)), completion


@pytest.mark.parametrize("prefix", ["", "prompt: "])
@pytest.mark.parametrize(
    ("pieces", "content", "calls"),
    [
        (["so <to", "ol"], "so <tool", 0),
        (["so ", CALL], "so ", 1),
        ([CALL[:9], CALL[9:]], "", 1),
        (["<tool_call>{</tool_call>"], "<tool_call>{</tool_call>", 0),
        ([""], "", 0),
    ],
)
def test_deltas_add_up_to_the_message(pieces: list[str], content: str, calls: int, prefix: str) -> None:
    streamed, completion = finished(*pieces, prefix=prefix)
    assert streamed == prefix + content == (completion.message.content or "")
    assert len(completion.message.tool_calls or []) == calls
    assert completion.finish_reason == (FinishReason.TOOL_CALLS if calls else FinishReason.STOP)


def test_answer_cut_off_after_a_call_has_finish_reason_length() -> None:
    """The second call is cut off, and left out."""
    _, completion = finished(CALL, CALL[:20], reason=FinishReason.LENGTH)
    assert (len(completion.message.tool_calls or []), completion.finish_reason) == (1, FinishReason.LENGTH)


def test_stop_string_inside_a_call_ends_the_answer() -> None:
    streamed, completion = finished(CALL, stop_strings=["weather"])
    assert streamed == completion.message.content == '<tool_call>{"name": "'
