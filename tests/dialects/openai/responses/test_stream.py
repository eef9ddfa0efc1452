"""Streams of the Responses API: the deltas, and comparison with the response that OpenAI's SDK reads."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseRefusalDeltaEvent, ResponseTextDeltaEvent

from asyncinfer import (
    FinishReason,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
    ToolCallDelta,
    Usage,
)
from asyncinfer.dialects.openai.responses.response import decode
from asyncinfer.dialects.openai.responses.stream import ResponsesEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.openai.responses.test_response import (
    CALL,
    COMMENTARY,
    OUTPUTS,
    REASONING,
    SEARCH,
    TOKEN,
    reply,
    text_item,
)
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder

Json = dict[str, Any]


def event(kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", **fields}


def added(index: int, item: Json) -> Json:
    return event("output_item.added", output_index=index, item=item)


def done(index: int, item: Json) -> Json:
    return event("output_item.done", output_index=index, item=item)


def _part(index: int, item: Json, kind: str = "output_text", place: int = 0) -> Json:
    return {"output_index": index, "item_id": item["id"], "content_index": place}


def of_text(index: int, item: Json) -> list[Json]:
    """The events of a message, whose texts arrive in two pieces."""
    events = [added(index, item | {"content": [], "status": "in_progress"})]
    for place, part in enumerate(item["content"]):
        kind = "refusal" if part["type"] == "refusal" else "output_text"
        text, where = part.get("text", part.get("refusal")), _part(index, item, place=place)
        empty = part | ({"text": ""} if kind == "output_text" else {"refusal": ""})
        events.append(event("content_part.added", **where, part=empty))
        logprobs = {"logprobs": part.get("logprobs", [])} if kind == "output_text" else {}
        events.append(event(f"{kind}.delta", **where, delta=text[:2], **logprobs))
        events.append(event(f"{kind}.delta", **where, delta=text[2:], **({"logprobs": []} if logprobs else {})))
        whole = {"text": text, "logprobs": []} if kind == "output_text" else {"refusal": text}
        events.append(event(f"{kind}.done", **where, **whole))
        events.append(event("content_part.done", **where, part=part))
    return [*events, done(index, item)]


def of_reasoning(index: int, item: Json) -> list[Json]:
    events = [added(index, item | {"summary": [], "encrypted_content": ""})]
    for place, part in enumerate(item["summary"]):
        where = {"output_index": index, "item_id": item["id"], "summary_index": place}
        events.append(event("reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""}))
        events += [event("reasoning_summary_text.delta", **where, delta=piece) for piece in part["text"]]
        events.append(event("reasoning_summary_text.done", **where, text=part["text"]))
        events.append(event("reasoning_summary_part.done", **where, part=part))
    return [*events, done(index, item)]


def of_call(index: int, item: Json) -> list[Json]:
    where, arguments = {"output_index": index, "item_id": item["id"]}, item["arguments"]
    return [
        added(index, item | {"arguments": "", "status": "in_progress"}),
        event("function_call_arguments.delta", **where, delta=arguments[:3]),
        event("function_call_arguments.delta", **where, delta=arguments[3:]),
        event("function_call_arguments.done", **where, arguments=arguments),
        done(index, item),
    ]


def of_search(index: int, item: Json) -> list[Json]:
    where = {"output_index": index, "item_id": item["id"]}
    return [
        added(index, item | {"status": "in_progress"}),
        event("web_search_call.in_progress", **where),
        event("web_search_call.completed", **where),
        done(index, item),
    ]


_EVENTS = {"message": of_text, "reasoning": of_reasoning, "function_call": of_call, "web_search_call": of_search}


def stream_of(response: Json) -> list[Json]:
    """The events with which the API streams a response."""
    begun = response | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    items = [_EVENTS[item["type"]](index, item) for index, item in enumerate(response["output"])]
    events = [
        event("created", response=begun),
        event("in_progress", response=begun),
        *itertools.chain.from_iterable(items),
        event(response["status"], response=response),
    ]
    return [one | {"sequence_number": number} for number, one in enumerate(events)]


STREAMS = {name: stream_of(response) for name, response in OUTPUTS.items()}
every_stream = pytest.mark.parametrize("name", STREAMS)


def deltas_of(*events: Json | str) -> list[StreamDelta]:
    decoder = ResponsesEventDecoder()
    texts = (one if isinstance(one, str) else json.dumps(one) for one in events)
    return [*itertools.chain.from_iterable(decoder.feed(ServerSentEvent(text)) for text in texts), decoder.finish()]


def as_bytes(*events: Json) -> bytes:
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events).encode()


async def streamed(api: Recorder) -> list[StreamDelta]:
    remote = RemoteParams(api_url=api.url, api_key=KEY, api="responses")
    engine = OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote)
    async with engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        return [delta async for delta in deltas]


# The SDK as the judge


@every_stream
async def test_streamed_answer_equals_the_answer_of_the_sdk(name: str, api: Recorder, sdk: AsyncOpenAI) -> None:
    api.streams(as_bytes(*STREAMS[name]))
    ours = Completion.from_deltas(await streamed(api))
    async with await sdk.responses.create(model="m", input="Hello?", stream=True) as stream:
        events = [one async for one in stream]
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    pieces = [one.delta for one in events if isinstance(one, ResponseTextDeltaEvent | ResponseRefusalDeltaEvent)]
    assert (ours.message.content or "") == "".join(pieces)
    calls = [item for item in last.response.output if item.type == "function_call"]
    assert [(call.id, call.function.arguments) for call in ours.message.tool_calls or ()] == [
        (item.call_id, item.arguments) for item in calls
    ]
    assert ours.metadata is not None
    assert ours.metadata["response_id"] == last.response.id


@pytest.mark.parametrize("name", [name for name, response in OUTPUTS.items() if response["status"] == "completed"])
async def test_sdk_builds_the_response_from_the_events(name: str, api: Recorder, sdk: AsyncOpenAI) -> None:
    """The streams of these tests are those that the API sends. The SDK accumulates only complete responses."""
    api.streams(as_bytes(*STREAMS[name]))
    async with sdk.responses.stream(model="m", input="Hello?") as stream:
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == [item["type"] for item in OUTPUTS[name]["output"]]


@every_stream
def test_streamed_answer_is_the_whole_answer(name: str) -> None:
    whole = decode(HttpResponse(200, {}, json.dumps(OUTPUTS[name]).encode()))
    assert Completion.from_deltas(deltas_of(*STREAMS[name])) == whole


@every_stream
def test_pieces_of_calls_make_the_calls(name: str) -> None:
    deltas = deltas_of(*STREAMS[name])
    pieces = [piece for delta in deltas for piece in delta.tool_call_deltas]
    for index, call in enumerate(deltas[-1].tool_calls):
        own = [piece for piece in pieces if piece.index == index]
        assert "".join(piece.id for piece in own) == call["id"]
        assert "".join(piece.name for piece in own) == call["function"]["name"]
        assert "".join(piece.arguments for piece in own) == call["function"]["arguments"]


# Deltas


def test_text_is_yielded_as_it_arrives_and_the_end_separately() -> None:
    assert deltas_of(*STREAMS["a text"]) == [
        StreamDelta("He"),
        StreamDelta("llo."),
        StreamDelta(
            finish_reason=FinishReason.STOP,
            usage=Usage(3, 4, 7, cached_tokens=2, cache_creation_tokens=0, reasoning_tokens=1),
            metadata={"response_id": "resp_1", "response_model": "m", "raw_finish_reason": "completed"},
        ),
    ]


def test_pieces_of_a_call_are_yielded_as_they_arrive() -> None:
    first, second, last = deltas_of(*STREAMS["a call"])
    assert first.tool_call_deltas == (ToolCallDelta(0, "call_1", "weather", '{"c'),)
    assert second.tool_call_deltas == (ToolCallDelta(0, arguments='ity": "Oslo"}'),)
    assert (last.tool_call_deltas, last.finish_reason) == ((), FinishReason.TOOL_CALLS)


def test_parts_of_the_reasoning_are_paragraphs() -> None:
    deltas = deltas_of(*STREAMS["reasoning and a text"])
    assert "".join(delta.reasoning_content for delta in deltas) == "First.\n\nSecond."
    assert deltas[-1].extra == {"reasoning_items": [REASONING]}


def test_reasoning_text_of_other_servers_is_read() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    where = {"output_index": 0, "item_id": "rs_1", "content_index": 0}
    thought, _ = deltas_of(
        event("reasoning_text.delta", **where, delta="Hm."), event("completed", response=reply(item))
    )
    assert thought == StreamDelta(reasoning_content="Hm.")


def test_log_probabilities_come_with_the_text() -> None:
    first, *_ = deltas_of(*STREAMS["log probabilities"])
    assert first.logprobs == (TOKEN,)


def test_answer_without_deltas_comes_from_the_last_event() -> None:
    response = OUTPUTS["reasoning, a text and calls"]
    [last] = deltas_of(event("completed", response=response))
    whole = decode(HttpResponse(200, {}, json.dumps(response).encode()))
    assert Completion.from_deltas([last]) == whole
    assert [piece.arguments for piece in last.tool_call_deltas] == ['{"city": "Oslo"}', "{}"]


def test_events_without_an_output_index_belong_to_the_call_with_their_item_id() -> None:
    """The events of llama.cpp's server have no `output_index`, and its items have no `id`."""
    item = {"type": "function_call", "call_id": "fc_1", "name": "weather", "arguments": ""}
    other = item | {"call_id": "fc_2", "name": "time"}
    pieces = [("fc_1", '{"a"'), ("fc_2", "{"), ("fc_1", ": 1}"), ("fc_2", "}")]
    events = [event("function_call_arguments.delta", item_id=id, delta=piece) for id, piece in pieces]
    begun = [event("output_item.added", item=item), event("output_item.added", item=other)]
    *_, last = deltas_of(*begun, *events, event("completed", response={"status": "completed"}))
    assert [call["function"]["arguments"] for call in last.tool_calls] == ['{"a": 1}', "{}"]
    assert [call["id"] for call in last.tool_calls] == ["fc_1", "fc_2"]


