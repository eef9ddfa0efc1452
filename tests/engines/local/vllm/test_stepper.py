"""How rows go through the vLLM stepper, with a model that needs no vLLM."""

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
from asyncinfer.types.conversation import ContentItem, Conversation, Message, Role, Type
from asyncinfer.types.results import Completion, FinishReason, StreamDelta
from asyncinfer.types.tools import ToolDefinition

TOOL = ToolDefinition.model_validate({"type": "function", "function": {"name": "weather"}})
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'


class Model:
    """Answers what it is told to."""

    slots, context, takes_images, tokenizer, config = 4, 16, False, None, None
    chat_template = "{{ messages }}{{ tools }}"
    takes_lark = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any], Any]] = []
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
        self.asked.append((name, sampling, structure))
        return f"{name}-internal"

    def step(self) -> list[Any]:
        return self.outputs

    def abort(self, internal: str) -> None:
        self.aborted.append(internal)

    def close(self) -> None:
        self.aborted.append("closed")

    def says(self, row: int, text: str, finish: str | None = None, tokens: int = 1) -> None:
        said = SimpleNamespace(text=text, token_ids=[9] * tokens, finish_reason=finish)
        self.outputs.append(
            SimpleNamespace(
                request_id=str(row),
                outputs=[said],
                finished=finish is not None,
                prompt_token_ids=self.prompt,
                num_cached_tokens=2,
            )
        )


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def stepper(model: Model) -> VllmStepper:
    return VllmStepper(cast(VllmModel, model), tool_parser=None, reasoning_parser=None)


def request(text: str = "hi", *, stream: bool = False, tools: bool = False, **generation: Any) -> Request:
    conversation = Conversation(messages=[Message(role=Role.USER, content=text)], tools=[TOOL] if tools else None)
    return Request(conversation, GenerationParams.model_validate(generation), ModelParams(), stream=stream)


def add(stepper: VllmStepper, row: int, asked: Request) -> None:
    stepper.add(row, stepper.prepare(asked))


def step(stepper: VllmStepper) -> list[tuple[int, RowEvent]]:
    events: list[tuple[int, RowEvent]] = []
    stepper.step(lambda row, event: events.append((row, event)))
    return events


def test_row_is_emitted_the_moment_it_is_finished(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request())
    add(stepper, 1, request())
    model.says(1, "Rome.", "stop", tokens=3)
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
    assert not model.asked[0][1]["stream"]


def test_deltas_come_only_to_those_who_stream(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request(stream=True))
    assert model.asked[0][1]["stream"]
    model.says(0, "Ro")
    model.says(0, "me", "length")
    events = [event for _, event in step(stepper)]
    assert [event.content for event in events if isinstance(event, StreamDelta)] == ["Ro", "me"]
    assert isinstance(events[-1], Completion)
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 2
    assert not stepper.busy


def test_aborted_row_leaves_vllm_and_is_not_heard_of_again(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request())
    stepper.abort(0)
    stepper.abort(0)
    model.says(0, "too late", "abort")
    assert step(stepper) == []
    assert model.aborted == ["0-internal"]
    assert not stepper.busy


def test_row_that_vllm_gives_up_is_a_failure_that_may_pass(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request())
    model.says(0, "", "error")
    ((_, error),) = step(stepper)
    assert isinstance(error, RequestError)
    assert error.is_retryable


