"""Which events of a stream bring a part of an answer, in the format of each API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.stream_parts import is_part
from tests.dialects.frames import event


def sse(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def chunk(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return sse({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def block(**delta: Any) -> bytes:
    return sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")


def parts(**part: Any) -> bytes:
    return sse({"candidates": [{"content": {"role": "model", "parts": [part] if part else []}}], "modelVersion": "g"})


def response_event(kind: str, **fields: Any) -> bytes:
    return sse({"type": f"response.{kind}", "sequence_number": 1, "output_index": 0, "item_id": "x", **fields})


OPENAI, RESPONSES = openai_chat(), openai_responses()
TOOL = {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}
PARTS: dict[str, tuple[Dialect, bytes]] = {
    "OpenAI text": (OPENAI, chunk(content="a")),
    "OpenAI white space": (OPENAI, chunk(content=" ")),
    "OpenAI reasoning": (OPENAI, chunk(reasoning_content="a")),
    "OpenAI tool call": (OPENAI, chunk(tool_calls=[TOOL])),
    "OpenAI finish reason": (OPENAI, sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
    "Responses text": (RESPONSES, response_event("output_text.delta", delta="a")),
    "Responses reasoning": (RESPONSES, response_event("reasoning_summary_text.delta", delta="a")),
    "Responses code of a built-in tool": (RESPONSES, response_event("code_interpreter_call_code.delta", delta="a")),
    "Anthropic text": (ANTHROPIC_MESSAGES, block(type="text_delta", text="a")),
    "Anthropic arguments": (ANTHROPIC_MESSAGES, block(type="input_json_delta", partial_json="{")),
    "Anthropic signature": (ANTHROPIC_MESSAGES, block(type="signature_delta", signature="abc")),
    "Gemini text": (GEMINI, parts(text="a")),
    "Gemini call": (GEMINI, parts(functionCall={"name": "f", "args": {}})),
    "Bedrock text": (BEDROCK_CONVERSE, event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}})),
    "Bedrock arguments": (
        BEDROCK_CONVERSE,
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}}),
    ),
}
TOOL_START = sse(
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    },
    "content_block_start",
)
NO_PARTS: dict[str, tuple[Dialect, bytes]] = {
    "comment": (OPENAI, b": OPENROUTER PROCESSING\n\n"),
    "blank lines": (OPENAI, b"\n\n\n"),
    "empty data": (OPENAI, b"data:\n\n"),
    "named event without data": (OPENAI, b"event: ping\n\n"),
    "OpenAI without a choice": (OPENAI, sse({"id": "1", "object": "chat.completion.chunk", "choices": []})),
    "OpenAI role": (OPENAI, chunk(role="assistant", content="")),
    "OpenAI empty delta": (OPENAI, chunk()),
    "OpenAI unknown field": (OPENAI, chunk(x_status="busy")),
    "OpenAI another answer": (OPENAI, sse({"choices": [{"index": 1, "delta": {"content": "a"}}]})),
    "OpenAI usage so far": (OPENAI, sse({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}})),
    "Responses begun": (RESPONSES, response_event("in_progress", response={"id": "1", "output": []})),
    "Responses empty text": (RESPONSES, response_event("output_text.delta", delta="")),
    "Responses keep-alive": (RESPONSES, sse({"type": "keepalive", "sequence_number": 3})),
    "Anthropic ping": (ANTHROPIC_MESSAGES, sse({"type": "ping"}, "ping")),
    "Anthropic empty text": (ANTHROPIC_MESSAGES, block(type="text_delta", text="")),
    "Gemini empty content": (GEMINI, parts()),
    "Bedrock empty text": (
        BEDROCK_CONVERSE,
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": ""}, "p": "abcdefgh"}),
    ),
}


@pytest.mark.parametrize(("dialect", "data"), PARTS.values(), ids=PARTS)
def test_parts_of_an_answer_are_counted(dialect: Dialect, data: bytes) -> None:
    decoder = dialect.stream()
    if b"input_json_delta" in data:
        list(decoder.feed(TOOL_START))
    before = decoder.parts
    for count in (1, 2):
        list(decoder.feed(data))
        assert decoder.parts == before + count


@pytest.mark.parametrize(("dialect", "data"), NO_PARTS.values(), ids=NO_PARTS)
def test_keep_alives_are_not_counted(dialect: Dialect, data: bytes) -> None:
    decoder = dialect.stream()
    for _ in range(3):
        list(decoder.feed(data))
    assert decoder.parts == 0


def choice(delta: Any, **more: Any) -> Any:
    return {"id": "1", "choices": [{"index": 0, "delta": delta, **more}]}


@pytest.mark.parametrize(
    "event",
    [
        choice({"content": "a"}),
        choice({}, finish_reason="length"),
        choice({"content": [{"type": "text", "text": "a"}]}),
        choice({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
        choice({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
        choice({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
        {"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "x"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "1", "name": "f"}},
        {"candidates": [{"content": {"parts": [{"text": "a"}], "role": "model"}, "index": 0}]},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]},
        {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "x"}}},
        {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}},
        {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "1", "name": "f"}}},
    ],
)
def test_event_with_a_part_of_the_answer_is_recognised(event: Any) -> None:
    assert is_part(json.dumps(event))


@pytest.mark.parametrize(
    "event",
    [
        choice({}),
        choice({"role": "assistant", "content": ""}),
        choice({"x_status": "busy"}),
        choice({"x_status": {"content": "busy"}}),
        choice({}, x_queue={"position": 3}),
        choice({"content": [{"type": "text", "text": ""}]}),
        choice({"content": None, "tool_calls": [{"index": 0, "function": {"arguments": ""}}]}),
        choice({}, finish_reason="in_progress"),
        {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "another answer"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}}]},
        {"choices": [], "usage": {"prompt_tokens": 7}, "timing": {"queue": 1.5}},
        {"type": "ping", "at": "12:00"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "x_status", "status": "busy"}},
        {"contentBlockIndex": 0, "delta": {"x": "busy"}, "p": "abc"},
        "busy",
        17,
    ],
)
def test_event_without_a_part_of_the_answer_is_recognised(event: Any) -> None:
    assert not is_part(json.dumps(event))
