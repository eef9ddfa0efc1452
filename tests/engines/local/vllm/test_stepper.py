"""The vLLM stepper, with a fake model. Needs no vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from asyncinfer.config import GenerationParams, ModelParams
from asyncinfer.engines.local.request import Request
from asyncinfer.engines.local.stepper import RowEvent
from asyncinfer.engines.local.vllm.model import VllmModel
from asyncinfer.engines.local.vllm.reader import AnswerReader
from asyncinfer.engines.local.vllm.stepper import VllmStepper
from asyncinfer.errors import RequestError
from asyncinfer.types.answer import Completion
from asyncinfer.types.content import ContentItem, Type
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message, Role
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import ToolDefinition

TOOL = ToolDefinition.model_validate({"type": "function", "function": {"name": "weather"}})
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


class FakeModel:
    """Returns the outputs that the test sets with `output`."""

    slots, context, takes_images, tokenizer, config = 4, 16, False, None, None
    chat_template = "{{ messages }}{{ tools }}"
    accepts_lark = False

    def __init__(self) -> None:
        self.requests: list[tuple[str, Mapping[str, Any], Any]] = []
        self.aborted: list[str] = []
        self.outputs: list[Any] = []
        self.prompt = [1, 2, 3]

    def parsers(self, *_: Any) -> None:
        return None

    def render(self, messages: list[dict[str, Any]], *_: Any) -> dict[str, Any]:
        if messages[0]["content"] == "bad":
            raise ValueError("no such role")
        return {"prompt_token_ids": self.prompt}

    def add(self, name: str, _: Any, sampling: Mapping[str, Any], structure: Any) -> str:
        self.requests.append((name, sampling, structure))
        return f"{name}-internal"

    def step(self) -> list[Any]:
        return self.outputs

    def abort(self, internal: str) -> None:
        self.aborted.append(internal)

    def close(self) -> None:
        self.aborted.append("closed")

    def output(self, row: int, text: str, finish: str | None = None, tokens: int = 1) -> None:
        part = SimpleNamespace(text=text, token_ids=[9] * tokens, finish_reason=finish, logprobs=None)
        self.outputs.append(
            SimpleNamespace(
                request_id=str(row),
                outputs=[part],
                finished=finish is not None,
                prompt_token_ids=self.prompt,
                num_cached_tokens=2,
            )
        )


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def stepper(model: FakeModel) -> VllmStepper:
    return VllmStepper(cast(VllmModel, model), tool_parser=None, reasoning_parser=None)


def request(text: str = "hi", *, stream: bool = False, tools: bool = False, **generation: Any) -> Request:
    conversation = Conversation(messages=[Message(role=Role.USER, content=text)], tools=[TOOL] if tools else None)
    return Request(conversation, GenerationParams.model_validate(generation), ModelParams(), stream=stream)


def add(stepper: VllmStepper, row: int, request: Request) -> None:
    stepper.add(row, stepper.prepare(request))


def step(stepper: VllmStepper) -> list[tuple[int, RowEvent]]:
    events: list[tuple[int, RowEvent]] = []
    stepper.step(lambda row, event: events.append((row, event)))
    return events


def test_row_is_emitted_as_soon_as_it_is_finished(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request())
    add(stepper, 1, request())
    model.output(1, "Rome.", "stop", tokens=3)
    ((row, done),) = step(stepper)
    assert row == 1
    assert isinstance(done, Completion)
    assert (done.message.content, done.finish_reason) == ("Rome.", FinishReason.STOP)
    assert done.usage is not None
    assert done.usage.to_dict() == {
        "prompt_tokens": 3,
        "completion_tokens": 3,
        "total_tokens": 6,
        "cached_tokens": 2,
    }
    assert stepper.busy
    assert not model.requests[0][1]["stream"]


def test_deltas_are_emitted_only_for_streams(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request(stream=True))
    assert model.requests[0][1]["stream"]
    model.output(0, "Ro")
    model.output(0, "me", "length")
    events = [event for _, event in step(stepper)]
    assert [event.content for event in events if isinstance(event, StreamDelta)] == ["Ro", "me"]
    assert isinstance(events[-1], Completion)
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 2
    assert not stepper.busy


def test_aborted_row_is_aborted_in_vllm_and_emits_nothing(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request())
    stepper.abort(0)
    stepper.abort(0)
    model.output(0, "too late", "abort")
    assert step(stepper) == []
    assert model.aborted == ["0-internal"]
    assert not stepper.busy


def test_row_that_vllm_ends_with_an_error_is_retryable(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request())
    model.output(0, "", "error")
    ((_, error),) = step(stepper)
    assert isinstance(error, RequestError)
    assert error.is_retryable


def test_structured_row_that_ends_with_an_error_is_not_retryable(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request(guided_decoding={"json": {"type": "object"}}))
    model.output(0, "", "error")
    ((_, error),) = step(stepper)
    assert isinstance(error, RequestError)
    assert not error.is_retryable


@pytest.mark.parametrize(
    ("rejected", "message"),
    [
        (request("bad"), "no such role"),
        (request(logit_bias={"x": 1.0}), "token ids"),
        (request(tools=True, tool_choice={"function": {"name": "other"}}), "names none of the tools"),
    ],
)
def test_unsupported_row_fails_without_others(
    stepper: VllmStepper, model: FakeModel, rejected: Request, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        add(stepper, 0, rejected)
    assert not stepper.busy
    assert model.requests == []


def test_prompt_that_fills_the_context_is_rejected(stepper: VllmStepper, model: FakeModel) -> None:
    model.prompt = [1] * 16
    with pytest.raises(RequestError, match=r"the prompt has 16 tokens, the context holds 16"):
        add(stepper, 0, request())
    model.prompt = [1] * 15
    add(stepper, 0, request())
    assert model.requests[0][1]["max_tokens"] == 1


def test_unsupported_tools_and_images_are_rejected(stepper: VllmStepper, model: FakeModel) -> None:
    model.chat_template = "{{ messages }}"
    with pytest.raises(RequestError, match="does not support tools"):
        add(stepper, 0, request(tools=True))
    add(stepper, 0, request(tools=True, tool_choice="none"))
    image = ContentItem(type=Type.IMAGE_BINARY, binary=b"x")
    with_image = request()._replace(conversation=Conversation(messages=[Message(role=Role.USER, content=[image])]))
    with pytest.raises(RequestError, match="reads text only"):
        add(stepper, 1, with_image)


def test_documents_are_rejected_by_a_vision_model(stepper: VllmStepper, model: FakeModel) -> None:
    model.takes_images = True
    paper = ContentItem(type=Type.DOCUMENT_BINARY, binary=b"%PDF-")
    rejected = request()._replace(conversation=Conversation(messages=[Message(role=Role.USER, content=[paper])]))
    with pytest.raises(RequestError, match="reads text and images, and the conversation contains documents"):
        add(stepper, 0, rejected)


def test_tool_calls_are_found_in_the_format_of_this_package(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request(tools=True))
    model.output(0, f"I ask. {CALL}", "stop")
    ((_, done),) = step(stepper)
    assert isinstance(done, Completion)
    assert done.finish_reason == FinishReason.TOOL_CALLS
    assert done.message.content == "I ask. "
    assert (done.message.tool_calls or [])[0].function.name == "weather"


def test_required_call_becomes_a_structural_tag(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request(tools=True, tool_choice="required"))
    add(stepper, 1, request(tools=True))
    assert "structural_tag" in model.requests[0][2]
    assert model.requests[1][2] is None


def test_structure_becomes_a_lark_grammar_if_vllm_accepts_it(stepper: VllmStepper, model: FakeModel) -> None:
    model.accepts_lark = True
    add(stepper, 0, request(guided_decoding={"regex": "a{1,100000}"}))
    add(stepper, 1, request(tools=True, tool_choice="required"))
    grammars = [structure["grammar"] for _, _, structure in model.requests]
    assert grammars[0].endswith("TEXT: /a{1,100000}/")
    assert "tool_call" in grammars[1]


def test_without_parallel_calls_the_end_of_a_call_is_a_stop_string(stepper: VllmStepper, model: FakeModel) -> None:
    add(stepper, 0, request(tools=True, parallel_tool_calls=False, stop_strings=["."]))
    add(stepper, 1, request(tools=True, stop_strings=["."]))
    add(stepper, 2, request(parallel_tool_calls=False))
    assert [sampling["stop"] for _, sampling, _ in model.requests] == [[".", "</tool_call>"], ["."], []]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "streamed", "calls"),
    [(f"I ask. {CALL}", "I ask. ", 1), ("a <tool_call>{broken", "a <tool_call>{broken", 0), ("a < b", "a < b", 0)],
)
def test_stream_holds_back_only_tool_calls(size: int, text: str, streamed: str, calls: int) -> None:
    reader = AnswerReader(own_format=True)
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    deltas = [reader.push(part, [1], [], finished=n == len(parts)) for n, part in enumerate(parts, 1)]
    assert "".join(delta.content for delta in deltas if delta is not None) == streamed
    assert len(reader.message().tool_calls or []) == calls


class Parser:
    """Like a parser of vLLM. The reasoning ends at the first `|`."""

    def parse(self, text: str, *others: Any) -> tuple[str | None, str | None, list[Any]]:
        if "!" in text:
            raise ValueError("no exclamations")
        reasoning, _, content = text.partition("|")
        return reasoning, content or None, [SimpleNamespace(id=None, name="weather", arguments="{}")] * 2

    def parse_delta(self, text: str, *_: Any, **__: Any) -> Any:
        if "!" in text:
            raise ValueError("no exclamations")
        return SimpleNamespace(reasoning=text, content=None) if text.isupper() else None


def test_parser_of_vllm_finds_reasoning_and_calls() -> None:
    message = AnswerReader(Parser).read("I think|", [])
    assert (message.reasoning_content, message.content) == ("I think", None)
    first, second = message.tool_calls or []
    assert first.id.startswith("call_")
    assert first.id != second.id
    assert len(AnswerReader(Parser, one_call=True).read("I think|", []).tool_calls or []) == 1
    reader = AnswerReader(Parser)
    assert reader.push("THINK", [1], [], finished=False) == StreamDelta(reasoning_content="THINK")
    assert reader.push("held", [1], [], finished=True) is None


def test_answer_that_the_parser_fails_on_is_returned_unparsed(caplog: pytest.LogCaptureFixture) -> None:
    reader = AnswerReader(Parser)
    assert reader.push("oh!", [1], [], finished=True) == StreamDelta("oh!")
    assert reader.message().content == "oh!"
    assert "no exclamations" in caplog.text