def test_row_whose_structure_no_token_can_go_on_with_is_not_asked_again(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request(guided_decoding={"json": {"type": "object"}}))
    model.says(0, "", "error")
    ((_, error),) = step(stepper)
    assert isinstance(error, RequestError)
    assert not error.is_retryable


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (request("bad"), "no such role"),
        (request(logit_bias={"x": 1.0}), "token ids"),
        (request(tools=True, tool_choice={"function": {"name": "other"}}), "names none of the tools"),
    ],
)
def test_row_that_cannot_be_asked_fails_alone(stepper: VllmStepper, model: Model, asked: Request, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        add(stepper, 0, asked)
    assert not stepper.busy
    assert model.asked == []


def test_prompt_that_fills_the_context_is_refused(stepper: VllmStepper, model: Model) -> None:
    model.prompt = [1] * 16
    with pytest.raises(RequestError, match=r"the prompt has 16 tokens, the context holds 16"):
        add(stepper, 0, request())
    model.prompt = [1] * 15
    add(stepper, 0, request())
    assert model.asked[0][1]["max_tokens"] == 1


def test_template_and_model_say_what_they_take(stepper: VllmStepper, model: Model) -> None:
    model.chat_template = "{{ messages }}"
    with pytest.raises(RequestError, match="takes no tools"):
        add(stepper, 0, request(tools=True))
    add(stepper, 0, request(tools=True, tool_choice="none"))
    image = ContentItem(type=Type.IMAGE_BINARY, binary=b"x")
    pictured = request()._replace(conversation=Conversation(messages=[Message(role=Role.USER, content=[image])]))
    with pytest.raises(RequestError, match="reads text only"):
        add(stepper, 1, pictured)


def test_documents_are_refused_by_a_model_that_sees_too(stepper: VllmStepper, model: Model) -> None:
    model.takes_images = True
    paper = ContentItem(type=Type.DOCUMENT_BINARY, binary=b"%PDF-")
    asked = request()._replace(conversation=Conversation(messages=[Message(role=Role.USER, content=[paper])]))
    with pytest.raises(RequestError, match="reads text and images, and the conversation contains documents"):
        add(stepper, 0, asked)


def test_tool_calls_are_found_in_our_own_format(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request(tools=True))
    model.says(0, f"I ask. {CALL}", "stop")
    ((_, done),) = step(stepper)
    assert isinstance(done, Completion)
    assert done.finish_reason == FinishReason.TOOL_CALLS
    assert done.message.content == "I ask. "
    assert (done.message.tool_calls or [])[0].function.name == "weather"


def test_forced_call_is_asked_of_vllm(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request(tools=True, tool_choice="required"))
    add(stepper, 1, request(tools=True))
    assert "structural_tag" in model.asked[0][2]
    assert model.asked[1][2] is None


def test_llguidance_gets_its_own_grammar(stepper: VllmStepper, model: Model) -> None:
    model.takes_lark = True
    add(stepper, 0, request(guided_decoding={"regex": "a{1,100000}"}))
    add(stepper, 1, request(tools=True, tool_choice="required"))
    grammars = [asked[2]["grammar"] for asked in model.asked]
    assert grammars[0].endswith("TEXT: /a{1,100000}/")
    assert "tool_call" in grammars[1]


def test_one_call_is_all_where_they_must_not_be_parallel(stepper: VllmStepper, model: Model) -> None:
    add(stepper, 0, request(tools=True, parallel_tool_calls=False, stop_strings=["."]))
    add(stepper, 1, request(tools=True, stop_strings=["."]))
    add(stepper, 2, request(parallel_tool_calls=False))
    assert [asked["stop"] for _, asked, _ in model.asked] == [[".", "</tool_call>"], ["."], []]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "told", "calls"),
    [(f"I ask. {CALL}", "I ask. ", 1), ("a <tool_call>{broken", "a <tool_call>{broken", 0), ("a < b", "a < b", 0)],
)
def test_stream_holds_back_a_call_and_nothing_else(size: int, text: str, told: str, calls: int) -> None:
    reader = AnswerReader(marked=True)
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    deltas = [reader.push(part, [1], [], finished=n == len(parts)) for n, part in enumerate(parts, 1)]
    assert "".join(delta.content for delta in deltas if delta is not None) == told
    assert len(reader.pushed().tool_calls or []) == calls


class Parser:
    """As vLLM's: reasoning goes to the first `|`."""

    def parse(self, text: str, *others: Any) -> tuple[str | None, str | None, list[Any]]:
        if "!" in text:
            raise ValueError("no exclamations")
        reasoning, _, content = text.partition("|")
        return reasoning, content or None, [SimpleNamespace(id=None, name="weather", arguments="{}")] * 2

    def parse_delta(self, text: str, *_: Any, **__: Any) -> Any:
        if "!" in text:
            raise ValueError("no exclamations")
        return SimpleNamespace(reasoning=text, content=None) if text.isupper() else None


def test_vllms_parser_tells_reasoning_and_calls() -> None:
    message = AnswerReader(Parser).read("I think|", [])
    assert (message.reasoning_content, message.content) == ("I think", None)
    first, second = message.tool_calls or []
    assert first.id.startswith("call_")
    assert first.id != second.id
    assert len(AnswerReader(Parser, one_call=True).read("I think|", []).tool_calls or []) == 1
    reader = AnswerReader(Parser)
    assert reader.push("THINK", [1], [], finished=False) == StreamDelta(reasoning_content="THINK")
    assert reader.push("held", [1], [], finished=True) is None


def test_answer_that_vllms_parser_cannot_read_is_given_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    reader = AnswerReader(Parser)
    assert reader.push("oh!", [1], [], finished=True) == StreamDelta("oh!")
    assert reader.pushed().content == "oh!"
    assert "no exclamations" in caplog.text
