"""Requests to the Responses API. They must equal those of OpenAI's SDK."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseCreateParams
from pydantic import BaseModel, TypeAdapter

from asyncinfer import (
    ConfigError,
    Conversation,
    DeepSeekInferenceEngine,
    GenerationParams,
    GuidedDecodingParams,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RemoteVLLMInferenceEngine,
)
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Patterns, Quirks, Schemas
from asyncinfer.dialects.openai.responses.dialect import openai_responses
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from tests.dialects.conftest import KEY
from tests.dialects.openai.responses.test_response import OUTPUTS, REASONING, SEARCH
from tests.recorder import Recorder, Sent

Json = dict[str, Any]
PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParams)

PNG = b"\x89PNG\r\n\x1a\n and so on"
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
PDF = b"%PDF-1.7 and so on"
PDF_URL = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
INCLUDED = ["reasoning.encrypted_content"]


class Fruit(BaseModel):
    """Something sweet."""

    name: str


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return city


PARAMETERS: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}},
    "required": ["city"],
}
WEATHER: Json = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather.",
    "parameters": PARAMETERS,
    "strict": False,
}
STRICT: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
STRICT_TOOL: Json = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "additionalProperties": False},
    "strict": True,
}
HELLO = [user("Hello!")]
CHAT_CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL_TURNS = [
    user("Weather?"),
    {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
    {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
]
SENT_CALL: Json = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'}


class Case(NamedTuple):
    """One request: the arguments of the SDK, and our settings for the same request."""

    sdk: Json = {}  # noqa: RUF012
    generation: Json = {}  # noqa: RUF012
    messages: list[Json] = HELLO
    input: list[Json] | None = None
    tools: list[Any] | None = None
    user_id: str | None = None
    model: str = "gpt-4.1"

    @property
    def conversation(self) -> Conversation:
        return Conversation.from_dict({"messages": self.messages, "tools": self.tools})

    def as_sdk(self) -> Json:
        """The arguments of the SDK. We always send our defaults, 1024 tokens and temperature 0."""
        given = {"model": self.model, "input": self.input or self.messages, "max_output_tokens": 1024, "temperature": 0}
        return {name: value for name, value in ({**given, **STATELESS} | self.sdk).items() if value is not None}


STATELESS: Json = {"store": False, "include": INCLUDED}


def text_format(**shape: Any) -> Json:
    return {"text": {"format": {"type": "json_schema", **shape}}}


def image(**fields: Any) -> Json:
    return {"type": "input_image", "detail": "auto", **fields}


LOOK: Json = {"type": "text", "text": "Look:"}
SENT_LOOK: Json = {"type": "input_text", "text": "Look:"}
NAMED: Json = {"type": "function", "function": {"name": "weather"}}
WEB: Json = {"type": "web_search"}

CASES: dict[str, Case] = {
    "text": Case(),
    "system": Case(messages=[{"role": "system", "content": "Be brief."}, *HELLO]),
    "many turns": Case(messages=[*HELLO, {"role": "assistant", "content": "Hi."}, user("Bye.")]),
    "parts": Case(
        messages=[user([LOOK, {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}])],
        input=[user([SENT_LOOK, image(image_url="https://x.example/a.png", detail="low")])],
    ),
    "an image as bytes": Case(
        messages=[user([{"type": "image_binary", "binary": PNG}])], input=[user([image(image_url=PNG_URL)])]
    ),
    "a PDF document": Case(
        messages=[user([{"type": "document_binary", "binary": PDF}])],
        input=[user([{"type": "input_file", "filename": "document.pdf", "file_data": PDF_URL}])],
    ),
    "a PDF document by URL": Case(
        messages=[user([{"type": "document_url", "content": "https://x.example/a.pdf"}])],
        input=[user([{"type": "input_file", "file_url": "https://x.example/a.pdf"}])],
    ),
    "tools": Case({"tools": [WEATHER, STRICT_TOOL]}, tools=[weather, STRICT]),
    "tool choice": Case({"tools": [WEATHER], "tool_choice": "required"}, {"tool_choice": "required"}, tools=[weather]),
    "a tool chosen": Case(
        {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}}, {"tool_choice": NAMED}, tools=[weather]
    ),
    "one call at a time": Case(
        {"tools": [WEATHER], "parallel_tool_calls": False}, {"parallel_tool_calls": False}, tools=[weather]
    ),
    "a tool's result": Case(
        {"tools": [WEATHER]},
        messages=TOOL_TURNS,
        input=[user("Weather?"), SENT_CALL, {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
        tools=[weather],
    ),
    "an image as a tool's result": Case(
        messages=[*TOOL_TURNS[:2], {"role": "tool", "content": [LOOK, {"type": "image_binary", "binary": PNG}], "tool_call_id": "call_1"}],
        input=[
            user("Weather?"),
            SENT_CALL,
            {"type": "function_call_output", "call_id": "call_1", "output": [SENT_LOOK, image(image_url=PNG_URL)]},
        ],
    ),
    "a built-in tool": Case({"tools": [WEB]}, {"extra_body": {"tools": [WEB]}}),
    "a function and a built-in tool": Case({"tools": [WEATHER, WEB]}, {"extra_body": {"tools": [WEB]}}, tools=[weather]),
    "a JSON schema": Case(
        text_format(name="Response", schema=SCHEMA), {"guided_decoding": GuidedDecodingParams(json=SCHEMA)}
    ),
    "a pydantic model": Case(
        text_format(name="Fruit", schema=Fruit.model_json_schema()), {"guided_decoding": GuidedDecodingParams(json=Fruit)}
    ),
    "a strict schema": Case(
        text_format(name="Response", schema=SCHEMA | {"additionalProperties": False}, strict=True),
        {"guided_decoding": GuidedDecodingParams(json=SCHEMA, strict=True)},
    ),
    "a schema and another field of `text`": Case(
        {"text": {"verbosity": "low", **text_format(name="Response", schema=SCHEMA)["text"]}},
        {"guided_decoding": GuidedDecodingParams(json=SCHEMA), "extra_body": {"text": {"verbosity": "low"}}},
    ),
    "top_p": Case({"top_p": 0.9}, {"top_p": 0.9}),
    "token limit": Case({"max_output_tokens": 7}, {"max_new_tokens": 7}),
    "log probabilities": Case(
        {"include": [*INCLUDED, "message.output_text.logprobs"], "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}
    ),
    "log probabilities of the most likely tokens": Case(
        {"include": [*INCLUDED, "message.output_text.logprobs"], "top_logprobs": 2}, {"top_logprobs": 2}
    ),
    "log probabilities of a model that reasons": Case({"temperature": None}, {"top_logprobs": 2}, model="o3"),
    "end user": Case({"safety_identifier": "u-1"}, user_id="u-1"),
    "a stored response": Case({"store": True, "include": None}, {"extra_body": {"store": True, "include": None}}),
    "metadata": Case({"metadata": {"a": "b"}}, {"extra_body": {"metadata": {"a": "b"}}}),
    "a reasoning model": Case(
        {"reasoning": {"effort": "high"}, "temperature": None},
        {"temperature": 0.5, "extra_body": {"reasoning": {"effort": "high"}}},
        model="gpt-5",
    ),
    "a reasoning model that does not reason": Case(
        {"reasoning": {"effort": "none"}, "temperature": 0.5},
        {"temperature": 0.5, "extra_body": {"reasoning": {"effort": "none"}}},
        model="gpt-5.1",
    ),
    "fields in the form of chat completions": Case(
        {"reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "low"}, "temperature": None},
        {"extra_body": {"reasoning_effort": "high", "reasoning": {"summary": "auto"}, "verbosity": "low"}},
        model="o3",
    ),
}  # fmt: skip


def engine_for(
    case: Case, api: Recorder, kind: type[RemoteInferenceEngine] = OpenAIInferenceEngine
) -> RemoteInferenceEngine:
    return kind(
        ModelParams(model_name=case.model),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=api.url, api_key=KEY, user_id=case.user_id, max_retries=0, api="responses"),
    )


async def sent_by_us(case: Case, api: Recorder, kind: type[RemoteInferenceEngine] = OpenAIInferenceEngine) -> Sent:
    api.answers(OUTPUTS["a text"])
    async with engine_for(case, api, kind) as engine:
        await engine.agenerate(case.conversation)
    return api.sent[-1]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_the_sdk(case: Case, api: Recorder, sdk: AsyncOpenAI) -> None:
    ours = await sent_by_us(case, api)
    await sdk.responses.create(**case.as_sdk())
    theirs = api.sent[-1]
    assert ours.body == theirs.body
    assert (ours.method, ours.path) == (theirs.method, theirs.path) == ("POST", "/v1/responses")
    PARAMS.validate_python(ours.body)


async def test_stream_is_requested(api: Recorder) -> None:
    dialect = openai_responses()
    encode = dialect.encoder_for(
        EncoderSettings("http://h/v1/responses", ModelParams(model_name="m"), GenerationParams())
    )
    assert b'"stream":true' in encode(Case().conversation, stream=True).body


async def test_answer_is_sent_back_with_its_reasoning(api: Recorder) -> None:
    api.answers(OUTPUTS["reasoning, a text and calls"])
    async with engine_for(Case(), api) as engine:
        chat = await engine.agenerate(Conversation.from_dict({"messages": HELLO, "tools": [weather]}))
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in chat.messages[-1].tool_calls or ()
        ]
        messages = [*chat.to_dict()["messages"], *results]
        await engine.agenerate(Conversation.from_dict({"messages": messages, "tools": [weather]}))
    sent = api.sent[-1].body["input"]
    assert [item.get("type", item.get("role")) for item in sent] == [
        "user",
        "reasoning",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]
    assert sent[1] == REASONING
    PARAMS.validate_python(api.sent[-1].body)


async def test_items_of_built_in_tools_are_kept_and_sent_back(api: Recorder) -> None:
    api.answers(OUTPUTS["a comment, a search and an answer"])
    async with engine_for(Case(), api) as engine:
        chat = await engine.agenerate("Hello!")
        assert chat.text == "Wait.4"
        await engine.agenerate([*chat.messages, *Conversation.from_dict({"messages": [user("Bye.")]}).messages])
    sent = api.sent[-1].body["input"]
    assert sent[1:4] == OUTPUTS["a comment, a search and an answer"]["output"]
    assert SEARCH in sent


async def test_reasoning_is_not_sent_to_chat_completions(api: Recorder) -> None:
    message = {"role": "assistant", "content": "Hi.", "reasoning_items": [REASONING], "phase": "final_answer"}
    remote = RemoteParams(api_url=api.url, api_key=KEY)
    async with OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
        await engine.agenerate(Conversation.from_dict({"messages": [*HELLO, message, *HELLO]}))
    assert api.sent[-1].body["messages"][1] == {"role": "assistant", "content": "Hi."}


def encoded_by(quirks: Quirks, responses: ResponsesQuirks, generation: GenerationParams) -> Any:
    """The encoder of a server with these differences."""
    settings = EncoderSettings("http://h/v1/responses", ModelParams(model_name="m"), generation)
    return openai_responses(quirks, responses).encoder_for(settings)


DROPPED = {"seed": 1, "stop_strings": ["a"], "temperature": 0.5, "frequency_penalty": 0.0}


@pytest.mark.parametrize(
    ("model", "dropped"),
    [("gpt-4.1", ["seed", "stop_strings"]), ("o3-pro", ["frequency_penalty", "seed", "stop_strings", "temperature"])],
)
async def test_parameters_that_the_api_or_the_model_does_not_have_are_dropped(
    model: str, dropped: list[str], api: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers(OUTPUTS["a text"])
    async with engine_for(Case(generation=DROPPED, model=model), api) as engine:
        [answered] = await engine.ainfer(["Hello?"])
    assert answered.metadata["dropped_parameters"] == dropped
    assert f"does not support {', '.join(dropped)}: ignored. It supports: extra_body" in caplog.text
    assert api.sent[-1].body.keys().isdisjoint(["seed", "stop", "frequency_penalty"])


async def test_vllm_gets_its_own_parameters(api: Recorder) -> None:
    generation = {"seed": 1, "stop_strings": ["a"], "guided_decoding": GuidedDecodingParams(choice=["a", "b"])}
    sent = await sent_by_us(Case(generation=generation), api, RemoteVLLMInferenceEngine)
    assert {key: sent.body[key] for key in ("seed", "stop", "structured_outputs")} == {
        "seed": 1,
        "stop": ["a"],
        "structured_outputs": {"choice": ["a", "b"]},
    }
    assert "include" not in sent.body


async def test_vllm_gets_reasoning_as_text_and_roles_that_alternate(api: Recorder) -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}
    sent = await sent_by_us(Case(messages=[*HELLO, *HELLO, answer, *HELLO]), api, RemoteVLLMInferenceEngine)
    first, reasoning, text, _ = sent.body["input"]
    assert first["content"] == [{"type": "input_text", "text": "Hello!"}] * 2
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "2 + 2"}]
    assert text == {"role": "assistant", "content": "4"}


@pytest.mark.parametrize("patterns", [Patterns.FIREWORKS, Patterns.TOGETHER, Patterns.NONE])
def test_choices_are_refused_where_no_field_is_documented(patterns: Patterns) -> None:
    guided = GenerationParams(guided_decoding=GuidedDecodingParams(choice=["a"]))
    with pytest.raises(ConfigError, match="guided_decoding"):
        encoded_by(Quirks(patterns=patterns), ResponsesQuirks(), guided)


async def test_parameters_that_only_this_api_has_are_not_reported(api: Recorder) -> None:
    guided = {"guided_decoding": GuidedDecodingParams(json=SCHEMA)}
    api.answers(OUTPUTS["a text"])
    async with engine_for(Case(generation=guided), api, DeepSeekInferenceEngine) as engine:
        [answered] = await engine.ainfer(["Hello?"])
    assert "dropped_parameters" not in answered.metadata
    assert api.sent[-1].body["text"]["format"]["schema"] == SCHEMA


def test_schemas_may_be_supported_only_by_this_api() -> None:
    guided = GenerationParams(guided_decoding=GuidedDecodingParams(json=SCHEMA))
    assert encoded_by(Quirks(schemas=Schemas.NONE), ResponsesQuirks(schemas=Schemas.NAMED), guided)
    assert "guided_decoding" not in openai_responses(Quirks(schemas=Schemas.NONE)).supported


def test_response_in_the_background_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"extra_body\.background"):
        encoded_by(NO_QUIRKS, ResponsesQuirks(), GenerationParams(extra_body={"background": True}))


async def test_keys_without_a_field_are_reported(api: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    await sent_by_us(Case(messages=[user("Hi.") | {"name": "ann", "cache_control": {"type": "ephemeral"}}]), api)
    assert "'name' of a message is not sent" in caplog.text
    assert "'cache_control' of a message is not sent" in caplog.text
    assert api.sent[-1].body["input"] == [user("Hi.")]


TOOLS: list[Json] = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("a", "b")]
NAMED_A: Json = {"type": "function", "function": {"name": "a"}}
NO_TOOL_CHOICE = Quirks(unsupported=frozenset({"tool_choice"}))
ONLY_WORDS = Quirks(named_tool_choice=False)


@pytest.mark.parametrize(
    ("quirks", "choice", "sent", "offered"),
    [
        (ONLY_WORDS, NAMED_A, "required", ["a"]),
        (ONLY_WORDS, "auto", "auto", ["a", "b", "web_search"]),
        (NO_TOOL_CHOICE, NAMED_A, None, ["a"]),
        (NO_TOOL_CHOICE, "required", None, ["a", "b", "web_search"]),
        (NO_TOOL_CHOICE, "none", None, []),
        (NO_QUIRKS, NAMED_A, {"type": "function", "name": "a"}, ["a", "b", "web_search"]),
    ],
)
def test_offered_tools_replace_a_choice_that_the_server_does_not_support(
    quirks: Quirks, choice: str | Json, sent: Any, offered: list[str]
) -> None:
    generation = GenerationParams(tool_choice=choice, extra_body={"tools": [{"type": "web_search"}]})
    conversation = Conversation.from_dict({"messages": HELLO, "tools": TOOLS})
    body = json.loads(encoded_by(quirks, ResponsesQuirks(), generation)(conversation).body)
    assert body.get("tool_choice") == sent
    assert [tool.get("name", tool["type"]) for tool in body.get("tools", [])] == offered
