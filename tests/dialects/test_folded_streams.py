"""A streamed answer, put together, is the same answer as one that is not streamed, and can be sent back."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from asyncinfer import Conversation, GenerationParams, Message, ModelParams
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect, EncoderSettings
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.anthropic import test_messages as anthropic
from tests.dialects.anthropic import test_stream as anthropic_stream
from tests.dialects.bedrock import test_response as bedrock
from tests.dialects.bedrock import test_stream as bedrock_stream
from tests.dialects.frames import event
from tests.dialects.google import test_request as gemini
from tests.dialects.openai.test_stream import DONE, begun, chunk, fragment

Json = dict[str, Any]
OPENROUTER = openai_chat(Quirks(reasoning="reasoning", passthrough=frozenset({"reasoning_details"})))


class Case(NamedTuple):
    """The same answer, whole and streamed."""

    dialect: Dialect
    whole: Json
    stream: bytes


def sse(*events: Json | str) -> bytes:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in events)
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def messages(whole: list[Json], *events: Json, reason: str = "end_turn") -> Case:
    """An answer of Anthropic's."""
    stream = [anthropic_stream.begin(), *events, *anthropic_stream.end(reason)]
    return Case(ANTHROPIC_MESSAGES, anthropic.answer(*whole, stop_reason=reason), sse(*stream))


def converse(whole: list[Json], *events: Any, stop: str = "end_turn") -> Case:
    """An answer of Bedrock's."""
    stream = [bedrock_stream.START, *events, bedrock_stream.stop(stop), bedrock_stream.METADATA]
    return Case(BEDROCK_CONVERSE, bedrock.answer(*whole, stop=stop), b"".join(event(*one) for one in stream))


