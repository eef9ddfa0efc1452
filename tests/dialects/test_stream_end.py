"""When a streamed answer is complete: at a known finish reason, or at the end mark after any reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from aiohttp import web

from asyncinfer import (
    FinishReason,
    InferenceErrorType,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
)
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.engines import stream_reader
from asyncinfer.types.http import HttpResponse
from tests.dialects.anthropic import test_messages as test_anthropic_messages
from tests.dialects.anthropic import test_stream as test_anthropic_stream
from tests.dialects.bedrock import test_response as test_bedrock_response
from tests.dialects.bedrock import test_stream as test_bedrock_stream
from tests.dialects.frames import event
from tests.dialects.google import test_request as test_gemini_request
from tests.dialects.openai import test_request as test_openai_request
from tests.dialects.openai import test_stream as test_openai_stream
from tests.fakes import ONE_ATTEMPT, question
from tests.faults import FaultServer

Json = dict[str, Any]


def sse(*events: Json | str) -> bytes:
    return b"".join(b"data: " + (one if isinstance(one, str) else json.dumps(one)).encode() + b"\n\n" for one in events)


@dataclass(frozen=True)
class Wire:
    """The events of a dialect for text, finish reason and end mark, and its answer without streaming.

    `described` and `described_whole` are the metadata that the response has, streamed and whole.
    """

    dialect: Dialect
    text: bytes
    reason: Callable[[Any], bytes]
    known: str
    mark: bytes
    whole: Callable[[Any], Json]
    described: Json
    described_whole: Json


def _bedrock_frames(*events: tuple[str, Json]) -> bytes:
    return b"".join(event(kind, data) for kind, data in events)


OPENAI = Wire(
    openai_chat(),
    sse(test_openai_stream.chunk(content="Hel"), test_openai_stream.chunk(content="lo.")),
    lambda reason: sse(test_openai_stream.chunk(reason)),
    "stop",
    sse("[DONE]"),
    lambda reason: test_openai_request.answer(reason, content="Hello."),
    test_openai_stream.DESCRIBED,
    {"response_id": "chatcmpl-1", "response_model": "gpt-4.1"},
)
ANTHROPIC = Wire(
    ANTHROPIC_MESSAGES,
    sse(test_anthropic_stream.begin(), *test_anthropic_stream.text_block(0, "Hel", "lo.")),
    lambda reason: sse(test_anthropic_stream.end(reason)[0]),
    "end_turn",
    sse(test_anthropic_stream.end()[1]),
    lambda reason: test_anthropic_messages.answer(test_anthropic_messages.text("Hello."), reason=reason),
    {"response_id": "msg_1", "response_model": "claude-sonnet-4-6"},
    {"response_id": "msg_1", "response_model": "claude-sonnet-4-6"},
)
GEMINI_NATIVE = Wire(
    GEMINI,
    sse(*(test_gemini_request.answer({"text": part}, finish=None) for part in ("Hel", "lo."))),
    lambda reason: sse({"candidates": [{"finishReason": reason, "index": 0}]}),
    "STOP",
    b"",
    lambda reason: {"candidates": [{"content": {"parts": [{"text": "Hello."}]}, "finishReason": reason}]},
    {"response_id": "r1", "response_model": "gemini-2.5-flash"},
    {},
)
BEDROCK = Wire(
    BEDROCK_CONVERSE,
    _bedrock_frames(test_bedrock_stream.delta(0, text="Hel"), test_bedrock_stream.delta(0, text="lo.")),
    lambda reason: _bedrock_frames(("messageStop", {"stopReason": reason})),
    "end_turn",
    _bedrock_frames(test_bedrock_stream.METADATA),
    lambda reason: test_bedrock_response.answer({"text": "Hello."}, stop=reason),
    {},
    {},
)
WIRES = {"OpenAI": OPENAI, "Anthropic": ANTHROPIC, "Gemini": GEMINI_NATIVE, "Bedrock": BEDROCK}
every_wire = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())


def read(wire: Wire, *parts: bytes) -> list[StreamDelta]:
    decoder = wire.dialect.stream()
    return [*(delta for part in parts for delta in decoder.feed(part)), decoder.finish()]


def check_that_it_is_truncated(wire: Wire, *parts: bytes) -> None:
    with pytest.raises(RequestError, match="broke off") as caught:
        read(wire, *parts)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@every_wire
def test_known_reason_completes_an_answer_without_the_end_mark(wire: Wire) -> None:
    assert read(wire, wire.text, wire.reason(wire.known))[-1].finish_reason is FinishReason.STOP


@every_wire
@pytest.mark.parametrize("reason", [None, "", "null", False])
def test_end_mark_without_a_reason_does_not_complete_an_answer(wire: Wire, reason: Any) -> None:
    check_that_it_is_truncated(wire, wire.text, wire.reason(reason), wire.mark)
    check_that_it_is_truncated(wire, wire.text, wire.mark)


@every_wire
@pytest.mark.parametrize(
    ("reason", "kept"), [("bored", "bored"), (7, "7"), (["a", 1], '["a",1]'), ("x" * 999, "x" * 200)]
)
def test_unknown_reason_is_kept_as_text(wire: Wire, reason: Any, kept: str) -> None:
    last = read(wire, wire.text, wire.reason(reason), wire.mark)[-1]
    assert (last.finish_reason, last.metadata) == (
        FinishReason.UNKNOWN,
        {**wire.described, "raw_finish_reason": kept},
    )
    whole = wire.dialect.decode(HttpResponse(200, {}, json.dumps(wire.whole(reason)).encode()))
    assert (whole.message.content, whole.finish_reason) == ("Hello.", FinishReason.UNKNOWN)
    assert whole.append_to(question("?")).metadata["raw_finish_reason"] == kept


@every_wire
@pytest.mark.parametrize("reason", [None, "", "null"])
def test_answer_that_is_not_streamed_needs_no_reason(wire: Wire, reason: Any) -> None:
    whole = wire.dialect.decode(HttpResponse(200, {}, json.dumps(wire.whole(reason)).encode()))
    assert (whole.message.content, whole.finish_reason) == ("Hello.", FinishReason.UNKNOWN)
    assert (whole.metadata or {}) == wire.described_whole


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=["OpenAI", "Anthropic"])
def test_unknown_reason_does_not_complete_an_answer_without_the_end_mark(wire: Wire) -> None:
    check_that_it_is_truncated(wire, wire.text, wire.reason("bored"))


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC, GEMINI_NATIVE], ids=["OpenAI", "Anthropic", "Gemini"])
def test_text_after_a_reason_needs_another_reason(wire: Wire) -> None:
    begun = (wire.text, wire.reason(wire.known), wire.text)
    check_that_it_is_truncated(wire, *begun)
    *_, last = deltas = read(wire, *begun, wire.reason(wire.known))
    assert ("".join(delta.content for delta in deltas), last.finish_reason) == ("Hello.Hello.", FinishReason.STOP)


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC], ids=["OpenAI", "Anthropic"])
def test_unknown_reason_does_not_replace_a_known_one(wire: Wire) -> None:
    last = read(wire, wire.text, wire.reason(wire.known), wire.reason("bored"), wire.reason(""), wire.mark)[-1]
    raw = {} if wire.known == "stop" else {"raw_finish_reason": wire.known}
    assert (last.finish_reason, last.metadata) == (FinishReason.STOP, wire.described | raw)


@pytest.mark.parametrize("wire", [OPENAI, ANTHROPIC, BEDROCK], ids=["OpenAI", "Anthropic", "Bedrock"])
@pytest.mark.parametrize("apart", [False, True])
def test_events_after_the_end_mark_are_not_read(wire: Wire, apart: bool) -> None:
    parts = [wire.text, wire.reason(wire.known), wire.mark, wire.text, b"data: {\n\n"]
    deltas = read(wire, *parts) if apart else read(wire, b"".join(parts))
    assert "".join(delta.content for delta in deltas) == "Hello."


@pytest.mark.parametrize("wire", [ANTHROPIC, GEMINI_NATIVE], ids=["Anthropic", "Gemini"])
def test_end_mark_of_another_dialect_is_ignored(wire: Wire) -> None:
    done = sse("[DONE]")
    assert read(wire, wire.text, done, wire.reason(wire.known), done)[-1].finish_reason is FinishReason.STOP


ERRORS: dict[str, Json] = {
    "an error": {"error": {"message": "no worker"}},
    "an error's text": {"error": "no worker"},
    "an error among choices": {"choices": [], "error": {"message": "no worker"}},
    "error_code": {"message": "no worker", "error_code": 50001},
    "object: error": {"object": "error", "message": "no worker"},
    "type: error": {"type": "error", "message": "no worker"},
    "a detail": {"detail": "no worker"},
    "errors": {"errors": [{"message": "no worker"}]},
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("ends", [False, True], ids=["cut", "with [DONE]"])
def test_error_in_place_of_an_event_fails_the_attempt(error: Json, ends: bool) -> None:
    with pytest.raises(RequestError, match="no worker") as caught:
        read(OPENAI, OPENAI.text, sse(error), OPENAI.mark if ends else b"")
    assert caught.value.is_retryable


@pytest.mark.parametrize(
    ("code", "status"),
    [(503, 503), ("429", 429), (50001, 500), (42901, 429), (40303, None), (True, None), (10**30, None), ("x", None)],
)
def test_status_of_an_error_is_read_from_its_code(code: Any, status: int | None) -> None:
    with pytest.raises(RequestError) as caught:
        read(OPENAI, sse({"object": "error", "message": "no worker", "code": code}))
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    "data", [{"error": {"message": "no worker", "code": 503}}, {"message": "no worker", "code": 503}]
)
def test_status_of_an_error_event_is_read_from_its_code(data: Json) -> None:
    with pytest.raises(RequestError, match="no worker") as caught:
        read(OPENAI, b"event: error\n" + sse(data))
    assert caught.value.status_code == 503


@pytest.mark.parametrize("finish", [None, "", "bored", "error"])
def test_error_beside_an_answer_that_is_not_complete_fails_the_attempt(finish: str | None) -> None:
    error = {"error": {"message": "no worker"}}
    with pytest.raises(RequestError, match="no worker"):
        read(OPENAI, sse(test_openai_stream.chunk(finish, content="He") | error), OPENAI.mark)
    for wire in (OPENAI, GEMINI_NATIVE):
        with pytest.raises(RequestError, match="no worker"):
            wire.dialect.decode(HttpResponse(200, {}, json.dumps(wire.whole(finish) | error).encode()))


def test_error_beside_a_complete_answer_is_ignored() -> None:
    body = OPENAI.whole("stop") | {"error": {"message": "a warning"}}
    assert OPENAI.dialect.decode(HttpResponse(200, {}, json.dumps(body).encode())).message.content == "Hello."


def test_index_of_a_choice_may_be_text() -> None:
    first = test_openai_stream.chunk("stop", content="Hello.")
    first["choices"][0]["index"] = "0"
    other = test_openai_stream.chunk("length", content="Bye.")
    other["choices"][0]["index"] = "1"
    *others, last = read(OPENAI, sse(first, other))
    assert ([delta.content for delta in others], last.finish_reason) == (["Hello."], FinishReason.STOP)


def test_second_answer_does_not_keep_the_raw_reason_of_the_first() -> None:
    bored = OPENAI.dialect.decode(HttpResponse(200, {}, json.dumps(OPENAI.whole("bored")).encode()))
    whole = OPENAI.dialect.decode(HttpResponse(200, {}, json.dumps(OPENAI.whole("stop")).encode()))
    assert "raw_finish_reason" not in whole.append_to(bored.append_to(question("?"))).metadata


# Over a connection


def stream_of(*parts: bytes, then: Callable[[web.Request], Any]) -> Any:
    """A fault that streams these parts and then does not end the stream correctly."""

    async def reply(request: web.Request, _: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        await then(request)
        return response

    return reply


async def _breaks(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def _stays_open(_: web.Request) -> None:
    await anyio.sleep_forever()


async def _streamed(*parts: bytes, then: Callable[[web.Request], Any]) -> tuple[str, StreamDelta]:

    async with FaultServer(lambda _: stream_of(*parts, then=then)) as server:
        remote_params = RemoteParams(api_url=server.url, max_retries=0)
        engine = RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote_params)
        async with engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
            seen = [delta async for delta in deltas]
    return "".join(delta.content for delta in seen), seen[-1]


async def test_connection_that_breaks_after_the_reason_does_not_fail_the_attempt() -> None:
    text, last = await _streamed(OPENAI.text, OPENAI.reason("stop"), then=_breaks)
    assert (text, last.finish_reason) == ("Hello.", FinishReason.STOP)


async def test_connection_that_breaks_before_the_reason_fails_the_attempt() -> None:
    with pytest.raises(RequestError) as caught:
        await _streamed(OPENAI.text, OPENAI.reason(""), then=_breaks)
    assert caught.value.error_type is InferenceErrorType.CONNECTION


async def test_server_that_keeps_the_connection_open_after_the_reason_causes_no_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_reader, "_SECONDS_FOR_THE_REST", 0.0)
    with anyio.fail_after(30):
        text, last = await _streamed(OPENAI.text, OPENAI.reason("stop"), then=_stays_open)
    assert (text, last.finish_reason) == ("Hello.", FinishReason.STOP)


def test_stream_whose_first_part_has_a_reason_is_read_to_its_end() -> None:
    """Open WebUI sends such a part before the model thinks (open-webui/open-webui#23921)."""
    decoder = OPENAI.dialect.stream()
    list(decoder.feed(OPENAI.reason("stop")))
    assert (decoder.end.is_complete, decoder.end.is_settled) == (True, False)
    list(decoder.feed(OPENAI.text))
    assert not decoder.end.is_complete


CHUNKS = [{"choices": [{"delta": {"content": "Hi."}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
MESSAGE_EVENTS = [
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
]
CANDIDATES = [
    {"candidates": [{"content": {"parts": [{"text": "Hi."}]}}]},
    {"candidates": [{"finishReason": "STOP"}], "modelVersion": "g"},
]
ENDED_WELL = {
    "openai": (openai_chat(), CHUNKS),
    "anthropic": (ANTHROPIC_MESSAGES, MESSAGE_EVENTS),
    "google": (GEMINI, CANDIDATES),
}
AN_ERROR: dict[str, Any] = {"type": "error", "error": {"message": "no"}}


def read_stream(dialect: Dialect, lines: list[str]) -> tuple[str, FinishReason | None]:
    stream = dialect.stream()
    deltas = [delta for line in lines for delta in stream.feed(line.encode())]
    last = stream.finish()
    return "".join(delta.content for delta in [*deltas, last]), last.finish_reason


@pytest.mark.parametrize("name", ENDED_WELL)
@pytest.mark.parametrize("event_name", ["message", "error"])
def test_error_after_the_finish_reason_loses_nothing(name: str, event_name: str) -> None:
    dialect, events = ENDED_WELL[name]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    error = f"event: {event_name}\ndata: {json.dumps(AN_ERROR)}\n\n"
    assert read_stream(dialect, [*lines, error]) == ("Hi.", FinishReason.STOP)
    with pytest.raises(RequestError, match="answered with an error: no"):
        read_stream(dialect, [*lines[:1], error, *lines[1:]])


@pytest.mark.parametrize("before", ["data: data: ", "  data: ", "\tdata:", "data: data: data:"])
def test_lines_of_data_in_other_forms_are_read(before: str) -> None:
    lines = [f"{before}{json.dumps(event)}\n\n" for event in CHUNKS]
    assert read_stream(openai_chat(), [*lines, f"{before}[done]\n\n"]) == ("Hi.", FinishReason.STOP)


@pytest.mark.parametrize("mark", ["[DONE]", "[done]", " [Done] "])
def test_end_mark_in_any_case_ends_the_stream(mark: str) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "Hi."}, "finish_reason": "new"}]})
    text, reason = read_stream(openai_chat(), [f"data: {event}\n\n", f"data: {mark}\n\n"])
    assert (text, reason) == ("Hi.", FinishReason.UNKNOWN)


@pytest.mark.parametrize("name", ENDED_WELL)
def test_half_of_a_character_at_the_end_of_a_stream_is_replaced(name: str) -> None:
    dialect, events = ENDED_WELL[name]
    lines = [f"data: {json.dumps(event)}\n\n".replace("Hi.", "Hi\\ud83d") for event in events]
    end = 'data: {"type": "message_stop"}\n\n'
    assert read_stream(dialect, [*lines, end]) == ("Hi\N{REPLACEMENT CHARACTER}", FinishReason.STOP)
