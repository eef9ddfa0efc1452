"""Streamed chat completions: the deltas, and comparison with the completion that the SDK reads."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from asyncinfer import (
    FinishReason,
    InferenceErrorType,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
    ToolCallDelta,
    Usage,
)
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_that_it_is_retryable, mangled
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import SUCCESS, Recorder

Json = dict[str, Any]

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}
COUNTED = Usage(3, 4, 7, cached_tokens=2)


def chunk(finish: str | None = None, **delta: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def fragment(index: int | None = 0, arguments: str = "", **first: Any) -> Json:
    """A piece of a tool call. The first piece has the name."""
    function = {"arguments": arguments} | ({"name": first.pop("name")} if "name" in first else {})
    return chunk(tool_calls=[{"index": index, "function": function, **first}])


def begun(index: int, id: str, name: str) -> Json:
    return fragment(index, id=id, type="function", name=name)


TOTAL = chunk() | {"choices": [], "usage": USAGE}
# The metadata of an answer made of these chunks.
DESCRIBED = {"response_id": "1", "response_model": "m"}
DONE = "[DONE]"
STREAMS: dict[str, list[Json]] = {
    "text": [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo."), chunk("stop"), TOTAL],
    "no text": [chunk(role="assistant", content=""), chunk("stop"), TOTAL],
    "a refusal": [chunk(role="assistant", content=None), chunk(refusal="I can"), chunk(refusal="not."), chunk("stop")],
    "usage with every chunk": [chunk(content="a") | {"usage": USAGE}, chunk("stop", content="b") | {"usage": USAGE}],
    "a tool call": [
        chunk(role="assistant", content=None),
        begun(0, "call_1", "weather"),
        fragment(arguments='{"ci'),
        fragment(arguments='ty": "Oslo"}'),
        chunk("tool_calls"),
        TOTAL,
    ],
    "two tool calls": [
        begun(0, "call_1", "weather"),
        fragment(0, '{"city": "Oslo"}'),
        begun(1, "call_2", "time"),
        fragment(1, "{}"),
        chunk("tool_calls"),
    ],
    "text and a tool call": [chunk(content="Wait."), begun(0, "c", "time"), fragment(0, "{}"), chunk("tool_calls")],
}


def deltas_of(*events: Json | str) -> list[StreamDelta]:
    decoder = OpenAIEventDecoder()
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return [*itertools.chain.from_iterable(decoder.feed(ServerSentEvent(text)) for text in texts), decoder.finish()]


def as_bytes(*events: Json | str) -> bytes:
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {text}\n\n" for text in texts).encode()


async def streamed(api: Recorder) -> list[StreamDelta]:
    remote = RemoteParams(api_url=api.url, api_key=KEY)
    engine = OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
    async with engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        return [delta async for delta in deltas]


# Deltas


def test_text_is_yielded_as_it_arrives_and_the_end_separately() -> None:
    assert deltas_of(*STREAMS["text"], DONE) == [
        StreamDelta("Hel"),
        StreamDelta("lo."),
        StreamDelta(finish_reason=FinishReason.STOP, usage=COUNTED, metadata=DESCRIBED),
    ]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_separated_from_the_text(key: str) -> None:
    thinking, answering, _ = deltas_of(chunk(**{key: "Hm."}), chunk(content="4"), chunk("stop"))
    assert (thinking, answering) == (StreamDelta(reasoning_content="Hm."), StreamDelta("4"))


def test_pieces_of_a_tool_call_are_yielded_as_they_arrive_and_the_complete_call_at_the_end() -> None:
    *pieces, last = deltas_of(*STREAMS["a tool call"], DONE)
    assert pieces == [
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, "call_1", "weather", '{"ci'),)),
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='ty": "Oslo"}'),)),
    ]
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    assert last == StreamDelta(
        tool_calls=(call,),
        finish_reason=FinishReason.TOOL_CALLS,
        usage=COUNTED,
        metadata=DESCRIBED,
    )


def test_pieces_of_several_calls_can_alternate() -> None:
    mixed = [
        begun(1, "b", "g"),
        begun(0, "a", "f"),
        fragment(1, "{"),
        fragment(0, "[1"),
        fragment(1, "}"),
        fragment(0, "]"),
    ]
    *_, last = deltas_of(*mixed, chunk("tool_calls"))
    assert [(c["id"], c["function"]["arguments"]) for c in last.tool_calls] == [("a", "[1]"), ("b", "{}")]


def test_calls_without_an_index_are_complete_calls() -> None:
    """Gemini's OpenAI-compatible endpoint sends such calls."""
    calls = [{"id": id, "function": {"name": "f", "arguments": "{}"}} for id in "ab"]
    [last] = deltas_of(chunk(tool_calls=calls[:1]), chunk("tool_calls", tool_calls=calls[1:]))
    assert [call["id"] for call in last.tool_calls] == ["a", "b"]


