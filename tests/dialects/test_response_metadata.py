"""The metadata of an answer: id, model, fingerprint and service tier of its response, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer import StreamDelta
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.types.answer import Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.http import HttpResponse
from tests.dialects.anthropic.test_messages import answer as anthropic_answer
from tests.dialects.anthropic.test_messages import text
from tests.dialects.anthropic.test_stream import begin, end, text_block
from tests.dialects.bedrock.test_response import answer as bedrock_answer
from tests.dialects.frames import event
from tests.dialects.google.test_request import answer as gemini_answer
from tests.dialects.openai.test_request import answer
from tests.dialects.openai.test_stream import chunk
from tests.dialects.test_stream_end import sse
from tests.fakes import question

Json = dict[str, Any]
NAMED = {"id": "r", "model": "m-2026", "system_fingerprint": "fp", "service_tier": "flex"}
ALL = {"response_id": "r", "response_model": "m-2026", "system_fingerprint": "fp", "service_tier": "flex"}
IN_BEDROCK = {"serviceTier": {"type": "flex"}, "trace": {"promptRouter": {"invokedModelId": "m-2026"}}}
USAGE = {"serviceTier": "flex", "promptTokenCount": 1}
START = begin(service_tier="flex")
START["message"] |= {"id": "r", "model": "m-2026"}

CASES: dict[str, tuple[Dialect, Json, bytes, Json]] = {
    "OpenAI": (
        openai_chat(),
        answer(content="4") | NAMED,
        sse(chunk(content="4") | NAMED, chunk("stop") | NAMED, "[DONE]"),
        ALL,
    ),
    "Anthropic": (
        ANTHROPIC_MESSAGES,
        anthropic_answer(text("4"), id="r", model="m-2026", usage={"service_tier": "flex"}, reason="stop"),
        sse(START, *text_block(0, "4"), *end("stop")),
        {name: ALL[name] for name in ("response_id", "response_model", "service_tier")},
    ),
    "Gemini": (
        GEMINI,
        gemini_answer({"text": "4"}, finish="stop", responseId="r", modelVersion="m-2026", usageMetadata=USAGE),
        sse(gemini_answer({"text": "4"}, finish="stop", responseId="r", modelVersion="m-2026", usageMetadata=USAGE)),
        {name: ALL[name] for name in ("response_id", "response_model", "service_tier")},
    ),
    "Bedrock": (
        BEDROCK_CONVERSE,
        bedrock_answer({"text": "4"}, stop="stop") | IN_BEDROCK,
        b"".join(
            [
                event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "4"}}),
                event("messageStop", {"stopReason": "stop"}),
                event("metadata", {"usage": {"inputTokens": 1}, **IN_BEDROCK}),
            ]
        ),
        {name: ALL[name] for name in ("response_model", "service_tier")},
    ),
}
every_case = pytest.mark.parametrize(("dialect", "body", "stream", "metadata"), CASES.values(), ids=CASES.keys())


def last_of(dialect: Dialect, stream: bytes) -> StreamDelta:
    decoder = dialect.stream()
    return [*decoder.feed(stream), decoder.finish()][-1]


@every_case
def test_response_s_own_data_are_kept(dialect: Dialect, body: Json, stream: bytes, metadata: Json) -> None:
    assert dialect.decode(HttpResponse(200, {}, json.dumps(body).encode())).metadata == metadata
    assert last_of(dialect, stream).metadata == metadata


@pytest.mark.parametrize("value", [None, "", {}, ["a"], True, 1.5])
def test_values_that_are_no_texts_are_left_out(value: Any) -> None:
    unnamed = dict.fromkeys(NAMED, value)
    body = json.dumps(answer(content="4") | unnamed).encode()
    assert openai_chat().decode(HttpResponse(200, {}, body)).metadata is None
    assert last_of(openai_chat(), sse(chunk("stop", content="4") | unnamed)).metadata is None


def test_empty_first_event_does_not_hide_the_model() -> None:
    """Azure sends the results of its filter in an event without id and model."""
    empty = chunk() | {"choices": [], "id": "", "model": ""}
    last = last_of(openai_chat(), sse(empty, chunk(content="4") | NAMED, chunk("stop") | NAMED, {"choices": []}))
    assert last.metadata == ALL


def test_number_as_an_id_is_kept_as_text() -> None:
    body = json.dumps(answer(content="4") | {"id": 12, "model": "m"}).encode()
    assert openai_chat().decode(HttpResponse(200, {}, body)).metadata == {"response_id": "12", "response_model": "m"}


@every_case
def test_second_answer_keeps_nothing_of_the_first(dialect: Dialect, body: Json, stream: bytes, metadata: Json) -> None:
    first = dialect.decode(HttpResponse(200, {}, json.dumps(body).encode()))
    first.metadata = {**metadata, "raw_finish_reason": "x", "dropped_parameters": ["seed"], "unsaved_metadata": ["y"]}
    answered = first.append_to(question("?", metadata={"topic": "sums"}))
    assert answered.metadata["topic"] == "sums"
    plain = Completion(first.message, FinishReason.STOP)
    assert plain.append_to(answered).metadata == {"topic": "sums", "finish_reason": "stop"}
