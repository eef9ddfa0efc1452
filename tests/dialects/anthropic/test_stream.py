"""Streamed messages: the deltas, and comparison with the message that the SDK reads."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from anthropic import APIStatusError, AsyncAnthropic
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import (
    AnthropicInferenceEngine,
    FinishReason,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
    RequestError,
    StreamDelta,
    ToolCallDelta,
    Usage,
)
from asyncinfer.dialects.anthropic.stream import AnthropicEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent
from tests.dialects.anthropic.test_messages import ERRORS, REASONS, SEARCH, error
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_that_it_is_retryable, mangled
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import MESSAGE, Recorder

Json = dict[str, Any]


def begin(**usage: Any) -> Json:
    usage = {"input_tokens": 3, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None, "usage": usage}}


def block(index: int, kind: str, **fields: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def piece(index: int, kind: str, **fields: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **fields}}


def stop(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def text_block(index: int, *pieces: str) -> list[Json]:
    return [block(index, "text", text=""), *(piece(index, "text", text=part) for part in pieces), stop(index)]


def called(index: int, id: str, name: str, *pieces: str) -> list[Json]:
    parts = [piece(index, "input_json", partial_json=part) for part in pieces]
    return [block(index, "tool_use", id=id, name=name, input={}), *parts, stop(index)]


def thought(index: int, *pieces: str) -> list[Json]:
    parts = [piece(index, "thinking", thinking=part) for part in pieces]
    signed = piece(index, "signature", signature="c2ln")
    return [block(index, "thinking", thinking="", signature=""), *parts, signed, stop(index)]


def end(reason: str = "end_turn", **usage: Any) -> list[Json]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 4, **usage}}, {"type": "message_stop"}]


def described(reason: str) -> Json:
    """The metadata of an answer that ends with this reason."""
    return {"response_id": MESSAGE["id"], "response_model": MESSAGE["model"], "raw_finish_reason": reason}


PING: Json = {"type": "ping"}
CACHE = {"cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}
DETAILS = {"output_tokens_details": {"thinking_tokens": 2}}
STREAMS: dict[str, list[Json]] = {
    "text": [begin(), PING, *text_block(0, "Hel", "lo."), *end()],
    "nothing": [begin(), *end()],
    "no text": [begin(), *text_block(0), *end()],
    "text in two blocks": [begin(), *text_block(0, "Hel"), *text_block(1, "lo."), *end("max_tokens")],
    "a block that begins with its text": [begin(), block(0, "text", text="Hel"), piece(0, "text", text="lo."), *end()],
    "a tool call": [begin(), *called(0, "call_1", "weather", "", '{"ci', 'ty": "Oslo"}'), *end("tool_use")],
    "a call without arguments": [begin(), *called(0, "call_1", "now"), *end("tool_use")],
    "two calls after a word": [
        begin(),
        *text_block(0, "Wait."),
        *called(1, "call_1", "weather", '{"city": "Oslo"}'),
        *called(2, "call_2", "now", "{}"),
        *end("tool_use"),
    ],
    "thinking": [begin(), *thought(0, "Hm", "."), *text_block(1, "4"), *end(**DETAILS)],
    "hidden thinking": [begin(), block(0, "redacted_thinking", data="ZGF0YQ=="), stop(0), *text_block(1, "4"), *end()],
    "a search of theirs": [
        begin(),
        block(0, "server_tool_use", id="srv_1", name="web_search", input={}),
        piece(0, "input_json", partial_json=json.dumps(SEARCH["input"])),
        stop(0),
        *text_block(1, "Rain."),
        *end("pause_turn"),
    ],
    "cached": [begin(**CACHE), *text_block(0, "Hi."), *end()],
    "counted again at the end": [begin(), *text_block(0, "Hi."), *end(input_tokens=5, **CACHE, **DETAILS)],
    "a refusal midway": [begin(), *text_block(0, "Hel"), *end("refusal")],
}


def deltas_of(*events: Any) -> list[StreamDelta]:
    decoder = AnthropicEventDecoder()
    parts = (decoder.feed(ServerSentEvent(json.dumps(event))) for event in events)
    return [*itertools.chain.from_iterable(parts), decoder.finish()]


def as_bytes(*events: Json) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


async def streamed(api: Recorder) -> list[StreamDelta]:
    remote = RemoteParams(api_url=api.url, api_key=KEY)
    engine = AnthropicInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
    async with engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        return [delta async for delta in deltas]


# Deltas


def test_text_is_yielded_as_it_arrives_and_the_end_separately() -> None:
    assert deltas_of(*STREAMS["text"]) == [
        StreamDelta("Hel"),
        StreamDelta("lo."),
        StreamDelta(finish_reason=FinishReason.STOP, usage=Usage(3, 4, 7), metadata=described("end_turn")),
    ]


def test_thinking_is_separated_from_the_text_and_its_signature_comes_in_the_last_delta() -> None:
    *came, last = deltas_of(*STREAMS["thinking"])
    assert came == [StreamDelta(reasoning_content="Hm"), StreamDelta(reasoning_content="."), StreamDelta("4")]
    assert last.usage == Usage(3, 4, 7, reasoning_tokens=2)
    assert last.extra == {"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]}


def test_pieces_of_a_tool_call_are_yielded_as_they_arrive_and_the_complete_call_at_the_end() -> None:
    *pieces, last = deltas_of(*called(1, "call_1", "weather", "", '{"ci', 'ty": "Os', 'lo"}'), *end("tool_use"))
    assert pieces == [
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, "call_1", "weather", '{"ci'),)),
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='ty": "Os'),)),
        StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='lo"}'),)),
    ]
    assert last.tool_calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}


def test_last_delta_has_the_complete_tool_calls() -> None:
    *_, last = deltas_of(*STREAMS["a tool call"])
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    assert last == StreamDelta(
        tool_calls=(call,),
        finish_reason=FinishReason.TOOL_CALLS,
        usage=Usage(3, 4, 7),
        metadata=described("tool_use"),
    )


def test_pieces_of_several_calls_can_alternate() -> None:
    first, second = called(0, "a", "f", '{"x": ', "1}"), called(1, "b", "g", "{", "}")
    *_, last = deltas_of(*itertools.chain.from_iterable(zip(first, second, strict=True)), *end("tool_use"))
    assert [(c["id"], c["function"]["arguments"]) for c in last.tool_calls] == [("a", '{"x": 1}'), ("b", "{}")]


def test_usage_at_the_end_replaces_usage_at_the_beginning() -> None:
    for name, counted in (
        ("cached", Usage(93, 4, 97, 60, 30)),
        ("counted again at the end", Usage(95, 4, 99, 60, 30, 2)),
    ):
        assert deltas_of(*STREAMS[name])[-1].usage == counted


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_stream_equals_the_message_that_the_sdk_reads(
    stream: list[Json], api: Recorder, claude: AsyncAnthropic
) -> None:
    api.streams(as_bytes(*stream))
    ours = await streamed(api)
    async with claude.messages.stream(model="m", max_tokens=1, messages=[]) as events:
        theirs = await events.get_final_message()
    texts = [block.text for block in theirs.content if block.type == "text"]
    assert "".join(delta.content for delta in ours) == "".join(texts)
    thoughts = [block.thinking for block in theirs.content if block.type == "thinking"]
    assert "".join(delta.reasoning_content for delta in ours) == "".join(thoughts)
    assert [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in ours[-1].tool_calls] == [
        (call.id, call.name, call.input) for call in theirs.content if call.type == "tool_use"
    ]
    assert theirs.stop_reason is not None
    assert ours[-1].finish_reason is REASONS[theirs.stop_reason]
    counts, counted = theirs.usage, ours[-1].usage
    assert counted is not None
    assert counted.cached_tokens == counts.cache_read_input_tokens
    assert counted.cache_creation_tokens == counts.cache_creation_input_tokens
    cache = (counted.cached_tokens or 0) + (counted.cache_creation_tokens or 0)
    assert (counted.prompt_tokens - cache, counted.completion_tokens) == (counts.input_tokens, counts.output_tokens)
    details = counts.output_tokens_details
    assert counted.reasoning_tokens == (details.thinking_tokens if details is not None else None)


# The end of a stream


def test_known_reason_completes_an_answer_without_message_stop() -> None:
    assert deltas_of(begin(), *text_block(0, "a"), end()[0])[-1].finish_reason is FinishReason.STOP


def test_message_stop_without_a_reason_does_not_complete_an_answer() -> None:
    with pytest.raises(RequestError, match="broke off"):
        deltas_of(begin(), *text_block(0, "a"), end()[1])


def test_stream_without_an_end_is_truncated() -> None:
    with pytest.raises(RequestError, match="broke off") as caught:
        deltas_of(begin(), *text_block(0, "a"))
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@pytest.mark.parametrize("breaks", [False, True], ids=["ends early", "is cut"])
async def test_truncated_stream_is_retryable(breaks: bool, api: Recorder) -> None:
    api.streams(as_bytes(begin(), *text_block(0, "Hel")), b'event: content_block_delta\ndata: {"ty', breaks=breaks)
    with pytest.raises(RequestError) as caught:
        await streamed(api)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


# Incomplete and unreadable streams


@pytest.mark.parametrize(("kind", "status", "retryable", "overload"), ERRORS)
async def test_error_in_the_middle_of_a_stream_is_classified(
    kind: str, status: int, retryable: bool, overload: bool, api: Recorder, claude: AsyncAnthropic
) -> None:
    api.streams(as_bytes(begin(), *text_block(0, "Hel"), error(kind)))
    with pytest.raises(RequestError, match="answered with an error: Sorry") as ours:
        await streamed(api)
    assert (ours.value.status_code, ours.value.is_retryable, ours.value.is_overload) == (status, retryable, overload)
    with pytest.raises(APIStatusError, match="Sorry"):
        async with claude.messages.stream(model="m", max_tokens=1, messages=[]) as theirs:
            await theirs.until_done()


def test_error_is_recognised_by_the_name_of_its_event() -> None:
    decoder = AnthropicEventDecoder()
    for data in ('{"error": {"message": "no"}}', '"no"', "no", '{"type": "x", "error": "no"}'):
        with pytest.raises(RequestError, match="answered with an error: .*no") as caught:
            list(decoder.feed(ServerSentEvent(data, "error")))
        assert caught.value.is_retryable


@pytest.mark.parametrize(
    "other",
    [
        {"type": "message_start"},
        {"type": "message_start", "message": None},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_delta", "index": 0, "delta": None},
        block(0, "text"),
        block(0, "text", text=None),
        block(0, "thinking"),
        piece(0, "text", text=None),
        piece(0, "text"),
        piece(0, "thinking", thinking=None),
    ],
)
def test_event_without_content_is_ignored(other: Json) -> None:
    deltas = deltas_of(other, *text_block(1, "Hi."), *end())
    assert "".join(delta.content for delta in deltas) == "Hi."


@pytest.mark.parametrize("delta", ["Hi.", {"text": "Hi."}, {"type": "text_delta", "text": {"value": "Hi."}}])
def test_piece_of_a_text_in_any_form_is_read(delta: Any) -> None:
    deltas = deltas_of({"type": "content_block_delta", "index": 0, "delta": delta}, *end())
    assert "".join(delta.content for delta in deltas) == "Hi."


def test_type_may_be_only_the_name_of_the_event() -> None:
    decoder = AnthropicEventDecoder()
    given = [*text_block(0, "Hi."), *end()]
    events = [ServerSentEvent(json.dumps({**one, "type": None}), str(one["type"])) for one in given]
    deltas = [delta for event in events for delta in decoder.feed(event)]
    assert "".join(delta.content for delta in deltas) == "Hi."
    assert decoder.finish().finish_reason is FinishReason.STOP


def test_stop_reason_may_be_beside_the_delta() -> None:
    last = deltas_of(
        *text_block(0, "Hi."), {"type": "message_delta", "stop_reason": "end_turn"}, {"type": "message_stop"}
    )
    assert last[-1].finish_reason is FinishReason.STOP


def test_events_of_unknown_types_are_ignored() -> None:
    others: list[Json] = [PING, {"type": "new"}, block(0, "new"), piece(0, "new"), piece(9, "citations", citation={})]
    raw = {"raw_finish_reason": "end_turn"}
    assert deltas_of(*others, *end()) == [
        StreamDelta(finish_reason=FinishReason.STOP, usage=Usage(0, 4, 4), metadata=raw)
    ]


@pytest.mark.parametrize(
    "event",
    [
        *("", 5, [1], None, {}, piece(0, "input_json", partial_json=5)),
    ],
)
def test_unreadable_event_is_retryable(event: Any) -> None:
    check_that_it_is_retryable(deltas_of, event, "has an event")


def test_call_without_a_name_is_a_retryable_error() -> None:
    with pytest.raises(RequestError, match="a tool call that") as caught:
        deltas_of(*called(0, "a", ""), *end("tool_use"))
    assert caught.value.is_retryable


@settings(max_examples=500)
@given(mangled(st.sampled_from(list(STREAMS.values()))))
def test_mangled_stream_is_deltas_or_a_request_error(stream: list[Any]) -> None:
    try:
        seen = deltas_of(*stream)
    except RequestError:
        return
    assert all(isinstance(delta.content, str) and isinstance(delta.reasoning_content, str) for delta in seen)
    assert all(isinstance(call["function"]["arguments"], str) for call in seen[-1].tool_calls)


@given(st.lists(st.text(), max_size=3))
def test_stream_of_any_text_is_deltas_or_a_request_error(events: list[str]) -> None:
    decoder = AnthropicEventDecoder()
    with contextlib.suppress(RequestError):
        for event in events:
            list(decoder.feed(ServerSentEvent(event)))
        decoder.finish()


# Blocks


def test_call_of_a_block_without_a_start_cannot_be_read() -> None:
    check_that_it_is_retryable(lambda stream: deltas_of(*stream), called(0, "a", "f", "{}")[1:] + end("tool_use"))


def test_repeated_index_after_a_stop_is_a_new_block() -> None:
    """Some servers give all blocks the same index."""
    first, second = called(0, "a", "f", '{"x": 1}'), called(0, "b", "f", '{"x": 2}')
    *_, last = deltas_of(*first, *called(0, "c", "now"), *second, *end("tool_use"))
    assert [(c["id"], c["function"]["arguments"]) for c in last.tool_calls] == [
        ("a", '{"x": 1}'),
        ("c", "{}"),
        ("b", '{"x": 2}'),
    ]


def test_pieces_of_input_replace_the_input_at_the_start_of_a_block() -> None:
    started = block(0, "tool_use", id="a", name="f", input={})
    *_, last = deltas_of(started, piece(0, "input_json", partial_json='{"x": 1}'), stop(0), *end("tool_use"))
    assert last.tool_calls[0]["function"]["arguments"] == '{"x": 1}'


def test_call_that_is_cut_before_its_input_is_left_out() -> None:
    last = deltas_of(*text_block(0, "Hm."), *called(1, "a", "f"), *end("max_tokens"))[-1]
    assert (last.finish_reason, last.tool_calls) == (FinishReason.LENGTH, ())


def test_error_without_a_type_fails_the_attempt() -> None:
    with pytest.raises(RequestError, match="no worker"):
        deltas_of(*text_block(0, "Hm."), {"error": {"message": "no worker"}})


def test_piece_without_an_index_belongs_to_the_only_open_block() -> None:
    use = block(0, "tool_use", id="a", name="f", input={})
    rest = [piece(0, "input_json", partial_json=part) for part in (None, '{"x"', ": 1}")]
    end_of_block = {"type": "content_block_stop", "index": 0}
    for left_out in ((), (use,), tuple(rest), (use, *rest, end_of_block), (end_of_block,)):
        events = [{**one, "index": None} if one in left_out else one for one in (use, *rest, end_of_block)]
        *_, last = deltas_of(begin(), *events, *end("tool_use"))
        assert [call["function"]["arguments"] for call in last.tool_calls] == ['{"x": 1}']


def test_piece_that_may_belong_to_two_blocks_is_retryable() -> None:
    blocks = [block(index, "tool_use", id=str(index), name="f", input={}) for index in range(2)]
    lost = {**piece(0, "input_json", partial_json="{}"), "index": None}
    with pytest.raises(RequestError, match="has an event that cannot be read") as caught:
        deltas_of(begin(), *blocks, lost, *end("tool_use"))
    assert caught.value.is_retryable


def test_events_of_another_api_are_ignored() -> None:
    others: list[Json] = [{}, {"type": None}, {"choices": []}, {"type": 5}]
    deltas = deltas_of(*others, begin(), *text_block(0, "Hi."), *others, *end())
    assert [delta.content for delta in deltas] == ["Hi.", ""]
