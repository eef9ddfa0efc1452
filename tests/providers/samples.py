"""Responses of servers, one sample per dialect, for the tests that run for every provider of the catalog."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from asyncinfer.providers.provider import Provider
from tests.dialects.frames import STREAM_TYPE, event
from tests.recorder import CHAT, CONVERSED, SUCCESS

Json = dict[str, Any]
KEY = "sk-test-1"
# The headers of a refusal after which a row that is alone is tried again at once. Otherwise it waits for about half a second.
SOON = {"retry-after-ms": "1"}


class Sample(NamedTuple):
    """The responses of a server.

    Args:
        answer: The answer "Hello.", with a usage of 3 and 4 tokens.
        stream: The same answer as a stream, in parts.
        refusal: An error with the message "slow down", sent with `status`.
        listing: Makes a list of models from their names.
        limit: Reads the token limit in the body of a request.
        chat: The path of requests for chats.
        models: The path of requests for the list of models.
        base: The path of the API, as users write it in `api_url`.
        media_type: The media type of the stream.
    """

    answer: Json
    stream: tuple[bytes, ...]
    refusal: Json
    listing: Callable[[list[str]], Any]
    limit: Callable[[Json], Any]
    chat: str
    models: str = "/v1/models"
    base: str = "/v1"
    status: int = 429
    media_type: str = "text/event-stream"


def _events(*events: Json | str) -> tuple[bytes, ...]:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return tuple(f"data: {text}\n\n".encode() for text in texts)


def _named(*events: Json) -> tuple[bytes, ...]:
    return tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def _chunk(finish: str | None = None, **delta: Any) -> Json:
    return SUCCESS | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": None}


# The key is the path of the dialect.
_SAMPLES: dict[str, Sample] = {
    "/chat/completions": Sample(
        answer=SUCCESS,
        stream=_events(
            _chunk(role="assistant", content="Hel"),
            _chunk(content="lo."),
            _chunk("stop"),
            SUCCESS | {"choices": []},
            "[DONE]",
        ),
        refusal={"error": {"message": "slow down"}},
        listing=lambda names: {"object": "list", "data": [{"id": name, "object": "model"} for name in names]},
        limit=lambda body: body.get("max_tokens") or body.get("max_completion_tokens"),
        chat=CHAT,
    ),
}


_SAMPLES["/messages"] = Sample(
    answer={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    },
    stream=_named(
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ),
    refusal={"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    listing=lambda names: {"data": [{"id": name, "type": "model"} for name in names], "has_more": False},
    limit=lambda body: body["max_tokens"],
    chat="/v1/messages",
)


_RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "model": "m",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}
_SAMPLES["/responses"] = Sample(
    answer=_RESPONSE,
    stream=_named(
        {"type": "response.created", "response": {**_RESPONSE, "status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "lo."},
        {"type": "response.completed", "response": _RESPONSE},
    ),
    refusal={"error": {"message": "slow down"}},
    listing=lambda names: {"object": "list", "data": [{"id": name, "object": "model"} for name in names]},
    limit=lambda body: body.get("max_output_tokens"),
    chat="/v1/responses",
)


_SAMPLES[""] = Sample(  # Converse of Bedrock, whose path contains the name of the model
    answer=CONVERSED,
    stream=(
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello."}}),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": CONVERSED["usage"], "metrics": {"latencyMs": 1}}),
    ),
    refusal={"message": "slow down"},
    listing=lambda names: {
        "modelSummaries": [
            {"modelId": name, "inputModalities": ["TEXT"], "outputModalities": ["TEXT"]} for name in names
        ]
    },
    limit=lambda body: body["inferenceConfig"]["maxTokens"],
    chat="/v1/model/m/converse",
    models="/v1/foundation-models",
    media_type=STREAM_TYPE,
)


def responses_sample() -> Sample:
    """Return the sample of OpenAI's Responses API."""
    return _SAMPLES["/responses"]


def sample_of(provider: Provider) -> Sample:
    assert provider.dialect.path in _SAMPLES, f"tests/providers/samples.py has no sample of {provider.dialect.path}"
    return _SAMPLES[provider.dialect.path]