def test_other_choices_and_empty_chunks_are_ignored() -> None:
    empty = chunk() | {"choices": []}
    assert deltas_of(empty, chunk(), {}, chunk("stop")) == [
        StreamDelta(finish_reason=FinishReason.STOP, metadata=DESCRIBED)
    ]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_stream_equals_the_completion_that_the_sdk_reads(
    stream: list[Json], api: Recorder, sdk: AsyncOpenAI
) -> None:
    api.streams(as_bytes(*stream, DONE))
    ours = await streamed(api)
    async with sdk.chat.completions.stream(model="m", messages=[], stream_options={"include_usage": True}) as theirs:
        final = await theirs.get_final_completion()
    message = final.choices[0].message
    assert "".join(delta.content for delta in ours) == (message.refusal or message.content or "")
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in ours[-1].tool_calls] == [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()
    ]
    assert ours[-1].finish_reason == final.choices[0].finish_reason
    assert (ours[-1].usage is None) == (final.usage is None)
    if final.usage is not None:
        assert ours[-1].usage == COUNTED


# The end of a stream


@pytest.mark.parametrize("finish", [None, "", "null"])
def test_done_without_a_finish_reason_does_not_complete_an_answer(finish: str | None) -> None:
    with pytest.raises(RequestError, match="broke off"):
        deltas_of(chunk(finish, content="a"), DONE)


def test_finish_reason_completes_an_answer_without_done() -> None:
    assert deltas_of(chunk("stop"))[-1].finish_reason is FinishReason.STOP


def test_stream_without_an_end_is_truncated() -> None:
    with pytest.raises(RequestError, match="broke off") as caught:
        deltas_of(chunk(content="Hel"))
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@pytest.mark.parametrize("breaks", [False, True], ids=["ends early", "is cut"])
async def test_text_before_a_break_is_yielded(breaks: bool, api: Recorder) -> None:
    api.streams(as_bytes(chunk(content="Hel")), b'data: {"choi', breaks=breaks)
    remote = RemoteParams(api_url=api.url, api_key=KEY)
    seen: list[StreamDelta] = []
    engine = OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
    with pytest.raises(RequestError) as caught:
        async with engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
            async for delta in deltas:
                seen.append(delta)
    assert seen == [StreamDelta("Hel")]
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


# Incomplete and unreadable streams


def test_error_in_the_middle_of_a_stream_is_raised() -> None:
    error = {"error": {"code": 503, "message": "upstream failed"}}
    with pytest.raises(RequestError, match="upstream failed") as caught:
        deltas_of(chunk(content="Hel"), error)
    assert (caught.value.status_code, caught.value.is_retryable, caught.value.is_overload) == (503, True, True)


async def test_refused_stream_raises_the_error_of_the_server(api: Recorder) -> None:
    api.answers({"error": {"message": "slow down"}}, 429, {"Retry-After": "3"})
    with pytest.raises(RequestError, match="HTTP 429: slow down") as caught:
        await streamed(api)
    assert (caught.value.is_overload, caught.value.retry_after) == (True, 3.0)


async def test_answer_of_a_server_that_does_not_stream_is_one_delta(api: Recorder) -> None:
    api.answers(SUCCESS)
    metadata = {"response_id": SUCCESS["id"], "response_model": SUCCESS["model"]}
    assert await streamed(api) == [
        StreamDelta("Hello.", finish_reason=FinishReason.STOP, usage=Usage(3, 4, 7), metadata=metadata)
    ]


@pytest.mark.parametrize(
    "event",
    ["", "{", "5", "[1]", chunk() | {"choices": [5]}, chunk() | {"choices": {"0": 1}}],
)
def test_unreadable_event_is_retryable(event: Json | str) -> None:
    check_that_it_is_retryable(deltas_of, event, "has an event")


def test_call_without_an_id_or_index_is_a_call() -> None:
    [last] = deltas_of(fragment(0, name="f"), chunk("tool_calls"))
    assert last.tool_calls[0]["id"].startswith("call_")


def test_finish_reason_of_a_forced_call_is_tool_calls() -> None:
    [last] = deltas_of(begun(0, "c", "time"), fragment(0, "{}"), chunk("stop"))
    assert last.finish_reason is FinishReason.TOOL_CALLS
    [last] = deltas_of(begun(0, "a", "f"), fragment(None, id="b", name="g"), chunk("tool_calls"))
    assert [(call["id"], call["function"]["name"]) for call in last.tool_calls] == [("a", "f"), ("b", "g")]


@pytest.mark.parametrize("arguments", [{"city": "é"}, {}])
def test_arguments_can_be_an_object(arguments: Json) -> None:
    part: Json = {"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}
    *_, last = deltas_of(chunk(tool_calls=[part]), chunk("tool_calls"))
    assert last.tool_calls[0]["function"]["arguments"] == json.dumps(arguments, ensure_ascii=False)


def test_call_without_a_name_is_a_retryable_error() -> None:
    with pytest.raises(RequestError, match="a tool call that") as caught:
        deltas_of(begun(0, "a", ""), chunk("tool_calls"))
    assert caught.value.is_retryable


@settings(max_examples=500)
@given(mangled(st.sampled_from([[*stream, DONE] for stream in STREAMS.values()])))
def test_mangled_stream_is_deltas_or_a_request_error(stream: list[Any]) -> None:
    try:
        seen = deltas_of(*(json.dumps(event) if event != DONE else DONE for event in stream))
    except RequestError:
        return
    assert all(isinstance(delta.content, str) and isinstance(delta.reasoning_content, str) for delta in seen)
    assert all(isinstance(call["id"], str) for call in seen[-1].tool_calls)


@given(st.lists(st.text(), max_size=3))
def test_stream_of_any_text_is_deltas_or_a_request_error(events: list[str]) -> None:
    with contextlib.suppress(RequestError):
        deltas_of(*events)
