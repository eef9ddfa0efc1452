"""Streamed responses. The openai SDK's own accumulator judges: its items must be those of the final response."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from pydantic_core import from_json

from asyncinfer import FinishReason, Message, Role, ToolCallDelta
from asyncinfer.dialects.openai.quirks import NO_QUIRKS
from asyncinfer.dialects.openai.responses.input_writer import input_items
from asyncinfer.dialects.openai.responses.response_writer import ResponseWriter
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import FunctionCall, ToolCall
from tests.dialects.openai.responses.test_items import read_input
from tests.work import counted_calls

Json = dict[str, Any]
ECHOED: Json = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PARIS = ToolCall(id="call_1", function=FunctionCall(name="weather", arguments='{"city": "Paris"}'))
TOKYO = ToolCall(id="call_2", function=FunctionCall(name="weather", arguments='{"city": "Tokyo"}'))
CALLED = StreamDelta.last([PARIS, TOKYO], FinishReason.TOOL_CALLS, None, call_deltas=())
STOPPED = StreamDelta.last(None, FinishReason.STOP, None)
REASONING: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}


def streamed(deltas: Iterable[StreamDelta]) -> list[Json]:
    """The events of a stream of these deltas."""
    writer = ResponseWriter("resp_1", 1, "my-model", ECHOED)
    text = writer.begin() + b"".join(writer.delta(delta) for delta in deltas) + writer.end()
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith(b"data: ")]


def done_items(events: list[Json]) -> list[Json]:
    """The items that the events of a stream complete, in their order. Checks that the SDK accepts all events."""
    state = ResponseStreamState[None](input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(EVENT.validate_python(event))
    Response.model_validate(events[-1]["response"])
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    return [done[index] for index in sorted(done)]


def pieces(*pieces: tuple[int, str]) -> StreamDelta:
    """Pieces of the arguments of calls."""
    return StreamDelta(tool_call_deltas=tuple(ToolCallDelta(index, arguments=text) for index, text in pieces))


def begun(index: int, call: ToolCall) -> StreamDelta:
    """The first piece of a call."""
    return StreamDelta(tool_call_deltas=(ToolCallDelta(index, call.id, call.function.name),))


ALTERNATING = [
    begun(0, PARIS),
    begun(1, TOKYO),
    pieces((0, '{"city": '), (1, '{"city": ')),
    pieces((0, '"Paris"}')),
    pieces((1, '"Tokyo"}')),
    CALLED,
]
STREAMS = {
    "a text": [StreamDelta("Hel"), StreamDelta("lo."), STOPPED],
    "nothing": [STOPPED],
    "reasoning and a text": [StreamDelta(reasoning_content="Hm."), StreamDelta("Hi."), STOPPED],
    "reasoning after a text": [StreamDelta("So "), StreamDelta(reasoning_content="Hm."), StreamDelta("Hi."), STOPPED],
    "a text after a call": [begun(0, PARIS), pieces((0, PARIS.function.arguments)), StreamDelta("Hi."), CALLED],
    "alternating calls": ALTERNATING,
    "calls without pieces": [CALLED],
    "a text that is cut off": [StreamDelta("Hel"), StreamDelta.last(None, FinishReason.LENGTH, None)],
    "kept reasoning": [
        StreamDelta(reasoning_content="Hm."),
        begun(0, PARIS),
        pieces((0, PARIS.function.arguments)),
        StreamDelta.last(
            [PARIS], FinishReason.TOOL_CALLS, None, call_deltas=(), extra={"reasoning_items": [REASONING]}
        ),
    ],
}


@pytest.mark.parametrize("deltas", STREAMS.values(), ids=STREAMS.keys())
def test_sdk_collects_the_items_of_the_final_response(deltas: list[StreamDelta]) -> None:
    events = streamed(deltas)
    assert done_items(events) == events[-1]["response"]["output"]


@pytest.mark.parametrize("deltas", STREAMS.values(), ids=STREAMS.keys())
def test_each_item_has_one_end_with_its_whole_text_and_nothing_after_it(deltas: list[StreamDelta]) -> None:
    grown: dict[str, str] = {}
    ended: set[str] = set()
    for event in streamed(deltas):
        item = event.get("item_id", "")
        assert item not in ended
        if event["type"].endswith(".delta"):
            grown[item] = grown.get(item, "") + event["delta"]
        elif event["type"].endswith(("text.done", "arguments.done")):
            assert grown.get(item, "") == event.get("text", event.get("arguments"))
        elif event["type"] == "response.output_item.done":
            ended.add(event["item"]["id"])
    assert grown.keys() <= ended


def test_indexes_of_items_match_the_final_response() -> None:
    events = streamed(STREAMS["reasoning after a text"])
    final = events[-1]["response"]["output"]
    added = {event["item"]["id"]: event["output_index"] for event in events if event["type"].endswith("item.added")}
    assert [added[item["id"]] for item in final] == [0, 1, 2]


def test_empty_answer_has_a_message_that_its_events_announce() -> None:
    events = streamed([STOPPED])
    [added] = [event for event in events if event["type"] == "response.output_item.added"]
    [message] = events[-1]["response"]["output"]
    assert (message["id"], message["content"][0]["text"]) == (added["item"]["id"], "")


def test_reasoning_for_another_api_keeps_its_id_and_its_encrypted_content() -> None:
    output = streamed(STREAMS["kept reasoning"])[-1]["response"]["output"]
    reasoning, call = input_items(read_input(output), NO_QUIRKS)
    assert reasoning == REASONING
    assert call["call_id"] == "call_1"


def test_text_that_is_cut_off_is_incomplete_in_the_events_and_in_the_response() -> None:
    *_, done, last = streamed(STREAMS["a text that is cut off"])
    assert (done["item"]["status"], last["type"]) == ("incomplete", "response.incomplete")


def test_number_that_json_has_no_form_for_is_null() -> None:
    """A client may write a number that becomes infinite, such as 1e999."""
    writer = ResponseWriter("resp_1", 1, "my-model", {**ECHOED, "metadata": {"a": float("inf")}})
    written = writer.whole(Completion(Message(role=Role.ASSISTANT, content="Hi."), FinishReason.STOP))
    assert from_json(written, allow_inf_nan=False)["metadata"] == {"a": None}
    begun, _ = writer.begin().strip().split(b"\n\n")
    assert from_json(begun.partition(b"data: ")[2], allow_inf_nan=False)["response"]["metadata"] == {"a": None}


def test_work_to_write_calls_grows_with_their_number() -> None:
    def deltas(count: int) -> list[StreamDelta]:
        calls = [PARIS.model_copy(update={"id": f"call_{number}"}) for number in range(count)]
        return [
            *(begun(number, call) for number, call in enumerate(calls)),
            StreamDelta.last(calls, FinishReason.TOOL_CALLS, None),
        ]

    few, many = deltas(50), deltas(500)
    with counted_calls() as work_for_few:
        streamed(few)
    with counted_calls() as work_for_many:
        streamed(many)
    assert work_for_many.count < 15 * work_for_few.count
