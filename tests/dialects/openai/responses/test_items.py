"""Items of the Responses API: what is written can be read back, and OpenAI's SDK accepts it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseInputItemParam,
    ResponseOutputItem,
    ResponseUsage,
)
from openai.types.responses.response_create_params import ToolChoice
from pydantic import TypeAdapter

from asyncinfer import Conversation, FinishReason, Message, RequestError, Role, ToolCall, ToolDefinition, Usage
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Files, Quirks
from asyncinfer.dialects.openai.responses.input_reader import InvalidInputError
from asyncinfer.dialects.openai.responses.input_reader import read_input as read_located
from asyncinfer.dialects.openai.responses.input_writer import input_items
from asyncinfer.dialects.openai.responses.logprobs import logprobs_in
from asyncinfer.dialects.openai.responses.output_reader import answer_message
from asyncinfer.dialects.openai.responses.output_writer import answer_fields, output_items
from asyncinfer.dialects.openai.responses.tools import read_tool_choice, read_tools, written_tool, written_tool_choice
from asyncinfer.types.answer import Completion
from tests.dialects.openai.responses.test_response import REASONING, SEARCH, text_item
from tests.work import counted_calls

Json = dict[str, Any]
INPUT_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseInputItemParam)
OUTPUT_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseOutputItem)
TOOL: TypeAdapter[Any] = TypeAdapter(FunctionToolParam)
TOOL_CHOICE: TypeAdapter[Any] = TypeAdapter(ToolChoice)

LOGPROB: Json = {"token": "Hi.", "bytes": [72, 105, 46], "logprob": -0.5, "top_logprobs": []}
CALL: Json = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'}


def read_input(given: Any, instructions: str | None = None) -> list[Message]:
    return [located.message for located in read_located(given, instructions)]


def assistant(content: str | None, **fields: Any) -> Message:
    return Message(role=Role.ASSISTANT, content=content, **fields)


def call(id: str = "call_1", name: str = "f", arguments: str = '{"a": 1}') -> ToolCall:
    return ToolCall.model_validate({"id": id, "function": {"name": name, "arguments": arguments}})


# Messages that the items can express. Empty texts of the assistant and images of the assistant are not among them.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXT_ITEM = st.builds(lambda text: {"type": "text", "content": text}, TEXT)
IMAGE = st.sampled_from(
    [
        {"type": "image_url", "content": "https://x.example/a.png"},
        {"type": "image_url", "content": "https://x.example/a.png", "detail": "low"},
        {"type": "document_url", "content": "https://x.example/a.pdf"},
    ]
)
CONTENT = TEXT | st.lists(TEXT_ITEM | IMAGE, min_size=1, max_size=3)
CALLS = st.lists(st.builds(call, TEXT, TEXT, TEXT | st.just("")), min_size=1, max_size=3)
REASONING_ITEMS = st.lists(st.just(REASONING), min_size=1, max_size=2)
PHASE = st.sampled_from([{}, {"phase": "final_answer"}])


ANSWER = st.builds(lambda text, phase: assistant(text, **phase), TEXT, PHASE) | st.builds(
    lambda text, calls: assistant(text, tool_calls=calls), st.none() | TEXT, CALLS
)


@st.composite
def turn(draw: st.DrawFn) -> list[Message]:
    """A message of the user, and the answer with the results of its calls."""
    asked = Message.model_validate({"role": draw(st.sampled_from(["user", "system"])), "content": draw(CONTENT)})
    answer = draw(ANSWER)
    if draw(st.booleans()):
        typed = [item | {"type": "message"} if "role" in item else item for item in input_items([answer], NO_QUIRKS)]
        answer = answer_message([*draw(REASONING_ITEMS), *typed])
    results = [
        Message.model_validate({"role": "tool", "tool_call_id": one.id, "content": draw(CONTENT)})
        for one in answer.tool_calls or ()
    ]
    return [asked, answer, *results]


MESSAGES = st.lists(turn(), min_size=1, max_size=3).map(lambda turns: [message for turn in turns for message in turn])


@given(MESSAGES)
def test_messages_are_the_same_after_writing_and_reading(messages: list[Message]) -> None:
    assert read_input(input_items(messages, NO_QUIRKS)) == messages


@given(MESSAGES)
def test_sdk_accepts_written_messages(messages: list[Message]) -> None:
    for item in input_items(messages, NO_QUIRKS):
        INPUT_ITEM.validate_python(item)


@given(ANSWER)
def test_answer_is_the_same_after_writing_and_reading_its_output(answer: Message) -> None:
    items = output_items(answer)
    assert answer_message(items) == answer
    for item in items:
        OUTPUT_ITEM.validate_python(item)


OUTPUTS: dict[str, list[Json]] = {
    "a text": [text_item("Hi.")],
    "reasoning and a text": [REASONING, text_item("Hi.")],
    "reasoning, a text and calls": [REASONING, text_item("Hi."), CALL, CALL | {"call_id": "call_2", "name": "g"}],
    "reasoning and a call twice": [REASONING, CALL, REASONING | {"id": "rs_2"}, CALL | {"call_id": "call_2"}],
    "a search between": [REASONING, SEARCH, REASONING | {"id": "rs_2"}, text_item("Hi.")],
    "a comment and a final answer": [
        text_item("Wait.", phase="commentary"),
        CALL,
        text_item("Hi.", id="msg_2", phase="final_answer"),
    ],
}
every_output = pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())


def kinds(items: list[Json]) -> list[str]:
    return [item.get("type", "message") for item in items]


@every_output
def test_items_of_an_answer_are_sent_back_in_their_places(output: list[Json]) -> None:
    answer = answer_message(output)
    sent = input_items([answer], NO_QUIRKS)
    assert kinds(sent) == kinds(output)
    assert [item for item in sent if item.get("type") == "reasoning"] == [
        item for item in output if item["type"] == "reasoning"
    ]
    for item in sent:
        INPUT_ITEM.validate_python(item)


@every_output
def test_items_of_an_answer_survive_saving(output: list[Json]) -> None:
    conversation = Conversation(messages=[answer_message(output)])
    read = Conversation.from_json(conversation.to_json())
    assert input_items(read.messages, NO_QUIRKS) == input_items(conversation.messages, NO_QUIRKS)


@every_output
def test_output_is_written_as_it_was_read(output: list[Json]) -> None:
    written = output_items(answer_message(output))
    assert kinds(written) == kinds(output)
    assert answer_message(written) == answer_message(output)


def test_answer_that_was_edited_is_sent_with_its_new_text() -> None:
    answer = answer_message(OUTPUTS["a search between"])
    edited = answer.model_copy(update={"content": "Bye."})
    sent = input_items([edited], NO_QUIRKS)
    assert kinds(sent) == ["reasoning", "web_search_call", "reasoning", "message"]
    assert sent[-1] == {"role": "assistant", "content": "Bye."}


@pytest.mark.parametrize("arguments", ['{"a":1}', '{ "a": 1 }', '{"b": "\\u00e9", "a": 1}', ""])
def test_items_of_calls_whose_arguments_are_written_differently_keep_their_places(arguments: str) -> None:
    output = [REASONING, text_item("Hi."), REASONING | {"id": "rs_2"}, CALL | {"arguments": arguments}]
    answer = answer_message(output)
    rewritten = json.dumps(json.loads(arguments or "{}"), ensure_ascii=False)
    edited = answer.model_copy(update={"tool_calls": [call(arguments=rewritten)]})
    assert input_items([edited], NO_QUIRKS) == output


@pytest.mark.parametrize("arguments", ['{"a": true}', '{"a": "1"}', '{"a": 1, "b": 1}', '{"a": 1', "[1]"])
def test_call_with_other_arguments_is_sent_with_them(arguments: str) -> None:
    answer = answer_message([REASONING, text_item("Hi."), REASONING, CALL])
    edited = answer.model_copy(update={"tool_calls": [call(arguments=arguments)]})
    assert input_items([edited], NO_QUIRKS)[-1]["arguments"] == arguments


SECRET = "http://169.254.169.254/x.png"
FOREIGN: list[Json] = [
    {"type": "item_reference", "id": "msg_of_others"},
    {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": SECRET}},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": SECRET}]},
    {"type": "x_call", "foo": {"url": SECRET}},
    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": SECRET}]},
    text_item("") | {"content": [{"type": "input_image", "image_url": SECRET}]},
    text_item("") | {"content": [{"type": "output_text", "text": "a", "image_url": SECRET}], "image_url": SECRET},
    REASONING | {"content": [{"type": "input_image", "image_url": SECRET}]},
    {"type": "code_interpreter_call", "id": "ci_1", "outputs": [{"type": "image", "url": SECRET}]},
    {"type": ["message"], "content": SECRET},
]


@pytest.mark.parametrize("item", FOREIGN)
@pytest.mark.parametrize("key", ["reasoning_items", "output_items"])
def test_only_items_and_parts_of_answers_are_sent_back(item: Json, key: str) -> None:
    sent = input_items([assistant("Hi.", **{key: [item]})], NO_QUIRKS, stored=True)
    assert SECRET not in json.dumps(sent)
    assert set(kinds(sent)) <= {"reasoning", "message", "code_interpreter_call"}


def test_reasoning_has_its_parts_as_paragraphs() -> None:
    assert answer_message([REASONING, REASONING]).reasoning_content == "First.\n\nSecond.\n\nFirst.\n\nSecond."
    plain = REASONING | {"content": [{"type": "reasoning_text", "text": "Hm."}]}
    assert answer_message([plain]).reasoning_content == "Hm."


def test_refusal_is_the_text_of_the_answer() -> None:
    refusal = {"type": "refusal", "refusal": "I cannot."}
    assert answer_message([text_item("") | {"content": [refusal]}]).content == "I cannot."


def test_annotations_are_kept_with_their_places_in_the_joined_text() -> None:
    cited = {"type": "url_citation", "url": "https://x.example", "title": "X", "start_index": 0, "end_index": 2}
    parts = [{"type": "output_text", "text": "abc", "annotations": [cited]} for _ in range(2)]
    answer = answer_message([text_item("") | {"content": parts}])
    assert answer.get("annotations") == [cited, cited | {"start_index": 3, "end_index": 5}]


def test_nulls_and_log_probabilities_are_not_sent_back() -> None:
    part = {"type": "output_text", "text": "Hi.", "annotations": [], "logprobs": [LOGPROB]}
    message = text_item("Hi.", phase=None, content=[part])
    output = [SEARCH, REASONING | {"status": None}, message]
    _, reasoning, text = input_items([answer_message(output)], NO_QUIRKS)
    assert reasoning == REASONING
    assert text == text_item("Hi.")
    assert logprobs_in(output) == (LOGPROB,)


def test_reasoning_without_content_is_sent_back_only_if_the_api_stores_it() -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    answer = answer_message([bare, text_item("Hi.")])
    assert kinds(input_items([answer], NO_QUIRKS)) == ["message"]
    assert kinds(input_items([answer], NO_QUIRKS, stored=True)) == ["reasoning", "message"]


def test_reasoning_of_another_api_is_sent_to_servers_that_read_it() -> None:
    answer = assistant("4", reasoning_content="2 + 2")
    assert kinds(input_items([answer], NO_QUIRKS)) == ["message"]
    reasoning, _ = input_items([answer], Quirks(reasoning="reasoning"))
    INPUT_ITEM.validate_python(reasoning)
    assert answer_message([reasoning]).reasoning_content == "2 + 2"


def test_last_call_that_was_cut_off_entirely_is_left_out() -> None:
    cut = [SEARCH, text_item("Hi."), CALL | {"arguments": ""}]
    answer = answer_message(cut, finish_in("max_output_tokens"))
    assert answer.tool_calls is None
    assert kinds(input_items([answer], NO_QUIRKS)) == ["web_search_call", "message"]


# Requests


def test_text_and_instructions_are_a_user_and_a_system_message() -> None:
    assert read_input("Hi.", "Be brief.") == [
        Message(role=Role.SYSTEM, content="Be brief."),
        Message(role=Role.USER, content="Hi."),
    ]


def test_each_message_has_the_location_of_its_content_in_the_request() -> None:
    result = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    items = [{"role": "user", "content": "Hi."}, REASONING, CALL, result]
    assert [located.location for located in read_located(items, "Be brief.")] == [
        "instructions",
        "input[0].content",
        "input[1].content",
        "input[3].output",
    ]


def test_developer_message_is_a_system_message() -> None:
    [read] = read_input(
        [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}]
    )
    assert (read.role, read.text) == (Role.SYSTEM, "Be brief.")


def test_parallel_calls_and_reasoning_between_them_are_one_message() -> None:
    results = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "1"} for n in (1, 2)]
    answer, first, second = read_input([CALL, REASONING, CALL | {"call_id": "call_2"}, *results])
    assert [one.id for one in answer.tool_calls or ()] == ["call_1", "call_2"]
    assert [first.tool_call_id, second.tool_call_id] == ["call_1", "call_2"]


def test_text_after_a_text_is_another_message() -> None:
    read = read_input([text_item("Hi."), {"role": "assistant", "content": "Bye."}])
    assert [message.content for message in read] == ["Hi.", "Bye."]


@pytest.mark.parametrize("item", [CALL, SEARCH, REASONING, text_item("Hi.")], ids=lambda item: item["type"])
def test_work_to_read_an_input_grows_with_its_length(item: Json) -> None:
    with counted_calls() as few:
        read_input([item] * 200)
    with counted_calls() as many:
        read_input([item] * 2000)
    assert many.count < 15 * few.count


def test_data_of_a_file_may_have_no_media_type() -> None:
    part = {"type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0="}
    [read] = read_input([{"role": "user", "content": [part]}])
    [item] = read.content_items
    assert (item.content, item.model_extra) == ("data:application/pdf;base64,JVBERi0=", {"filename": "a.pdf"})


INVALID: dict[str, tuple[Any, str]] = {
    "no list": (5, "input: should be a string or a list"),
    "no object": (["Hi."], r"input\[0\]: `role` should be"),
    "a stored item": ([{"type": "item_reference", "id": "msg_1"}], r"input\[0\]: an item of the type 'item_reference'"),
    "a stored image": (
        [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}],
        r"input\[0\]: `file_id` refers to a stored file",
    ),
    "no image": ([{"role": "user", "content": [{"type": "input_image"}]}], "needs `image_url`"),
    "audio": ([{"role": "user", "content": [{"type": "input_audio"}]}], "'input_audio' is not supported"),
    "a text without a text": ([{"role": "user", "content": [{"type": "input_text"}]}], r"input\[0\]: is not valid"),
    "a call without a name": ([{"type": "function_call", "call_id": "1"}], r"input\[0\]: a tool call without a name"),
    "another role": ([{"role": "critic", "content": "No."}], "`role` should be"),
    "a type that no answer has": ([{"type": "x_call", "foo": {}}], r"input\[0\]: an item of the type 'x_call'"),
    "an image of the assistant": (
        [{"role": "assistant", "content": [{"type": "input_image", "image_url": "https://x.example/a.png"}]}],
        r"input\[0\]: a part of the type 'input_image' is not supported in a message of the assistant",
    ),
    "a type that is no text": ([{"type": ["message"], "role": "user", "content": "Hi."}], "is not supported"),
}


@pytest.mark.parametrize(("given", "problem"), INVALID.values(), ids=INVALID.keys())
def test_invalid_input_is_refused_with_its_place(given: Any, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        read_input(given)
    assert caught.value.param.startswith("input")


def test_images_of_the_assistant_are_refused() -> None:
    message = Message.model_validate(
        {"role": "assistant", "content": [{"type": "image_url", "content": "https://x.example/a.png"}]}
    )
    with pytest.raises(RequestError, match="no images and documents in messages of the assistant"):
        input_items([message], NO_QUIRKS)


@pytest.mark.parametrize(("kind", "name"), [("image_url", "images"), ("document_url", "documents")])
def test_files_that_the_server_does_not_accept_are_refused(kind: str, name: str) -> None:
    message = Message.model_validate({"role": "user", "content": [{"type": kind, "content": "https://x.example/a"}]})
    with pytest.raises(RequestError, match=f"does not accept {name}"):
        input_items([message], Quirks(images=Files.NONE, documents=Files.NONE))


# Tools

SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOLS = [
    {"type": "function", "function": {"name": "f"}},
    {"type": "function", "function": {"name": "f", "description": "Does it.", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "f", "parameters": SCHEMA}, "defer_loading": True},
]


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_is_the_same_after_writing_and_reading(tool: Json) -> None:
    definition = ToolDefinition.model_validate(tool)
    written = written_tool(definition, definition.function.parameters)
    TOOL.validate_python(written)
    assert read_tools([written]) == [definition]


def test_tool_that_is_not_strict_says_so_because_the_api_assumes_the_opposite() -> None:
    definition = ToolDefinition.model_validate(TOOLS[0])
    assert written_tool(definition, None) == {"type": "function", "name": "f", "parameters": None, "strict": False}


def test_tool_that_is_not_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="'web_search' is not supported"):
        read_tools([{"type": "web_search"}])


NAMED: Json = {"type": "function", "function": {"name": "f"}}
CHOICES = [
    "none",
    "auto",
    "required",
    NAMED,
    {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_tool_choice_is_the_same_after_writing_and_reading(choice: Any) -> None:
    written = written_tool_choice(choice)
    TOOL_CHOICE.validate_python(written)
    assert read_tool_choice(written) == choice


def test_tool_choice_in_the_form_of_the_api_stays_unchanged() -> None:
    assert written_tool_choice({"type": "web_search"}) == {"type": "web_search"}
    with pytest.raises(ValueError, match="`tool_choice` should be"):
        read_tool_choice({"type": "web_search"})


# Responses


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.TOOL_CALLS, "completed", None),
        (FinishReason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (FinishReason.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_sdk_reads_a_written_answer(reason: FinishReason, status: str, details: Json | None) -> None:
    message = assistant("Hi.", tool_calls=[call()], reasoning_content="Hm.")
    fields = answer_fields(Completion(message, reason, Usage(3, 4, 7, 2, 1, 1), {"logprobs": [LOGPROB]}))
    shared = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "tools": [], "tool_choice": "auto"}
    read = Response.model_validate({**shared, "parallel_tool_calls": True, **fields})
    assert read.output_text == "Hi."
    assert (read.status, fields["incomplete_details"]) == (status, details)
    assert [item.type for item in read.output] == ["reasoning", "message", "function_call"]
    assert logprobs_in(fields["output"]) == (LOGPROB,)
    ResponseUsage.model_validate(fields["usage"])


def test_ids_of_items_can_be_given() -> None:
    numbers = iter(range(9))
    items = output_items(assistant("Hi.", tool_calls=[call()]), make_id=lambda prefix: f"{prefix}_{next(numbers)}")
    assert [item["id"] for item in items] == ["msg_0", "fc_1"]
