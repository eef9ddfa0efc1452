"""The content and the reasoning of an answer in OpenAI's format, in the forms that servers give them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from asyncinfer import FinishReason, Message, StreamDelta, Usage
from asyncinfer.dialects.answer_text import json_of_unread
from asyncinfer.types.answer import Completion
from tests.dialects.mangled import check_that_it_is_retryable
from tests.dialects.openai.test_request import answer, read
from tests.dialects.openai.test_stream import chunk, deltas_of

Json = dict[str, Any]


def text(value: Any) -> Json:
    return {"type": "text", "text": value}


THOUGHT = {"type": "thinking", "thinking": [text("2 + "), {"type": "reference", "reference_ids": [1]}, text("2")]}


class Form(NamedTuple):
    """Fields of a message, and what they mean."""

    fields: Json
    content: str | None = "4"
    reasoning: str | None = None


FORMS = {
    "a text": Form({"content": "4"}),
    "one part": Form({"content": text("4")}),
    "parts": Form({"content": [text(""), text("4"), text(None), None]}),
    "texts": Form({"content": ["4", ""]}),
    "a part without a type": Form({"content": [{"text": "4"}]}),
    "the part of another API": Form({"content": [{"type": "output_text", "text": "4", "annotations": []}]}),
    "a text in an object": Form({"content": [text({"value": "4", "annotations": []})]}),
    "a thought of Mistral": Form({"content": [THOUGHT, text("4")]}, reasoning="2 + 2"),
    "a thought as text": Form({"content": [{"type": "thinking", "thinking": "Hm."}, text("4")]}, reasoning="Hm."),
    "a reasoning part": Form({"content": [{"type": "reasoning", "text": "Hm."}, text("4")]}, reasoning="Hm."),
    "a hidden thought": Form({"content": [{"type": "redacted_thinking", "data": "x"}, text("4")]}),
    "a reference": Form({"content": [text("4"), {"type": "reference", "reference_ids": [1, 2]}]}),
    "a refusal part": Form({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
    "a refusal": Form({"content": None, "refusal": "No."}, "No."),
    "a refusal beside an empty text": Form({"content": "", "refusal": "No."}, "No."),
    "a refusal beside an empty list": Form({"content": [], "refusal": "No."}, "No."),
    "a parsed JSON answer": Form({"content": {"city": "Oslo"}}, '{"city":"Oslo"}'),
    "an object with a type": Form({"content": {"type": "person", "name": "Bob"}}, '{"type":"person","name":"Bob"}'),
    "an object with a text": Form({"content": {"text": "a", "b": 1}}, '{"text":"a","b":1}'),
    "an object with content": Form({"content": {"content": "a"}}, '{"content":"a"}'),
    "objects": Form({"content": [{"name": "Bob"}, {"name": "Al"}]}, '[{"name":"Bob"},{"name":"Al"}]'),
    "a text and an object": Form({"content": ["a", {"b": 1}]}, '["a",{"b":1}]'),
    "lists": Form({"content": [["a"], 5]}, '[["a"],5]'),
    "a number": Form({"content": 42}, "42"),
    "zero": Form({"content": 0}, "0"),
    "a truth value": Form({"content": True}, "true"),
    "texts in a part": Form({"content": [text(["4", "2"])]}, "42"),
    "another object in a part": Form({"content": [text({"a": 1})]}, '{"a":1}'),
    "a spoken answer": Form({"content": None, "audio": {"id": "a", "transcript": "4"}}),
    "no calls in their field": Form({"content": "4", "tool_calls": "none"}),
    "calls as a truth value": Form({"content": "4", "tool_calls": True}),
    "an empty call": Form({"content": "4", "tool_calls": [{}]}),
    "reasoning_content": Form({"content": "4", "reasoning_content": "Hm."}, reasoning="Hm."),
    "reasoning": Form({"content": "4", "reasoning": "Hm."}, reasoning="Hm."),
    "reasoning as an object": Form({"content": "4", "reasoning": {"content": "Hm."}}, reasoning="Hm."),
    "reasoning as a list": Form({"content": "4", "reasoning": [{"text": "H"}, {"summary": "m."}]}, reasoning="Hm."),
    "reasoning of another kind": Form({"content": "4", "reasoning": 5, "reasoning_content": True}),
    "both names": Form({"content": "4", "reasoning": "Hm.", "reasoning_content": "Hm."}, reasoning="Hm."),
    "reasoning under another name": Form({"content": "4", "thinking": "Hm."}, reasoning="Hm."),
    "LiteLLM's blocks": Form(
        {"content": "4", "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]},
        reasoning="Hm.",
    ),
    "OpenRouter's details": Form(
        {
            "content": "4",
            "reasoning": None,
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": "H"},
                {"type": "reasoning.text", "text": "m.", "signature": "s"},
                {"type": "reasoning.encrypted", "data": "x"},
            ],
        },
        reasoning="Hm.",
    ),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


@every_form
def test_answer_in_any_form_is_read(form: Form) -> None:
    message = read(answer(**form.fields)).message
    assert (message.content, message.reasoning_content) == (form.content, form.reasoning)


@every_form
def test_streamed_answer_in_any_form_is_read(form: Form) -> None:
    *deltas, last = deltas_of(chunk(role="assistant"), chunk(**form.fields), chunk("stop"))
    assert "".join(delta.content for delta in deltas) == form.content
    assert "".join(delta.reasoning_content for delta in deltas) == (form.reasoning or "")
    assert last.finish_reason is FinishReason.STOP


@every_form
def test_whole_message_in_an_event_is_read_once(form: Form) -> None:
    whole = answer(**form.fields)
    *deltas, _ = deltas_of(whole, whole, "[DONE]")
    assert "".join(delta.content for delta in deltas) == form.content


@every_form
def test_refusal_is_kept_as_a_refusal(form: Form) -> None:
    is_refusal = form.content == "No."
    refusal = "No." if is_refusal else None
    assert read(answer(**form.fields)).message.get("refusal") == refusal
    for events in ([chunk(**form.fields), chunk("stop")], [answer(**form.fields), "[DONE]"]):
        deltas = deltas_of(*events)
        assert Completion.from_deltas(deltas).message.get("refusal") == refusal
        assert {delta.is_refusal for delta in deltas if delta.content} <= {is_refusal}


def test_text_after_a_refusal_is_a_text() -> None:
    deltas = deltas_of(chunk(refusal="No."), chunk(content=" Yes."), chunk("stop"))
    assert [delta.is_refusal for delta in deltas] == [True, False, False]
    message = Completion.from_deltas(deltas).message
    assert (message.text, message.get("refusal")) == ("No. Yes.", None)


def test_whole_message_after_its_pieces_is_ignored() -> None:
    *deltas, last = deltas_of(chunk(content="4"), answer(content="4"), "[DONE]")
    assert deltas == [StreamDelta("4")]
    assert last.usage == Usage(3, 4, 7)


@pytest.mark.parametrize("field", ["none", True, [{}]])
def test_calls_of_an_unknown_kind_are_retryable_without_a_text(field: Any) -> None:
    check_that_it_is_retryable(read, answer(content=None, tool_calls=field))
    check_that_it_is_retryable(lambda event: deltas_of(event), chunk(tool_calls=field))


def test_answer_of_parts_without_a_text_becomes_its_json_text() -> None:
    content = [{"type": "reference", "reference_ids": [1]}]
    assert read(answer(content=content)).message.content == '[{"type":"reference","reference_ids":[1]}]'


def test_parts_without_anything_are_an_empty_answer() -> None:
    assert read(answer(content=[text("") | {"annotations": []}, {}])).message.content == ""


@pytest.mark.parametrize("message", ["4", {"content": "4"}])
@pytest.mark.parametrize("in_list", [True, False])
def test_choice_in_any_form_is_read(message: Any, in_list: bool) -> None:
    choice = {"message": message, "finish_reason": "stop"}
    choices = [None, choice] if in_list else choice
    assert read({"choices": choices}).message.content == "4"
    assert text_of_stream({"choices": choices}) == "4"


def text_of_stream(*events: Json) -> str:
    return "".join(delta.content for delta in deltas_of(*events, "[DONE]"))


def messages(*texts: str) -> list[Json]:
    return [{"choices": [{"message": {"content": one}}]} for one in texts]


def test_whole_message_after_pieces_of_a_thought_is_read() -> None:
    whole = answer(content="4", reasoning_content="Hm.")
    *deltas, _ = deltas_of(chunk(reasoning_content="Hm."), whole)
    assert ["".join(one.content for one in deltas), "".join(one.reasoning_content for one in deltas)] == ["4", "Hm."]


def test_whole_message_beside_an_empty_piece_is_read() -> None:
    event = answer(content="4")
    event["choices"][0]["delta"] = {"role": "assistant", "content": ""}
    assert text_of_stream(event) == "4"


def test_calls_of_a_whole_message_after_pieces_of_a_text_are_read() -> None:
    *_, last = deltas_of(chunk(content="4"), answer("tool_calls", content="4", tool_calls=[CALL]))
    assert [call["function"] for call in last.tool_calls] == [CALL["function"]]


def test_messages_that_grow_are_read_once() -> None:
    assert text_of_stream(*messages("h", "hi", "hi"), chunk("stop")) == "hi"


def test_messages_that_contradict_each_other_are_retryable() -> None:
    check_that_it_is_retryable(lambda events: deltas_of(*events), messages("h", "i"), "has an event")


def test_piece_may_be_a_text() -> None:
    assert text_of_stream({"choices": [{"delta": "4"}]}, {"choices": [{"delta": "2"}]}, chunk("stop")) == "42"


def test_image_in_an_answer_is_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    message: Message = read(answer(content=[THOUGHT, text("Look:"), image])).message
    assert [(item.type, item.content) for item in message.content_items] == [
        ("text", "Look:"),
        ("image_url", "data:image/png;base64,AA=="),
    ]
    assert message.reasoning_content == "2 + 2"


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": [CALL]},
        {"tool_calls": [None, CALL]},
        {"tool_calls": CALL},
        {"tool_calls": [CALL | {"type": "builtin_function"}]},
        {"tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]},
        {"tool_calls": [], "function_call": CALL["function"]},
    ],
    ids=["a list", "null", "no list", "another type", "no inner object", "the older field"],
)
def test_tool_call_in_any_form_is_read(fields: Json) -> None:
    whole = read(answer("tool_calls", content=None, **fields))
    [call] = whole.message.tool_calls or []
    assert (call.function.name, call.function.arguments, whole.message.content) == ("f", "{}", None)
    assert call.id == "c" or "function_call" in fields
    [last] = deltas_of(chunk(content=None, **fields), chunk("tool_calls"))
    assert [piece["function"] for piece in last.tool_calls] == [CALL["function"]]


def test_older_call_arrives_in_pieces() -> None:
    pieces = [chunk(function_call=piece) for piece in ({"name": "f", "arguments": ""}, {"arguments": "{"}, {"arguments": "}"})]  # fmt: skip
    [last] = deltas_of(*pieces, chunk("function_call"))
    assert [piece["function"] for piece in last.tool_calls] == [CALL["function"]]
    assert last.finish_reason is FinishReason.TOOL_CALLS


def test_text_of_the_older_completions_api_is_read() -> None:
    choice = {"index": 0, "text": "4", "finish_reason": "stop"}
    assert read({"choices": [choice]}).message.content == "4"
    deltas = deltas_of({"choices": [choice | {"finish_reason": None}]}, {"choices": [choice]})
    assert [delta.content for delta in deltas] == ["4", "4", ""]


def test_first_choice_is_the_one_with_index_0() -> None:
    other = {"index": 1, "message": {"content": "5"}, "finish_reason": "stop"}
    assert read({"choices": [other, *answer(content="4")["choices"]]}).message.content == "4"
    assert read({"choices": [other]}).message.content == "5"


def test_usage_within_a_choice_and_by_other_names_is_read() -> None:
    """Moonshot sends the usage within the choice."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    event = chunk("stop")
    event["choices"][0]["usage"] = usage
    assert deltas_of(chunk(content="4"), event)[-1].usage == Usage(3, 4, 7)
    assert read(answer(content="4", usage=usage)).usage == Usage(3, 4, 7)


def numbered(index: int, content: str, finish: str | None = None) -> Json:
    return {"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish}]}


def test_streamed_choices_may_be_numbered_from_1() -> None:
    last = deltas_of(numbered(1, "4"), numbered(2, "5"), numbered(1, "2", "stop"))[-1]
    assert (last.content, last.finish_reason) == ("42", FinishReason.STOP)


def test_other_choice_before_the_first_one_is_ignored() -> None:
    deltas = deltas_of(numbered(1, "5"), numbered(0, "4"), numbered(0, "2", "stop"))
    assert "".join(delta.content for delta in deltas) == "42"


def test_unreadable_choice_numbered_from_1_is_retryable() -> None:
    event = {"choices": [{"index": 1, "delta": 5}]}
    check_that_it_is_retryable(lambda one: deltas_of(one), event, "has a choice")


def test_empty_text_with_unknown_fields_is_an_empty_text() -> None:
    assert json_of_unread([{"type": "text", "text": "", "x_new": True}]) == ""
