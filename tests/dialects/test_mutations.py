"""Mutation campaigns: real answers and streams of every dialect with random changes.

An answer that was changed is an answer which can be saved and read back, or a RequestError. A stream is the same
however it is split; one that is cut is never an answer with less in it; and calls are never made of two calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import Conversation, FinishReason, RequestError, StreamDelta
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.base import Dialect
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.packaging import read_answer
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.usage import Usage
from tests.dialects.anthropic import test_messages as test_anthropic_messages
from tests.dialects.anthropic import test_stream as test_anthropic_stream
from tests.dialects.bedrock import test_response as test_bedrock_response
from tests.dialects.bedrock import test_stream as test_bedrock_stream
from tests.dialects.frames import event, exception
from tests.dialects.google import test_request as test_gemini_request
from tests.dialects.mangled import (
    complete_calls,
    joined_pieces,
    mangled_text,
    repackaged,
    without_unknown_fields,
)
from tests.dialects.openai import test_quirks as test_openai_quirks
from tests.dialects.openai import test_request as test_openai_request
from tests.dialects.openai import test_stream as test_openai_stream
from tests.dialects.openai.responses import test_response as test_responses_response
from tests.dialects.openai.responses import test_stream as test_responses_stream
from tests.fakes import question

Json = dict[str, Any]
FEW, MANY = 60, 1000


class Api(NamedTuple):
    """A dialect, with complete answers and with streams as lists of events."""

    dialect: Dialect
    answers: list[Json]
    streams: list[list[bytes]]


def _sse(*events: Json | str) -> list[bytes]:
    return [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode() for one in events]


def _named(*events: Json) -> list[bytes]:
    return [f"event: {one['type']}\r\ndata: {json.dumps(one)}\r\n\r\n".encode() for one in events]


def _chat(dialect: Dialect) -> Api:
    quirks = [body for _, body, _, _ in test_openai_quirks.ANSWERS.values()]
    streams = [_sse(*stream, "[DONE]") for stream in test_openai_stream.STREAMS.values()]
    return Api(dialect, [*test_openai_request.ANSWERS.values(), *quirks], streams)


APIS = {
    "OpenAI": _chat(openai_chat()),
    "OpenAI Responses": Api(
        openai_responses(),
        list(test_responses_response.OUTPUTS.values()),
        [_named(*stream) for stream in test_responses_stream.STREAMS.values()],
    ),
    "Vertex": _chat(VERTEX),
    "Anthropic": Api(
        ANTHROPIC_MESSAGES,
        list(test_anthropic_messages.ANSWERS.values()),
        [_named(*stream) for stream in test_anthropic_stream.STREAMS.values()],
    ),
    "Gemini": Api(
        GEMINI,
        [*test_gemini_request.ANSWERS.values(), *test_openai_request.ANSWERS.values()],
        [
            *(_sse(*stream) for stream in test_gemini_request.STREAMS.values()),
            *(_sse(*stream, "[DONE]") for stream in test_openai_stream.STREAMS.values()),
        ],
    ),
    "Bedrock": Api(
        BEDROCK_CONVERSE,
        list(test_bedrock_response.ANSWERS.values()),
        [[event(kind, data) for kind, data in stream] for stream in test_bedrock_stream.STREAMS.values()],
    ),
}
every_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS.keys())


# Answers


def check_answer(api: Api, body: bytes) -> None:
    try:
        completion = api.dialect.decode(HttpResponse(200, {}, body))
    except RequestError as error:
        str(error).encode()  # The message can be shown.
        return
    check_usage(completion.usage)
    answered = completion.append_to(question("Hello?"))
    line = answered.to_json()
    line.encode()
    assert Conversation.from_json(line).to_json() == line
    assert isinstance(completion.finish_reason, FinishReason)
    assert isinstance(answered.metadata.get("raw_finish_reason", ""), str)


def check_usage(usage: Usage | None) -> None:
    for count in (usage.to_dict() if usage is not None else {}).values():
        assert type(count) is int
        assert 0 <= count <= 3 * 10**9


def answers(examples: int, api: Api) -> None:
    @settings(max_examples=examples)
    @given(mangled_text(st.sampled_from(api.answers)))
    def run(body: bytes) -> None:
        check_answer(api, body)

    run()


@every_api
def test_mutated_answer_can_be_saved_or_is_a_request_error(api: Api) -> None:
    answers(FEW, api)


@pytest.mark.slow
@every_api
def test_mutated_answer_can_be_saved_or_is_a_request_error_in_many_examples(api: Api) -> None:
    answers(MANY, api)


def content(api: Api, body: bytes) -> tuple[Any, ...]:
    """The content of an answer. Calls have no ids, because ids may be new for each reading."""
    completion = read_answer(api.dialect, HttpResponse(200, {}, body))
    message = completion.message
    calls = tuple((call.function.name, call.function.get_arguments_dict()) for call in message.tool_calls or ())
    read = (message.content, message.reasoning_content, calls)
    return (*read, completion.finish_reason, completion.usage, without_unknown_fields(completion.metadata))


@every_api
def test_answer_is_the_same_in_any_packaging(api: Api) -> None:
    @settings(max_examples=2 * FEW)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        body = data.draw(st.sampled_from(api.answers))
        assert content(api, data.draw(repackaged(body))) == content(api, json.dumps(body).encode())

    run()


# Streams


class Read(NamedTuple):
    """The content of a stream. Calls have no ids, because ids may be new for each reading."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: FinishReason | None = None
    usage: Usage | None = None
    metadata: Json | None = None
    error: str = ""


