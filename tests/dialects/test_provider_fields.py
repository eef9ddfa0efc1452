"""What responses say besides their answer: nothing of it is lost, whole or streamed."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.frames import event

CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 2, "title": "T", "url": "https://x"},
}
SAFE = {"hate": {"filtered": False, "severity": "safe"}}


def whole(dialect: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """The fields in a whole response."""
    return _fields(read_answer(dialect, HttpResponse(200, {}, json.dumps(body).encode())))


def streamed(dialect: Dialect, *events: dict[str, Any]) -> dict[str, Any]:
    """The fields in a stream of server-sent events."""
    decoder = dialect.stream()
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return _fields(Completion.from_deltas([*decoder.feed(body.encode()), decoder.finish()]))


def _fields(answer: Completion) -> dict[str, Any]:
    return (answer.metadata or {}).get("provider_fields", {})


class TestOpenAI:
    """Perplexity's citations, OpenRouter's provider, Azure's content filters, and OpenAI's annotations."""

    response: ClassVar[dict[str, Any]] = {
        "provider": "Azure",
        "citations": ["https://x"],
        "search_results": [{"title": "T", "url": "https://x"}],
    }
    filtered: ClassVar[dict[str, Any]] = {
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}]
    }

    def test_whole_answer(self) -> None:
        message = {"role": "assistant", "content": "Hi", "annotations": [CITATION], "refusal": None, "audio": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "content_filter_results": SAFE}
        found = whole(openai_chat(), {**self.response, **self.filtered, "choices": [choice]})
        assert found == {
            **self.response,
            **self.filtered,
            "annotations": [CITATION],
            "content_filter_results": SAFE,
        }

    def test_stream(self) -> None:
        found = streamed(
            openai_chat(),
            {**self.filtered, "choices": []},
            {**self.response, "choices": [{"index": 0, "delta": {"content": "H", "annotations": [CITATION]}}]},
            {**self.response, "choices": [{"index": 0, "delta": {"content": "i", "annotations": [CITATION]}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "content_filter_results": SAFE}]},
        )
        assert found == {
            **self.response,
            **self.filtered,
            "annotations": [CITATION, CITATION],
            "content_filter_results": SAFE,
        }

    def test_plain_answer_has_no_such_fields(self) -> None:
        choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop", "content_filter_results": {}}
        answer = read_answer(openai_chat(), HttpResponse(200, {}, json.dumps({"choices": [choice]}).encode()))
        assert answer.metadata is None

    def test_field_that_is_nested_too_deeply_to_be_saved_is_left_out(self) -> None:
        deep: Any = []
        for _ in range(150):
            deep = [deep]
        choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
        assert whole(openai_chat(), {"citations": deep, "choices": [choice]}) == {}


class TestAnthropic:
    citation: ClassVar[dict[str, Any]] = {"type": "char_location", "cited_text": "x", "document_index": 0}
    search: ClassVar[dict[str, Any]] = {
        "type": "server_tool_use",
        "id": "s1",
        "name": "web_search",
        "input": {"query": "x"},
    }
    result: ClassVar[dict[str, Any]] = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    expected: ClassVar[dict[str, Any]] = {"citations": [citation], "blocks": [search, result], "stop_sequence": "END"}

    def test_whole_answer(self) -> None:
        text = {"type": "text", "text": "Hi", "citations": [self.citation]}
        content = [self.search, self.result, text]
        body = {"type": "message", "content": content, "stop_reason": "stop_sequence", "stop_sequence": "END"}
        assert whole(ANTHROPIC_MESSAGES, body) == self.expected

    def test_stream(self) -> None:
        found = streamed(
            ANTHROPIC_MESSAGES,
            {"type": "message_start", "message": {"id": "m", "stop_sequence": None}},
            {"type": "content_block_start", "index": 0, "content_block": {**self.search, "input": {}}},
            *(
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": piece},
                }
                for piece in ('{"query"', ': "x"}')
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": self.result},
            {"type": "content_block_stop", "index": 1},
            {"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": ""}},
            {
                "type": "content_block_delta",
                "index": 2,
                "delta": {"type": "citations_delta", "citation": self.citation},
            },
            {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 2},
            {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}},
            {"type": "message_stop"},
        )
        assert found == self.expected


class TestGemini:
    candidate: ClassVar[dict[str, Any]] = {
        "finishReason": "STOP",
        "index": 0,
        "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}],
        "groundingMetadata": {"webSearchQueries": ["x"]},
    }
    image: ClassVar[dict[str, Any]] = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    expected: ClassVar[dict[str, Any]] = {
        "safetyRatings": candidate["safetyRatings"],
        "groundingMetadata": candidate["groundingMetadata"],
        "parts": [image],
    }

    def test_whole_answer(self) -> None:
        content = {"role": "model", "parts": [{"text": "Hi"}, self.image]}
        assert whole(GEMINI, {"candidates": [{**self.candidate, "content": content}]}) == self.expected

    def test_stream(self) -> None:
        first = {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "index": 0}
        last = {**self.candidate, "content": {"role": "model", "parts": [self.image]}}
        assert streamed(GEMINI, {"candidates": [first]}, {"candidates": [last]}) == self.expected


class TestBedrock:
    citation: ClassVar[dict[str, Any]] = {
        "title": "T",
        "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 1}},
    }
    trace: ClassVar[dict[str, Any]] = {"guardrail": {"actionReason": "no action"}}

    def test_whole_answer(self) -> None:
        cited = {"citationsContent": {"content": [{"text": "Hi"}], "citations": [self.citation]}}
        body = {"output": {"message": {"content": [cited]}}, "stopReason": "end_turn", "trace": self.trace}
        assert whole(BEDROCK_CONVERSE, body) == {"citations": [self.citation], "guardrail": self.trace["guardrail"]}

    def test_stream(self) -> None:
        decoder = BEDROCK_CONVERSE.stream()
        events = [
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": self.citation}}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4}, "trace": self.trace}),
        ]
        body = b"".join(event(kind, data) for kind, data in events)
        answer = Completion.from_deltas([*decoder.feed(body), decoder.finish()])
        assert _fields(answer) == {"citations": [self.citation], "guardrail": self.trace["guardrail"]}
