"""The end of a local model's answer: what a reader was told is what the answer says."""

from __future__ import annotations

from typing import Any

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.answer import Answer
from asyncinfer.engines.local.request import Request
from asyncinfer.types.results import Completion, FinishReason, StreamDelta, Usage
from tests.asking import WEATHER
from tests.fakes import question

CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


def ended(
    *pieces: str, prefix: str = "", reason: FinishReason = FinishReason.STOP, **generation: Any
) -> tuple[str, Completion]:
    """What was told of these pieces, and the Completion."""
    emitted: list[Any] = []
    asked = Request(
        question("?", tools=[WEATHER]), GenerationParams.model_validate(generation), ModelParams(), stream=True
    )
    answer = Answer(0, asked, asked.tools, prefix)
    for piece in pieces:
        answer.add(piece.encode(), lambda _, news: emitted.append(news))
    answer.end(reason, Usage(1, 1, 2), lambda _, news: emitted.append(news))
    *deltas, completion = emitted
    assert isinstance(completion, Completion)
    return "".join(delta.content for delta in deltas if isinstance(delta, StreamDelta)), completion


@pytest.mark.parametrize("prefix", ["", "asked: "])
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
def test_what_was_told_is_what_the_answer_says(pieces: list[str], content: str, calls: int, prefix: str) -> None:
    told, completion = ended(*pieces, prefix=prefix)
    assert told == prefix + content == (completion.message.content or "")
    assert len(completion.message.tool_calls or []) == calls
    assert completion.finish_reason == (FinishReason.TOOL_CALLS if calls else FinishReason.STOP)


def test_answer_that_is_cut_after_a_call_says_so() -> None:
    """A second call may have been cut off, and is left out."""
    _, completion = ended(CALL, CALL[:20], reason=FinishReason.LENGTH)
    assert (len(completion.message.tool_calls or []), completion.finish_reason) == (1, FinishReason.LENGTH)


def test_a_stop_string_ends_a_call_too() -> None:
    told, completion = ended(CALL, stop_strings=["weather"])
    assert told == completion.message.content == '<tool_call>{"name": "'
