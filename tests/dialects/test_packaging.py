"""A body is read by its form: a whole answer, a stream of events, or JSON values one after the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer import FinishReason, InferenceErrorType, RequestError
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.openai.test_request import answer
from tests.dialects.openai.test_stream import STREAMS, as_bytes, chunk
from tests.dialects.test_mutations import APIS, Api, every_api, read
from tests.dialects.test_stream_end import OPENAI, WIRES, Wire, every_wire

Json = dict[str, Any]


def answered(wire: Wire, body: bytes, status: int = 200) -> Completion:
    return read_answer(wire.dialect, HttpResponse(status, {}, body))


def seen(completion: Completion) -> tuple[Any, ...]:
    """The content of an answer. Calls have no ids, because ids may be new for each reading."""
    message = completion.message
    calls = tuple((call.function.name, call.function.arguments) for call in message.tool_calls or ())
    return (message.content or "", message.reasoning_content or "", calls, completion.finish_reason, completion.usage)


@every_api
def test_stream_is_folded_into_the_answer_that_its_deltas_make(api: Api) -> None:
    for parts in api.streams:
        body = b"".join(parts)
        folded = read_answer(api.dialect, HttpResponse(200, {}, body))
        streamed = read(api, [body])
        assert seen(folded) == streamed[:5]
        decoder = api.dialect.stream()
        logprobs = [entry for delta in decoder.feed(body) for entry in delta.logprobs]
        assert folded.metadata == {**(streamed.metadata or {}), **({"logprobs": logprobs} if logprobs else {})}


@every_api
def test_truncated_stream_is_not_folded(api: Api) -> None:
    for parts in api.streams:
        body = b"".join(parts)
        with pytest.raises(RequestError) as caught:
            read_answer(api.dialect, HttpResponse(200, {}, body[: len(parts[0])]))
        assert caught.value.is_retryable


AROUND = [(b"\xef\xbb\xbf", b""), (b"\n\n  ", b"\n"), (b"", b"\n\ndata: [DONE]\n\n"), (b"", b"\0\0"), (b"\r\n", b"x")]


@every_wire
@pytest.mark.parametrize(("before", "after"), AROUND)
def test_whole_answer_is_the_same_with_bytes_around_it(wire: Wire, before: bytes, after: bytes) -> None:
    body = json.dumps(wire.whole(wire.known), indent=1).encode()
    assert answered(wire, before + body + after) == answered(wire, body)
    assert answered(wire, body, 201) == answered(wire, body)


CHUNKS = [chunk(role="assistant", content="Hel"), chunk(content="lo."), chunk("stop")]
FORMS = {
    "lines": "\n".join(map(json.dumps, CHUNKS)).encode(),
    "a list": json.dumps(CHUNKS, indent=1).encode(),
    "one after the other": "".join(map(json.dumps, CHUNKS)).encode(),
    "one event without its packaging": json.dumps(chunk("stop", content="Hello.")).encode(),
    "a list of one answer": json.dumps([answer(content="Hello.")]).encode(),
    "one event with a whole answer": as_bytes(answer(content="Hello.")),
    "no blank lines": b"".join(b"data: %s\n" % json.dumps(one).encode() for one in CHUNKS) + b"data: [DONE]",
    "no line end after the last event": as_bytes(*CHUNKS).rstrip(),
    "objects without a field name": b": ok\n\n" + b"".join(b"%s\n\n" % json.dumps(one).encode() for one in CHUNKS),
    "byte order marks between events": b"\xef\xbb\xbf".join([b"", *(as_bytes(one) for one in CHUNKS)]),
    "words between events": b"data: ping\n\n".join(as_bytes(one) for one in [*CHUNKS, "[DONE]"]),
    "values between events": b'data: null\n\ndata: "ok"\n\ndata: 5\n\n'.join(as_bytes(one) for one in CHUNKS),
    "events of other APIs": as_bytes({"type": "ping"}, CHUNKS[0], {"event": "message", "id": 1}, *CHUNKS[1:]),
    "events after the end": as_bytes(*CHUNKS, "[DONE]", chunk(content="!")) + b"data: {",
    "a repeated end": as_bytes(*CHUNKS, "[DONE]", "[DONE]"),
    "null choices": as_bytes(chunk() | {"choices": [None]}, chunk() | {"choices": None}, *CHUNKS),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_answer_in_any_form_is_read(body: bytes) -> None:
    completion = answered(OPENAI, body)
    assert (completion.message.content, completion.finish_reason) == ("Hello.", FinishReason.STOP)


@pytest.mark.parametrize(
    "body",
    [
        b"\n".join(json.dumps(one).encode() for one in CHUNKS[:2]),
        json.dumps(CHUNKS[:2]).encode(),
        json.dumps(chunk(content="Hello.")).encode(),
        json.dumps(chunk("stop")).encode(),
        json.dumps([chunk("stop")]).encode(),
        as_bytes(*CHUNKS[:2]),
        as_bytes(*CHUNKS).rstrip()[:-1],
        b"data: ",
        b": ok\n\n",
        b"",
        b"Internal Server Error",
        b"<html>502</html>",
    ],
)
def test_body_without_a_complete_answer_is_retryable(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        answered(OPENAI, body)
    assert caught.value.is_retryable
    assert caught.value.error_type in (InferenceErrorType.PARSE_ERROR, InferenceErrorType.CONNECTION)


@pytest.mark.parametrize("form", ["data: {}\n\n", "[{}]", "{}\n", "event: error\ndata: {}\n\n", ": ok\n\n{}\n\n"])
def test_error_in_any_form_is_an_error_of_the_api(form: str) -> None:
    error = json.dumps({"error": {"message": "no worker", "code": 503}})
    with pytest.raises(RequestError, match="no worker") as caught:
        answered(OPENAI, form.replace("{}", error).encode())
    assert (caught.value.status_code, caught.value.is_overload) == (503, True)


def test_unusual_line_ends_within_a_text_are_kept() -> None:
    text = "a\u2028b\x85c\x1cd"
    lines = [json.dumps(one, ensure_ascii=False) for one in (chunk(content=text), chunk("stop"))]
    assert answered(OPENAI, "\n".join(lines).encode()).message.content == text


def test_calls_in_a_stream_without_blank_lines_are_complete() -> None:
    body = b"".join(b"data: %s\n" % json.dumps(one).encode() for one in STREAMS["a tool call"])
    [call] = answered(OPENAI, body).message.tool_calls or []
    assert (call.id, call.function.arguments) == ("call_1", '{"city": "Oslo"}')


def test_stray_word_is_the_reason_if_the_stream_breaks_off() -> None:
    with pytest.raises(RequestError, match="cannot be read.*upstream timed out"):
        answered(OPENAI, as_bytes(CHUNKS[0]) + b"data: upstream timed out\n\n")


# The beginning of a body


@pytest.mark.parametrize(
    ("beginning", "is_stream"),
    [
        *((one, True) for one in (b"data: {}", b"\n: ok", b"event:x", b"id: 1", b"retry: 5", b"\xef\xbb\xbfdata:")),
        *((one, False) for one in (b"{", b' \n{"a"', b"[", b"<html>", b"\xef\xbb\xbf{")),
        *((one, None) for one in (b"", b" \n", b"da", b"even", b"\xef\xbb\xbf")),
    ],
)
@pytest.mark.parametrize("declared", [False, True])
def test_beginning_of_a_body_decides(beginning: bytes, is_stream: bool | None, declared: bool) -> None:
    assert openai_chat().is_stream(beginning, declared=declared) is is_stream


@pytest.mark.parametrize("beginning", [b"Hello", b"502 Bad Gateway", b"datum", b"\xff"])
def test_media_type_decides_if_the_beginning_does_not(beginning: bytes) -> None:
    for declared in (False, True):
        assert openai_chat().is_stream(beginning, declared=declared) is declared


def test_frames_are_recognised() -> None:
    frames = WIRES["Bedrock"].text
    assert BEDROCK_CONVERSE.is_stream(frames[:1], declared=False) is True
    assert BEDROCK_CONVERSE.is_stream(b"\n{", declared=True) is False
    assert BEDROCK_CONVERSE.is_stream(b"", declared=True) is None


def test_every_stream_begins_as_a_stream() -> None:
    for api in APIS.values():
        for parts in api.streams:
            assert api.dialect.is_stream(parts[0], declared=False) is True