def chat(dialect: Dialect, message: Json, *deltas: Json, reason: str = "stop") -> Case:
    """An answer in OpenAI's format."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return Case(dialect, {"id": "1", "model": "m", "choices": [choice]}, sse(*deltas, chunk(reason), DONE))


def thinking(index: int, *deltas: Json, **start: Any) -> list[Json]:
    kind = start.pop("type", "thinking")
    pieces = [anthropic_stream.piece(index, name, **{name: text}) for one in deltas for name, text in one.items()]
    return [anthropic_stream.block(index, kind, **start), *pieces, anthropic_stream.stop(index)]


def reasoning(index: int, **piece: Any) -> Any:
    return bedrock_stream.delta(index, reasoningContent=piece)


def google(**fields: Any) -> Json:
    return {"extra_content": {"google": fields}}


def details(*parts: Json) -> Json:
    return chunk(reasoning_details=list(parts))


HIDDEN: Json = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
SIGNED = google(thought_signature="c2ln")
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CALLING = [begun(0, "call_1", "weather"), fragment(0, '{"city": "Oslo"}')]
TEXT: Json = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
SECRET: Json = {
    "type": "reasoning.encrypted",
    "format": "openai-responses-v1",
    "data": "c2Vj",
    "id": "rs_1",
    "index": 1,
}

CASES = {
    "Anthropic: a signed thought": messages(
        [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "text", "text": "4"}],
        *thinking(0, {"thinking": "H"}, {"thinking": "m."}, {"signature": "c2ln"}, thinking="", signature=""),
        *anthropic_stream.text_block(1, "4"),
    ),
    "Anthropic: a hidden thought, and one whose text is left out": messages(
        [HIDDEN, {"type": "thinking", "thinking": "", "signature": "c2ln"}, {"type": "text", "text": "4"}],
        *thinking(0, **HIDDEN),
        *thinking(1, {"signature": "c2ln"}, thinking="", signature=""),
        *anthropic_stream.text_block(2, "4"),
    ),
    "Anthropic: thoughts before and between calls": messages(
        [
            {"type": "thinking", "thinking": "A.", "signature": "YQ=="},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "thinking", "thinking": "B.", "signature": "Yg=="},
            {"type": "tool_use", "id": "b", "name": "g", "input": {"x": 2}},
        ],
        *thinking(0, {"thinking": "A."}, {"signature": "YQ=="}, thinking="", signature=""),
        *anthropic_stream.called(1, "a", "f", '{"x": ', "1}"),
        *thinking(2, {"thinking": "B."}, {"signature": "Yg=="}, thinking="", signature=""),
        *anthropic_stream.called(3, "b", "g", '{"x": 2}'),
        reason="tool_use",
    ),
    "Bedrock: a signed thought": converse(
        [{"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}, {"text": "4"}],
        reasoning(0, text="H"), reasoning(0, text="m."), reasoning(0, signature="c2ln"), bedrock_stream.ended(0),
        bedrock_stream.delta(1, text="4"), bedrock_stream.ended(1),
    ),
    "Bedrock: a hidden thought": converse(
        [bedrock.HIDDEN, {"text": "4"}],
        reasoning(0, **bedrock.HIDDEN["reasoningContent"]), bedrock_stream.ended(0), bedrock_stream.delta(1, text="4"),
    ),
    "Bedrock: a hidden thought in two pieces": converse(
        [{"reasoningContent": {"redactedContent": "aGlkZGVu"}}, {"text": "4"}],
        reasoning(0, redactedContent="aGk="), reasoning(0, redactedContent="ZGRlbg=="), bedrock_stream.ended(0),
        bedrock_stream.delta(1, text="4"),
    ),
    "Bedrock: a thought without a signature": converse(
        [bedrock.UNSIGNED, {"text": "4"}], reasoning(0, text="Hm."), bedrock_stream.ended(0), bedrock_stream.delta(1, text="4")
    ),
    "Gemini: a signed text": Case(
        GEMINI,
        gemini.answer({"text": "4", "thoughtSignature": "c2ln"}),
        sse(gemini.answer({"text": "4"}, finish=None), gemini.answer({"text": "", "thoughtSignature": "c2ln"})),
    ),
    "Gemini: a signed call": Case(GEMINI, gemini.answer(gemini.CALLED), sse(gemini.answer(gemini.CALLED))),
    "Gemini's compatible endpoint: a signed text": chat(
        GEMINI, {"content": "4", **SIGNED}, chunk(content="4"), chunk(content="", **SIGNED)
    ),
    "Vertex: a thought and a signed text": chat(
        VERTEX,
        {"content": "<thought>Hm.</thought>4", **google(thought=True, thought_signature="c2ln")},
        chunk(content="<thought>Hm.", **google(thought=True)), chunk(content="</thought>4", **SIGNED),
    ),
    "Vertex: a signed call": chat(
        VERTEX,
        {"content": None, "tool_calls": [{**CALL, **SIGNED}]},
        chunk(tool_calls=[{"index": 0, **CALL, **SIGNED}]),
        reason="tool_calls",
    ),
    "OpenRouter: a signed thought and an encrypted one": chat(
        OPENROUTER,
        {
            "content": None, "reasoning": "Hm.", "tool_calls": [CALL],
            "reasoning_details": [{**TEXT, "text": "Hm.", "signature": "c2ln"}, SECRET],
        },
        details({**TEXT, "text": "H"}), details({**TEXT, "text": "m."}), details({**TEXT, "signature": "c2ln"}),
        details(SECRET), *CALLING,
        reason="tool_calls",
    ),
    "OpenRouter: two summaries": chat(
        OPENROUTER,
        {
            "content": "4", "reasoning": "AB",
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "A", "index": 0},
                {"type": "reasoning.summary", "summary": "B", "index": 2},
            ],
        },
        details({"type": "reasoning.summary", "summary": "A", "index": 0}),
        details({"type": "reasoning.summary", "summary": "B", "index": 2}),
        chunk(content="4"),
    ),
    "OpenRouter: encrypted parts without an index": chat(
        OPENROUTER,
        {"content": "4", "reasoning_details": [{"type": "reasoning.encrypted", "data": one} for one in "ab"]},
        *(details({"type": "reasoning.encrypted", "data": one}) for one in "ab"), chunk(content="4"),
    ),
    "a whole message in place of pieces": Case(
        OPENROUTER,
        {"choices": [{"message": {"content": "4", "reasoning_details": [SECRET]}, "finish_reason": "stop"}]},
        sse({"choices": [{"message": {"content": "4", "reasoning_details": [SECRET]}, "finish_reason": "stop"}]}, DONE),
    ),
}  # fmt: skip


def folded(case: Case) -> Completion:
    decoder = case.dialect.stream()
    return Completion.from_deltas([*decoder.feed(case.stream), decoder.finish()])


def sent_back(case: Case, answer: Message) -> Any:
    """The body of the request that continues the conversation after this answer."""
    settings = EncoderSettings(
        f"https://x.example{case.dialect.path}", ModelParams(model_name="m"), GenerationParams(max_new_tokens=9)
    )
    results = [{"role": "tool", "content": "sunny", "tool_call_id": call.id} for call in answer.tool_calls or ()] or [
        {"role": "user", "content": "Why?"}
    ]
    question = {"role": "user", "content": "2 + 2?"}
    conversation = Conversation.model_validate({"messages": [question, answer, *results]})
    return json.loads(case.dialect.encoder_for(settings)(conversation).body or b"")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_folded_stream_equals_the_whole_answer(case: Case) -> None:
    whole = case.dialect.decode(HttpResponse(200, {}, json.dumps(case.whole).encode()))
    assert folded(case).message == whole.message
    assert folded(case).finish_reason is whole.finish_reason


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_folded_stream_and_whole_answer_are_sent_back_equally(case: Case) -> None:
    whole = case.dialect.decode(HttpResponse(200, {}, json.dumps(case.whole).encode()))
    assert sent_back(case, folded(case).message) == sent_back(case, whole.message)