def read(api: Api, chunks: Sequence[bytes]) -> Read:
    decoder, deltas, error = api.dialect.stream(), list[StreamDelta](), ""
    try:
        for chunk in chunks:
            if decoder.done:
                break
            deltas += decoder.feed(chunk)
        deltas.append(decoder.finish())
    except RequestError as failure:
        error = f"{failure.error_type} {failure.status_code} {failure.is_retryable} {failure}"
    last = deltas[-1] if deltas else StreamDelta()
    if not error:
        assert joined_pieces(deltas) == complete_calls(last)
    return Read(
        "".join(delta.content for delta in deltas),
        "".join(delta.reasoning_content for delta in deltas),
        tuple((call["function"]["name"], call["function"]["arguments"]) for call in last.tool_calls),
        last.finish_reason,
        last.usage,
        last.metadata,
        error,
    )


STRAY = [
    *(b": a comment\n\n", b"event: ping\ndata: {}\n\n", b"data: \n\n", b"data: [DONE]\n\n", b"data: {\n\n", b"\n", b"\xff"),
    *(b"id: 1\nretry: 5\n\n", b"data: null\n\n", b'data: "a"\n\n', b"data: [1]\n\n", b"\xef\xbb\xbf"),
    *(b"event: error\ndata: no worker\n\n", b'data: {"error": {"code": 503, "message": "no worker"}}\n\n'),
    *(b'data: {"type": "error", "error": {"type": "overloaded_error"}}\n\n', b'data: {"error_code": 50001}\n\n'),
    exception("throttlingException", "Slow down."),
    *(part for name in APIS for part in APIS[name].streams[0]),
]  # fmt: skip


