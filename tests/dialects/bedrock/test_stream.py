"""ConverseStream: the deltas, and comparison with the events that botocore reads."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from botocore.exceptions import EventStreamError  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import (
    BedrockInferenceEngine,
    FinishReason,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
    RequestError,
    StreamDelta,
    Usage,
)
from asyncinfer.dialects.bedrock.stream import ConverseStreamDecoder
from tests.boto import asked, base
from tests.dialects.frames import STREAM_TYPE, event, exception, framed, text
from tests.dialects.mangled import mangled
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder

Json = dict[str, Any]
ServerSentEvent = tuple[str, Json]

START: ServerSentEvent = ("messageStart", {"role": "assistant"})
METADATA: ServerSentEvent = (
    "metadata",
    {
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 9, "cacheReadInputTokens": 2},
        "metrics": {"latencyMs": 5},
    },
)
COUNTED = Usage(5, 4, 9, cached_tokens=2)


def delta(index: int, **part: Any) -> ServerSentEvent:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": part}


def begun(index: int, call: str, name: str, **more: str) -> ServerSentEvent:
    return "contentBlockStart", {
        "contentBlockIndex": index,
        "start": {"toolUse": {"toolUseId": call, "name": name, **more}},
    }


def ended(index: int) -> ServerSentEvent:
    return "contentBlockStop", {"contentBlockIndex": index}


def stop(reason: str = "end_turn") -> ServerSentEvent:
    return "messageStop", {"stopReason": reason}


STREAMS: dict[str, list[ServerSentEvent]] = {
    "text": [START, delta(0, text="Hel"), delta(0, text="lo \u00e9."), ended(0), stop(), METADATA],
    "nothing": [START, stop("max_tokens"), METADATA],
    "a tool call": [
        START,
        delta(0, text="Wait."),
        ended(0),
        begun(1, "t1", "weather"),
        delta(1, toolUse={"input": '{"ci'}),
        delta(1, toolUse={"input": 'ty": "Oslo"}'}),
        ended(1),
        stop("tool_use"),
        METADATA,
    ],
    "two tool calls, one without arguments": [
        START,
        begun(0, "t1", "weather"),
        delta(0, toolUse={"input": "{}"}),
        ended(0),
        begun(1, "t2", "time"),
        delta(1, toolUse={"input": ""}),
        ended(1),
        stop("tool_use"),
        METADATA,
    ],
    "reasoning": [
        START,
        delta(0, reasoningContent={"text": "They "}),
        delta(0, reasoningContent={"text": "ask."}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        ended(0),
        delta(1, text="Sunny."),
        ended(1),
        stop(),
        METADATA,
    ],
    "no usage": [START, delta(0, text="a"), stop()],
    "events that are not known": [START, ("heartbeat", {}), delta(0, citation={"title": "t"}), stop(), METADATA],
}


def bytes_of(events: list[ServerSentEvent]) -> bytes:
    return b"".join(event(kind, data) for kind, data in events)


def deltas_of(data: bytes, size: int = 10**6) -> list[StreamDelta]:
    decoder = ConverseStreamDecoder()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    deltas = [delta for piece in pieces for delta in decoder.feed(piece)]
    return [*deltas, decoder.finish()]


async def by_botocore(api: Recorder) -> list[Json]:
    return await asked(api, "converse_stream", modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
async def test_deltas_add_up_to_the_events_that_botocore_reads(events: list[ServerSentEvent], api: Recorder) -> None:
    api.streams(bytes_of(events), media_type=STREAM_TYPE)
    remote = RemoteParams(api_url=base(api), api_key="k", max_retries=0)
    async with (
        BedrockInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine,
        engine.astream(question("?"), ONE_ATTEMPT) as stream,
    ):
        ours = [delta async for delta in stream]
    theirs = await by_botocore(api)
    parts = [one["contentBlockDelta"] for one in theirs if "contentBlockDelta" in one]
    assert "".join(one.content for one in ours) == "".join(part["delta"].get("text", "") for part in parts)
    thoughts = [part["delta"].get("reasoningContent", {}).get("text", "") for part in parts]
    assert "".join(one.reasoning_content for one in ours) == "".join(thoughts)
    calls = {
        start["contentBlockIndex"]: (start["start"]["toolUse"]["toolUseId"], start["start"]["toolUse"]["name"])
        for start in (one["contentBlockStart"] for one in theirs if "contentBlockStart" in one)
    }
    assert [(call["id"], call["function"]["name"]) for call in ours[-1].tool_calls] == list(calls.values())
    for call, index in zip(ours[-1].tool_calls, calls, strict=True):
        inputs = [p["delta"]["toolUse"]["input"] for p in parts if p["contentBlockIndex"] == index]
        assert json.loads(call["function"]["arguments"]) == json.loads("".join(inputs) or "{}")
    assert ours[-1].usage == (COUNTED if any("metadata" in one for one in theirs) else None)
    assert ours[-1].finish_reason not in (None, FinishReason.UNKNOWN)


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("size", [1, 7, 100])
def test_stream_reads_the_same_however_it_is_split(events: list[ServerSentEvent], size: int) -> None:
    assert deltas_of(bytes_of(events), size) == deltas_of(bytes_of(events))


def test_text_is_yielded_as_it_arrives() -> None:
    decoder = ConverseStreamDecoder()
    assert [*decoder.feed(bytes_of([START, delta(0, text="Hel")]))] == [StreamDelta("Hel")]
    assert not decoder.done
    assert [*decoder.feed(bytes_of([delta(0, text="lo.")]))] == [StreamDelta("lo.")]
    assert [*decoder.feed(bytes_of([stop(), METADATA]))] == []
    assert decoder.done
    raw = {"raw_finish_reason": "end_turn"}
    assert decoder.finish() == StreamDelta(finish_reason=FinishReason.STOP, usage=COUNTED, metadata=raw)


def test_call_of_a_tool_that_bedrock_runs_is_left_out() -> None:
    own = [begun(0, "s", "grounding", type="server_tool_use"), delta(0, toolUse={"input": "{}"}), ended(0)]
    assert deltas_of(bytes_of([START, *own, delta(1, text="a"), stop()]))[-1].tool_calls == ()


ERRORS = [
    ("throttlingException", 429, True, True),
    ("serviceUnavailableException", 503, True, True),
    ("internalServerException", 500, True, False),
    ("modelStreamErrorException", 424, True, False),
    ("validationException", 400, False, False),
]


@pytest.mark.parametrize(("kind", "status", "again", "busy"), ERRORS, ids=[error[0] for error in ERRORS])
async def test_exception_in_a_stream_is_classified(
    kind: str, status: int, again: bool, busy: bool, api: Recorder
) -> None:
    data = bytes_of([START, delta(0, text="a")]) + exception(kind, "It is so.")
    api.streams(data, media_type=STREAM_TYPE)
    with pytest.raises(EventStreamError) as theirs:
        await by_botocore(api)
    with pytest.raises(RequestError) as ours:
        deltas_of(data)
    assert str(ours.value) == f"the stream broke off: It is so. ({kind})"
    assert theirs.value.response["Error"] == {"Code": kind, "Message": "It is so."}
    assert (ours.value.status_code, ours.value.is_retryable, ours.value.is_overload) == (status, again, busy)


def test_unmodeled_error_in_a_stream_is_retryable() -> None:
    headers = [(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "Sorry.")]
    with pytest.raises(RequestError, match=r"the stream broke off: Sorry\. \(InternalFailure\)") as caught:
        deltas_of(framed(b"", *(text(*pair) for pair in headers)))
    assert caught.value.is_retryable


def test_stream_that_ends_early_is_truncated() -> None:
    data = bytes_of(STREAMS["text"])
    with pytest.raises(RequestError, match="the stream broke off") as caught:
        deltas_of(data[: len(data) // 2])
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@pytest.mark.parametrize("index", [float("inf"), "0", None])
def test_call_without_an_index_cannot_be_read(index: Any) -> None:
    with pytest.raises(RequestError, match="has an event that cannot be read"):
        deltas_of(bytes_of([START, begun(index, "t1", "f"), stop("tool_use"), METADATA]))


@settings(max_examples=300)
@given(mangled(st.sampled_from([[list(one) for one in events] for events in STREAMS.values()])))
def test_mangled_stream_is_deltas_or_a_request_error(events: list[Any]) -> None:
    data = b"".join(event(str(one[0]), one[1]) for one in events if isinstance(one, list) and len(one) == 2)
    with contextlib.suppress(RequestError):
        deltas_of(data)


@given(st.sampled_from(list(STREAMS.values())), st.integers(0, 2000))
def test_truncated_stream_is_deltas_or_a_request_error(events: list[ServerSentEvent], length: int) -> None:
    with contextlib.suppress(RequestError):
        deltas_of(bytes_of(events)[:length])


def test_call_of_a_block_without_a_start_cannot_be_read() -> None:
    with pytest.raises(RequestError, match="a tool call that cannot be read"):
        deltas_of(bytes_of([START, delta(0, toolUse={"input": "{}"}), stop("tool_use"), METADATA]))


def test_repeated_index_after_a_stop_is_a_new_block() -> None:
    calls = [
        part
        for call in "ab"
        for part in (begun(0, call, "f"), delta(0, toolUse={"input": f'{{"{call}": 1}}'}), ended(0))
    ]
    last = deltas_of(bytes_of([START, *calls, stop("tool_use"), METADATA]))[-1]
    assert [(call["id"], call["function"]["arguments"]) for call in last.tool_calls] == [
        ("a", '{"a": 1}'),
        ("b", '{"b": 1}'),
    ]


def test_call_that_is_cut_before_its_input_is_left_out() -> None:
    last = deltas_of(
        bytes_of([START, delta(0, text="a"), begun(1, "t1", "f"), ended(1), stop("max_tokens"), METADATA])
    )[-1]
    assert (last.finish_reason, last.tool_calls) == (FinishReason.LENGTH, ())


def test_null_members_of_a_delta_are_ignored_and_text_needs_no_index() -> None:
    nulls = {"toolUse": None, "reasoningContent": None}
    events = [START, ("contentBlockStart", {"start": None}), ("contentBlockDelta", {"delta": {"text": "Hi.", **nulls}})]
    *deltas, last = deltas_of(bytes_of([*events, stop(), METADATA]))
    assert ([delta.content for delta in deltas], last.finish_reason) == (["Hi."], FinishReason.STOP)


def test_call_without_an_id_gets_one() -> None:
    begin = ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": "f"}}})
    [*_, last] = deltas_of(bytes_of([START, begin, delta(0, toolUse={"input": "{}"}), stop("tool_use"), METADATA]))
    assert last.tool_calls[0]["id"].startswith("call_")


def test_usage_without_counts_does_not_replace_usage() -> None:
    again = ("metadata", {"usage": None})
    [*_, last] = deltas_of(bytes_of([METADATA, START, delta(0, text="Hi."), again, stop(), again]))
    assert last.usage == COUNTED