def test_later_id_of_a_streamed_call_is_ignored() -> None:
    """vLLM gives a call another id in the last event."""
    *_, last = deltas_of(*of_call(0, CALL), event("completed", response=reply(CALL | {"call_id": "call_other"})))
    assert [call["id"] for call in last.tool_calls] == ["call_1"]


def test_items_of_earlier_events_are_used_if_the_last_event_has_none() -> None:
    events = [*of_text(0, text_item("Hello.")), *of_call(1, CALL)]
    ours = Completion.from_deltas(deltas_of(*events, event("completed", response=reply())))
    assert (ours.message.content, len(ours.message.tool_calls or ())) == ("Hello.", 1)


def test_status_in_the_last_event_counts() -> None:
    """vLLM sends `response.completed` for an answer that reached its limit."""
    cut = reply(text_item("Hel"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    *_, last = deltas_of(event("completed", response=cut))
    assert last.finish_reason is FinishReason.LENGTH


def test_unknown_events_are_ignored() -> None:
    known = STREAMS["a text"]
    assert deltas_of(event("new.delta", delta="x"), {"type": "keepalive"}, *known) == deltas_of(*known)


def test_text_may_differ_in_white_space_at_its_ends() -> None:
    *_, last = deltas_of(*of_text(0, text_item("\n\nHi.")), event("completed", response=reply(text_item("Hi."))))
    assert last.content == ""


# Errors

ERROR = {"code": "server_error", "message": "no worker"}
FAILED = [
    event("failed", response=reply(status="failed", error=ERROR)),
    {"type": "error", "code": "server_error", "message": "no worker", "param": None},
    {"error": {"message": "no worker", "type": "server_error"}},
]


@pytest.mark.parametrize("failed", FAILED, ids=["failed", "error", "an error in the form of chat completions"])
def test_error_in_a_stream_is_raised(failed: Json) -> None:
    with pytest.raises(RequestError, match="no worker") as caught:
        deltas_of(*STREAMS["a text"][:4], failed)
    assert caught.value.is_retryable


def test_rate_limit_in_a_stream_is_an_overload() -> None:
    error = {"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 2s."}
    with pytest.raises(RequestError) as caught:
        deltas_of(event("failed", response=reply(status="failed", error=error)))
    assert (caught.value.is_overload, caught.value.retry_after) == (True, 2.0)


@pytest.mark.parametrize("events", [STREAMS["a text"][:-1], STREAMS["a text"][:2], []], ids=["text", "created", "none"])
def test_stream_without_its_last_event_is_not_an_answer(events: list[Json]) -> None:
    with pytest.raises(RequestError, match="the stream broke off") as caught:
        deltas_of(*events)
    assert caught.value.is_retryable


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([*of_text(0, text_item("Hello.")), event("completed", response=reply(text_item("Bye.")))], "its text contradicts"),
        ([*of_call(0, CALL)[:2], event("completed", response=reply(CALL | {"arguments": "[]"}))], "arguments of a call"),
        ([*of_call(0, CALL)[:2], event("completed", response=reply(CALL | {"name": "time"}))], "the name of a call"),
        ([*of_call(0, CALL), *of_call(1, CALL | {"id": "fc_2"}), event("completed", response=reply(CALL))], "other tool"),
    ],
    ids=["text", "arguments", "name", "number"],
)  # fmt: skip
def test_last_event_that_contradicts_the_pieces_fails_the_attempt(events: list[Json], why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        deltas_of(*events)
    assert caught.value.is_retryable


def test_queued_response_is_not_an_answer() -> None:
    with pytest.raises(RequestError, match="the stream broke off"):
        deltas_of(event("queued", response=reply(status="queued")))


def test_commentary_is_part_of_the_text_and_is_sent_back_as_a_message_of_its_own() -> None:
    last = deltas_of(*STREAMS["a comment, a search and an answer"])[-1]
    assert last.extra is not None
    assert [item["type"] for item in last.extra["output_items"]] == ["message", "web_search_call", "message"]
    assert last.extra["output_items"][:2] == [COMMENTARY, SEARCH]


async def test_stream_of_an_engine_ends_with_its_last_event(api: Recorder) -> None:
    api.streams(as_bytes(*STREAMS["a text"]), b"data: {", breaks=True)
    deltas = await streamed(api)
    assert [delta.content for delta in deltas] == ["He", "llo.", ""]
    assert api.sent[-1].path == "/v1/responses"
    assert api.sent[-1].body["stream"] is True