@st.composite
def _mutated_stream(draw: st.DrawFn, streams: list[list[bytes]], *, whole_parts: bool = False) -> bytes:
    """A stream with events dropped, repeated, reordered or mangled, and perhaps truncated or with changed bytes.

    Args:
        whole_parts: Parts only come twice or out of order: nobody can know that one is missing or was changed.
    """
    kinds = ["twice", "swap"] if whole_parts else ["drop", "twice", "swap", "stray", "mix"]
    parts = list(draw(st.sampled_from(streams)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(parts) - 1)) if parts else 0
        match draw(st.sampled_from(kinds)):
            case "drop":
                del parts[at : at + 1]
            case "twice":
                parts[at:at] = parts[at : at + 1]
            case "swap":
                parts[at : at + 2] = reversed(parts[at : at + 2])
            case "mix":  # a part of another stream
                parts.insert(at, draw(st.sampled_from(draw(st.sampled_from(streams)))))
            case _:
                parts.insert(at, draw(st.sampled_from(STRAY)))
    data = bytearray(b"".join(parts))
    if data and draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    if data and not whole_parts and draw(st.integers(0, 3)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@st.composite
def _split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    if draw(st.booleans()):
        size = draw(st.integers(1, 7))
        return [data[at : at + size] for at in range(0, len(data), size)]
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


def streams(examples: int, api: Api) -> None:
    @settings(max_examples=examples)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        sent = data.draw(_mutated_stream(api.streams))
        seen = read(api, [sent])
        check_usage(seen.usage)
        json.dumps(seen._replace(usage=None))
        assert (seen.finish is None) == bool(seen.error)
        assert read(api, data.draw(_split(sent))) == seen

    run()


@every_api
def test_mutated_stream_reads_the_same_however_it_is_split(api: Api) -> None:
    streams(FEW, api)


@pytest.mark.slow
@every_api
def test_mutated_stream_reads_the_same_however_it_is_split_in_many_examples(api: Api) -> None:
    streams(MANY, api)


HARMLESS = [
    *(b": a comment\n\n", b"event: ping\ndata: {}\n\n", b"data: \n\n", b"data: null\n\n", b"data: ping\n\n", b"\n"),
    *(b"\xef\xbb\xbf", b"id: 1\nretry: 5\n\n", b'data: "a"\n\n', b"data: 5\n\n", b'data: {"x": [1]}\n\n', b"x: 1\n"),
]  # fmt: skip
HARMLESS_FRAMES = [event("new", {}), event("ping", {"a": 1})]


@every_api
def test_stream_is_the_same_with_stray_events(api: Api) -> None:
    harmless = HARMLESS_FRAMES if api.dialect is BEDROCK_CONVERSE else HARMLESS

    @settings(max_examples=2 * FEW)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        parts = data.draw(st.sampled_from(api.streams))
        stray = data.draw(st.lists(st.sampled_from(harmless), min_size=len(parts), max_size=len(parts)))
        sent = b"".join(piece for pair in zip(stray, parts, strict=True) for piece in pair)
        after = (
            b"" if api.dialect is BEDROCK_CONVERSE else data.draw(st.sampled_from([b"", b"data: {", b"\0", b"\xff"]))
        )
        assert read(api, data.draw(_split(sent + after))) == read(api, parts)

    run()


def truncations(api: Api, *, step: int) -> None:
    """Check streams that end after every `step`th byte, and those that end near the end of an event."""
    for parts in api.streams:
        whole = read(api, parts)
        assert not whole.error
        data = b"".join(parts)
        ends = accumulate(map(len, parts))
        lengths = {*range(0, len(data), step), *(end + near for end in ends for near in range(-3, 2))}
        for length in sorted(length for length in lengths if length < len(data)):
            cut = read(api, [data[:length]])
            if not cut.error:
                assert cut._replace(usage=None) == whole._replace(usage=None)


@every_api
def test_truncated_stream_is_never_a_shorter_answer(api: Api) -> None:
    truncations(api, step=7)


@pytest.mark.slow
@every_api
def test_stream_truncated_after_any_byte_is_never_a_shorter_answer(api: Api) -> None:
    truncations(api, step=1)


# Calls


@every_api
def test_arguments_stay_with_their_function(api: Api) -> None:
    calls = {call for stream in api.streams for call in read(api, stream).calls if call[1] not in ("", "{}")}
    assert calls
    whole = {arguments for _, arguments in calls}

    @settings(max_examples=4 * FEW)
    @given(_mutated_stream([stream for stream in api.streams if read(api, stream).calls], whole_parts=True))
    def run(sent: bytes) -> None:
        assert {call for call in read(api, [sent]).calls if call[1] in whole} <= calls

    run()
