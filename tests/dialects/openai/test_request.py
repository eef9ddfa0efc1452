"""OpenAI's chat completions. Requests and answers must equal those of OpenAI's SDK."""

from __future__ import annotations

import base64
import enum
import json
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, Field

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    GenerationParams,
    GuidedDecodingParams,
    InferenceErrorType,
    Message,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RemoteVLLMInferenceEngine,
    RequestError,
    ToolDefinition,
    Usage,
)
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.json_schema.strict import to_strict
from asyncinfer.dialects.openai.guided import guided_fields
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, DocumentForm, Quirks
from asyncinfer.dialects.openai.request import ChatEncoder
from asyncinfer.dialects.openai.response import decode
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_answer_or_request_error, check_that_it_is_retryable, mangled
from tests.fakes import ONE_ATTEMPT
from tests.recorder import SUCCESS, Recorder, Sent

Json = dict[str, Any]
T = TypeVar("T")

PNG = b"\x89PNG\r\n\x1a\n and so on"
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


# Requests


class Fruit(BaseModel):
    """Something sweet."""

    name: str
    grams: int


SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def weather(city: str, days: int = 3) -> str:
    """Tell the weather.

    Args:
        city: Where.
        days: How far ahead.
    """
    return f"{city}: sunny for {days} days"


WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where."},
                "days": {"type": "integer", "description": "How far ahead.", "default": 3},
            },
            "required": ["city"],
        },
    },
}
TIME: Json = {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}, "strict": True}}
# A strict tool as OpenAI requires it.
STRICT_TIME: Json = {
    "type": "function",
    "function": TIME["function"] | {"parameters": {"type": "object", "additionalProperties": False}},
}
STRICT_TOOL: Json = {
    "type": "function",
    "function": {
        "name": "f",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


HELLO = [user("Hello! \u00e9\U0001f600\n\u2028")]
TOOL_TURNS = [
    user("Weather?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
]


class Case(NamedTuple):
    """One request: the arguments of the SDK, and our settings for the same request."""

    sdk: Json
    generation: Json = {}  # noqa: RUF012
    messages: list[Json] = HELLO
    tools: list[Any] | None = None
    ours: list[Json] | None = None
    user_id: str | None = None
    model: str = "gpt-4.1"

    @property
    def conversation(self) -> Conversation:
        return Conversation.from_dict({"messages": self.ours or self.messages, "tools": self.tools})

    def as_sdk(self, limit: str = "max_completion_tokens") -> Json:
        """The arguments of the SDK. It does not send unset parameters. We always send our defaults, 1024 tokens and
        temperature 0, because they are our promise and not the server's defaults.
        """
        return {"model": self.model, "messages": self.messages, limit: 1024, "temperature": 0} | self.sdk


def image(**url: str) -> Json:
    return {"type": "image_url", "image_url": url}


def json_schema(**shape: Any) -> Json:
    return {"response_format": {"type": "json_schema", "json_schema": shape}}


def guided(**by: Any) -> Json:
    return {"guided_decoding": GuidedDecodingParams(**by)}


NAMED = {"type": "function", "function": {"name": "weather"}}
LOOK = {"type": "text", "text": "Look:"}
REMOTE_IMAGE = image(url="https://x.example/cat.png", detail="low")

CASES: dict[str, Case] = {
    "text": Case({}),
    "system": Case({}, messages=[{"role": "system", "content": "Be brief."}, *HELLO]),
    "many turns": Case({}, messages=[*HELLO, {"role": "assistant", "content": "Hi."}, user("Bye.")]),
    "names": Case({}, messages=[user("Hi") | {"name": "ann"}, {"role": "assistant", "content": "", "name": "bo"}]),
    "keys of messages and texts": Case(
        {},
        messages=[
            {"role": "system", "content": [LOOK | {"cache_control": {"type": "ephemeral"}}]},
            *(HELLO[0], HELLO[0]),
            {"role": "assistant", "content": "{", "prefix": True},
        ],
    ),
    "an answer of OpenAI's SDK": Case(
        {},
        messages=[*HELLO, {"role": "assistant", "content": "Hi."}],
        ours=[*HELLO, {"role": "assistant", "content": "Hi.", "refusal": None, "annotations": [], "audio": None, "x": None}],
    ),
    "an image and its keys": Case(
        {},
        messages=[user([REMOTE_IMAGE | {"cache_control": {"type": "ephemeral"}, "uuid": "1"}])],
    ),
    "an image whose label is wrong": Case(
        {},
        messages=[user([image(url=PNG_URL)])],
        ours=[user([image(url=PNG_URL.replace("image/png", "image/jpg"))])],
    ),
    "a strict tool": Case(
        {"tools": [STRICT_TOOL]},
        tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}}}}],
    ),
    "text in parts": Case({}, messages=[user([LOOK, {"type": "text", "text": ""}])]),
    "tools": Case({"tools": [WEATHER, STRICT_TIME]}, tools=[WEATHER, TIME]),
    "a function as a tool": Case({"tools": [WEATHER]}, tools=[weather]),
    "tool choice": Case({"tools": [WEATHER], "tool_choice": "required"}, {"tool_choice": "required"}, tools=[WEATHER]),
    "a tool chosen": Case({"tools": [WEATHER], "tool_choice": NAMED}, {"tool_choice": NAMED}, tools=[WEATHER]),
    "one call at a time": Case(
        {"tools": [WEATHER], "parallel_tool_calls": False}, {"parallel_tool_calls": False}, tools=[WEATHER]
    ),
    "a tool's result": Case({"tools": [WEATHER]}, messages=TOOL_TURNS, tools=[WEATHER]),
    "an image by URL": Case({}, messages=[user([LOOK, REMOTE_IMAGE])]),
    "an image by URL, in our words": Case(
        {},
        messages=[user([LOOK, image(url="https://x.example/cat.png")])],
        ours=[
            user([{"type": "text", "content": "Look:"}, {"type": "image_url", "content": "https://x.example/cat.png"}])
        ],
    ),
    "an image as bytes": Case(
        {}, messages=[user([image(url=PNG_URL)])], ours=[user([{"type": "image_binary", "binary": PNG}])]
    ),
    "a JSON schema": Case(json_schema(name="Response", schema=SCHEMA), guided(json=SCHEMA)),
    "a JSON schema as text": Case(json_schema(name="Response", schema=SCHEMA), guided(json=json.dumps(SCHEMA))),
    "a pydantic model": Case(json_schema(name="Fruit", schema=Fruit.model_json_schema()), guided(json=Fruit)),
    "a strict schema": Case(
        json_schema(name="Response", schema=SCHEMA | {"additionalProperties": False}, strict=True),
        guided(json=SCHEMA, strict=True),
    ),
    "stop": Case({"stop": ["\n", "END"]}, {"stop_strings": ["\n", "END"]}),
    "seed": Case({"seed": 0}, {"seed": 0}),
    "temperature": Case({"temperature": 0.7}, {"temperature": 0.7}),
    "top_p": Case({"top_p": 0.9}, {"top_p": 0.9}),
    "penalties": Case(
        {"frequency_penalty": 0.5, "presence_penalty": -1.5}, {"frequency_penalty": 0.5, "presence_penalty": -1.5}
    ),
    "logit bias": Case({"logit_bias": {"50256": -100, "11": 2.5}}, {"logit_bias": {50256: -100, "11": 2.5}}),
    "token limit": Case({"max_completion_tokens": 7}, {"max_new_tokens": 7}),
    "end user": Case({"safety_identifier": "u-1"}, user_id="u-1"),
}  # fmt: skip


def engine_for(
    case: Case, api: Recorder, kind: type[RemoteInferenceEngine] = OpenAIInferenceEngine
) -> RemoteInferenceEngine:
    return kind(
        ModelParams(model_name=case.model),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=api.url, api_key=KEY, user_id=case.user_id, max_retries=0),
    )


async def sent_by_us(case: Case, api: Recorder, kind: type[RemoteInferenceEngine] = OpenAIInferenceEngine) -> Sent:
    async with engine_for(case, api, kind) as engine:
        await engine.ainfer([case.conversation])
    return api.sent[-1]


async def sent_by_sdk(sdk: AsyncOpenAI, api: Recorder, **request: Any) -> Sent:
    await sdk.chat.completions.create(**request)
    return api.sent[-1]


def assert_same(ours: Sent, theirs: Sent) -> None:
    assert ours.body == theirs.body
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    for header in ("Authorization", "Content-Type"):
        assert ours.headers[header] == theirs.headers[header]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_the_sdk(case: Case, api: Recorder, sdk: AsyncOpenAI) -> None:
    assert_same(await sent_by_us(case, api), await sent_by_sdk(sdk, api, **case.as_sdk()))


@pytest.mark.parametrize("name", ["text", "tools", "a tool's result", "token limit"])
async def test_servers_with_the_older_token_limit_get_max_tokens(name: str, api: Recorder, sdk: AsyncOpenAI) -> None:
    case = CASES[name]
    request = case.as_sdk()
    request["max_tokens"] = request.pop("max_completion_tokens")
    assert_same(await sent_by_us(case, api, RemoteInferenceEngine), await sent_by_sdk(sdk, api, **request))


async def test_image_given_by_path_is_sent_as_bytes(tmp_path: Path, api: Recorder, sdk: AsyncOpenAI) -> None:
    """The SDK does not accept paths. Its users make the data URL themselves."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    case = Case({}, messages=[user([image(url=PNG_URL)])], ours=[user([{"type": "image_path", "content": str(path)}])])
    assert_same(await sent_by_us(case, api), await sent_by_sdk(sdk, api, **case.as_sdk()))


async def test_stream_request_asks_for_usage(api: Recorder, sdk: AsyncOpenAI) -> None:
    case = CASES["system"]
    ended = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    api.streams(f"data: {ended}\n\ndata: [DONE]\n\n".encode())
    async with engine_for(case, api) as engine, engine.astream(case.conversation, ONE_ATTEMPT) as deltas:
        assert [delta.content async for delta in deltas] == [""]
    ours = api.sent[-1]
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    assert_same(ours, await sent_by_sdk(sdk, api, **case.as_sdk(), **streaming))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Stone(BaseModel):
    hard: bool = True


class Plum(BaseModel):
    """A model whose schema strict mode does not accept: defaults, null, and references beside other keywords."""

    name: str = "plum"
    stone: Stone = Field(description="What is inside.")
    colour: Colour = Colour.BLUE
    kernels: list[Stone] = []
    note: str | None = None


class Branch(BaseModel):
    fork: Branch = Field(description="A branch of the branch.")


@pytest.mark.parametrize("model", [Fruit, Stone, Plum])
async def test_strict_schema_of_a_pydantic_model_equals_the_schema_of_the_sdk(
    model: type[BaseModel], api: Recorder, sdk: AsyncOpenAI
) -> None:
    ours = await sent_by_us(Case({}, guided(json=model, strict=True)), api)
    api.answers(SUCCESS | {"choices": []})
    await sdk.chat.completions.parse(model="gpt-4.1", messages=[{"role": "user", "content": ""}], response_format=model)
    assert ours.body["response_format"] == api.sent[-1].body["response_format"]


class Ripe(BaseModel):
    state: Literal["ripe"]


class Green(BaseModel):
    state: Literal["green"]
    days: int = Field(ge=1)


class Harvest(BaseModel):
    fruit: Annotated[Ripe | Green, Field(discriminator="state")]


async def test_strict_schema_of_a_discriminated_union_has_neither_one_of_nor_discriminator(api: Recorder) -> None:
    """The SDK sends both, and OpenAI answers 400."""
    body = (await sent_by_us(Case({}, guided(json=Harvest, strict=True)), api)).body
    fruit = body["response_format"]["json_schema"]["schema"]["properties"]["fruit"]
    assert fruit == {"anyOf": [{"$ref": "#/$defs/Ripe"}, {"$ref": "#/$defs/Green"}], "title": "Fruit"}


def test_strict_schema_can_refer_to_itself() -> None:
    """The SDK recurses without end."""
    with pytest.raises(RecursionError):
        to_strict_json_schema(Branch)
    assert to_strict(Branch.model_json_schema())["$defs"]["Branch"]["required"] == ["fork"]


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"const": {"type": "object"}}, {"const": {"type": "object"}}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": False}),
        ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
        ({"properties": {"default": {"default": None}}}, {"properties": {"default": {}}, "required": ["default"]}),
        ({"$ref": "https://x.example/s", "title": "T"}, {"$ref": "https://x.example/s", "title": "T"}),
    ],
)
def test_strict_changes_only_schemas_and_not_values_that_look_like_schemas(schema: Json, made: Json) -> None:
    given = json.dumps(schema)
    assert to_strict(schema) == made
    assert json.dumps(schema) == given


# Intended differences from a plain call of the SDK


SAMPLING: Json = {
    "top_p": 0.9,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {1: 1},
    "stop_strings": ["END"],
}


@pytest.mark.parametrize("model", ["o3", "o4-mini", "gpt-5-mini", "gpt-6.2-sol", "ft:o4-mini-2025-04-16:us::1"])
async def test_parameters_that_reasoning_models_refuse_are_not_sent(model: str, api: Recorder) -> None:
    """These models refuse sampling parameters. Our defaults must not make requests fail."""
    case = Case({}, {**SAMPLING, "seed": 1}, model=model)
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
    assert api.sent[-1].body == {"model": model, "messages": HELLO, "max_completion_tokens": 1024, "seed": 1}
    assert answered.metadata["dropped_parameters"] == sorted(SAMPLING)


async def test_temperature_is_sent_to_a_reasoning_model_without_reasoning(api: Recorder) -> None:
    generation = {"temperature": 0.5, "top_p": 0.9, "extra_body": {"reasoning_effort": "none"}}
    body = (await sent_by_us(Case({}, generation, model="gpt-5.5"), api)).body
    assert (body["temperature"], body["top_p"], body["reasoning_effort"]) == (0.5, 0.9, "none")


async def test_tool_choice_is_left_out_without_tools(api: Recorder) -> None:
    """OpenAI answers 400 to a `tool_choice` without tools, and rows with and without tools share their settings."""
    body = (await sent_by_us(Case({}, {"tool_choice": "auto", "parallel_tool_calls": False}), api)).body
    assert body.keys() == {"model", "messages", "max_completion_tokens", "temperature"}


async def test_own_fields_of_a_conversation_are_not_sent(api: Recorder) -> None:
    """OpenAI does not accept ids, metadata and the reasoning of earlier answers."""
    before = {"role": "assistant", "content": "Hi.", "reasoning_content": "They greet me.", "id": "m1"}
    case = Case({}, messages=[HELLO[0] | {"id": "m0"}, before])
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer(
            [case.conversation.model_copy(update={"metadata": {"row": 1}, "conversation_id": "c1"})]
        )
    assert api.sent[-1].body["messages"] == [*HELLO, {"role": "assistant", "content": "Hi."}]
    assert (answered.conversation_id, answered.metadata["row"]) == ("c1", 1)


async def test_vllm_parameters_equal_the_request_of_the_sdk(api: Recorder, sdk: AsyncOpenAI) -> None:
    """Users of the SDK send these parameters as `extra_body`."""
    extra = {"min_p": 0.1, "stop_token_ids": [2], "skip_special_tokens": False}
    case = Case({}, {**extra, **guided(regex="[a-z]+")})
    request = case.as_sdk("max_tokens") | {"extra_body": {**extra, "structured_outputs": {"regex": "[a-z]+"}}}
    assert_same(await sent_by_us(case, api, RemoteVLLMInferenceEngine), await sent_by_sdk(sdk, api, **request))


def encoder(
    quirks: Quirks = NO_QUIRKS,
    generation: GenerationParams | None = None,
    model: ModelParams | None = None,
) -> ChatEncoder:
    encoder_settings = EncoderSettings(
        "http://api/v1", model or ModelParams(model_name="m"), generation or GenerationParams()
    )
    return ChatEncoder(encoder_settings, quirks)


def test_vllm_adapter_is_sent_as_the_model() -> None:
    model = ModelParams(model_name="base", adapter_model="lora")
    for quirks, name in ((Quirks(adapter="model"), "lora"), (Quirks(), "base")):
        assert json.loads(encoder(quirks, model=model)(Conversation(messages=[])).body)["model"] == name


@pytest.mark.parametrize("by", [{"regex": "a+"}, {"choice": ["a", "b"]}])
def test_unsupported_settings_raise_config_error(by: Json) -> None:
    with pytest.raises(ConfigError, match=f"guided_decoding.{next(iter(by))}"):
        encoder(generation=GenerationParams(**guided(**by)))


def test_name_of_a_generic_model_has_only_allowed_characters() -> None:
    class Box(BaseModel, Generic[T]):
        held: T

    body = json.loads(encoder(generation=GenerationParams(**guided(json=Box[int])))(Conversation(messages=[])).body)
    assert body["response_format"]["json_schema"]["name"] == "Box_int_"


def test_encoding_does_not_change_its_input() -> None:
    conversation = Conversation.from_dict({"messages": TOOL_TURNS, "tools": [WEATHER]})
    generation = GenerationParams(**guided(json=SCHEMA, strict=True), logit_bias={1: 2})
    before = conversation.to_json(), generation.model_dump_json()
    encode = encoder(generation=generation)
    assert encode(conversation) == encode(conversation)
    assert (conversation.to_json(), generation.model_dump_json()) == before


def test_nulls_within_the_schema_of_a_tool_are_kept() -> None:
    def note(text: str | None = None) -> None:
        """Note."""

    tool = ToolDefinition.from_callable(note)
    body = json.loads(encoder()(Conversation(messages=[], tools=[tool])).body)
    assert body["tools"][0]["function"]["parameters"]["properties"]["text"]["default"] is None


# Responses


def answer(finish: Any = "stop", usage: Any = None, **message: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return SUCCESS | {"choices": [choice]} | ({"usage": usage} if usage is not None else {})


def read(body: Any, status: int = 200) -> Completion:
    return decode(HttpResponse(status, {}, json.dumps(body).encode()))


DETAILED = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 32, "audio_tokens": 0},
}
ANSWERS: dict[str, Json] = {
    "text": answer(content="Hello."),
    "no text": answer(content=""),
    "a tool call": answer("tool_calls", content=None, tool_calls=[CALL]),
    "two tool calls": answer("tool_calls", content=None, tool_calls=[CALL, CALL | {"id": "call_2"}]),
    "text and a tool call": answer("tool_calls", content="Let me see.", tool_calls=[CALL]),
    "a refusal": answer(content=None, refusal="I cannot help with that."),
    "cut off": answer("length", content="Hel"),
    "filtered": answer("content_filter", content=""),
    "detailed usage": answer(content="Hello.", usage=DETAILED),
    "newer keys": answer(content="Hello.", annotations=[], audio=None, refusal=None) | {"service_tier": "default"},
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
async def test_answer_equals_the_answer_that_the_sdk_reads(body: Json, api: Recorder, sdk: AsyncOpenAI) -> None:
    api.answers(body)
    theirs = await sdk.chat.completions.create(model="m", messages=[])
    ours = read(body)
    choice = theirs.choices[0]
    assert ours.message.content == (choice.message.refusal or choice.message.content)
    assert ours.finish_reason == choice.finish_reason
    calls = [call.model_dump(mode="json") for call in ours.message.tool_calls or ()]
    assert calls == [call.to_dict() for call in choice.message.tool_calls or ()]
    assert (ours.usage, theirs.usage) != (None, None)
    assert counts(ours.usage) == counts(theirs.usage)


def counts(usage: Any) -> tuple[int | None, ...]:
    """The counts of a usage, ours or the SDK's."""
    prompt, completion = (getattr(usage, f"{of}_tokens_details", usage) for of in ("prompt", "completion"))
    return (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        getattr(prompt, "cached_tokens", None),
        getattr(completion, "reasoning_tokens", None),
    )


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_is_read_under_both_names(key: str) -> None:
    completion = read(answer(content="4", **{key: "2 and 2"}))
    assert (completion.message.content, completion.message.reasoning_content) == ("4", "2 and 2")


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (DETAILED, Usage(100, 50, 150, cached_tokens=64, reasoning_tokens=32)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4, 7)),
        ({"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 3, "prompt_tokens_details": None}, Usage(3, 0, 3)),
        ({"prompt_tokens": "3", "completion_tokens": 4}, Usage(3, 4, 7)),
        ({"prompt_tokens": True, "completion_tokens": 10**308, "total_tokens": -1}, Usage(0, 0, 0)),
        ([3, 4], None),
        ({}, None),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, Usage(3, 6, 9, reasoning_tokens=2)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}, Usage(9, 1, 10, cached_tokens=8)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 8}, Usage(9, 1, 10, cached_tokens=8)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "reasoning_tokens": 3}, Usage(9, 4, 13, reasoning_tokens=3)),
    ],
    ids=["detailed", "no total", "nulls", "text for a count", "no counts", "a list", "empty", "Google's thoughts", "DeepSeek's cache", "Together's", "SGLang's"],
)  # fmt: skip
def test_usage_is_read(usage: Any, counted: Usage | None) -> None:
    assert read(answer(content="", usage=usage)).usage == counted


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("stop", FinishReason.STOP),
        ("function_call", FinishReason.TOOL_CALLS),
        ("eos", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("bored", FinishReason.UNKNOWN),
        ("", FinishReason.UNKNOWN),
        (None, FinishReason.UNKNOWN),
    ],
)
def test_finish_reason_is_mapped(reason: str | None, meant: FinishReason) -> None:
    assert read(answer(reason, content="")).finish_reason is meant


@pytest.mark.parametrize(("reason", "meant"), [("stop", FinishReason.TOOL_CALLS), ("length", FinishReason.LENGTH)])
def test_finish_reason_of_a_forced_call_is_tool_calls(reason: str, meant: FinishReason) -> None:
    """The API reports `stop` for a forced call. A caller that looks for TOOL_CALLS would miss the call."""
    assert read(answer(reason, content="", tool_calls=[CALL])).finish_reason is meant


def test_missing_finish_reason_is_unknown() -> None:
    body = {"choices": [{"message": {"content": "Hi."}}]}
    assert read(body) == Completion(Message.model_validate({"role": "assistant", "content": "Hi."}))


def test_arguments_can_be_an_object() -> None:
    """Some servers send parsed arguments."""
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    made = read(answer(content=None, tool_calls=[call])).message.tool_calls or []
    assert made[0].function.get_arguments_dict() == {"city": "Oslo"}


NO_ANSWERS: dict[str, Any] = {
    "nothing": {},
    "no choices": {"choices": []},
    "null choices": {"choices": None},
    "a null choice": {"choices": [None]},
    "no message": {"choices": [{"finish_reason": "stop"}]},
    "a null message": {"choices": [{"message": None}]},
    "a call without a name": answer(content=None, tool_calls=[{"id": "a", "function": {"arguments": "{}"}}]),
    "a null error": {"choices": [], "error": None},
    "null": None,
    "a list": [],
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_success_without_an_answer_is_retryable(body: Any) -> None:
    check_that_it_is_retryable(read, body)


@pytest.mark.parametrize(
    ("code", "retryable", "overload"),
    [
        (400, False, False),
        (401, False, False),
        (408, True, False),
        (429, True, True),
        (502, True, False),
        (503, True, True),
        ("server_error", True, False),
        (None, True, False),
    ],
)
def test_error_within_a_success_is_classified_by_its_code(code: Any, retryable: bool, overload: bool) -> None:
    """OpenRouter sends the status of the server behind it as the code of the error."""
    with pytest.raises(RequestError, match="answered with an error: upstream failed") as caught:
        read({"error": {"code": code, "message": "upstream failed"}})
    error = caught.value
    assert (error.error_type, error.status_code) == (InferenceErrorType.API_STATUS, code if isinstance(code, int) else None)  # fmt: skip
    assert (error.is_retryable, error.is_overload) == (retryable, overload)


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(ANSWERS.values()))))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    check_answer_or_request_error(read, body)


@pytest.mark.parametrize("schema", [{"oneOf": [{"type": "object"}]}, {"type": "array"}, {"enum": ["a"]}])
def test_strict_schema_that_is_not_of_one_object_is_refused(schema: Json) -> None:
    guided = GuidedDecodingParams(json=schema, strict=True)
    with pytest.raises(ConfigError, match="only a schema of type object"):
        guided_fields(guided, Quirks(object_root=True))
    guided_fields(guided, Quirks())


def test_schema_that_grows_too_large_names_the_setting_or_the_tool() -> None:
    choices = [{"anyOf": [{"properties": {f"{one}{k}": {}}} for one in "ab"]} for k in range(18)]
    schema: Json = {"type": "object", "allOf": choices}
    guided = GuidedDecodingParams(json=schema, strict=True)
    with pytest.raises(ConfigError, match=r"generation\.guided_decoding\.json: the schema grows"):
        guided_fields(guided, Quirks(strict_subset=True))
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    conversation = Conversation.model_validate({"messages": [{"role": "user", "content": "q"}], "tools": [tool]})
    with pytest.raises(RequestError, match="the parameters of tool 'f': the schema grows"):
        encoder(Quirks(strict_subset=True))(conversation)


def test_messages_with_keys_that_are_not_sent_are_merged() -> None:
    given = [{"role": "user", "content": "a", "cache_control": {"x": 1}}, {"role": "user", "content": "b", "foo": 2}]
    conversation = Conversation.model_validate({"messages": given})
    for sends, count in ((False, 1), (True, 2)):
        request = encoder(Quirks(merges_messages=True, extra_keys=sends))(conversation)
        assert len(json.loads(request.body)["messages"]) == count


def sent_messages(*messages: Json, quirks: Quirks = NO_QUIRKS) -> list[Json]:
    """The messages of a request."""
    conversation = Conversation.model_validate({"messages": [*messages]})
    return json.loads(encoder(quirks)(conversation).body)["messages"]


@pytest.mark.parametrize("form", DocumentForm)
def test_item_has_no_second_source_of_its_data(form: DocumentForm) -> None:
    """Other keys could replace the content of an item, which others have checked."""
    pdf = f"data:application/pdf;base64,{base64.b64encode(b'%PDF-1.7').decode()}"
    others = {"file_data": "x", "file_id": "file_of_others", "file_url": "x", "image_url": "x", "url": "x"}
    content = [
        {"type": "text", "content": "a", "text": "x", **others},
        {"type": "image_url", "content": PNG_URL, **others},
        {"type": "document_url", "content": pdf, **others},
        {"type": "file", "file": {"file_data": pdf, "file_id": "file_of_others"}},
    ]
    [sent] = sent_messages({"role": "user", "content": content}, quirks=Quirks(document_form=form))
    first, *files = sent["content"]
    assert first["text"] == "a"
    assert "file_of_others" not in json.dumps(files)
    assert '"x"' not in json.dumps(files)


def test_only_known_parts_of_the_reasoning_are_sent_back() -> None:
    known = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": None, "index": 0}
    details = [known | {"source": {"url": "x"}}, {"type": "image", "source": {"url": "x"}}, {"text": "Hm."}, "Hm."]
    [sent] = sent_messages(
        {"role": "assistant", "content": "a", "reasoning_details": details},
        quirks=Quirks(passthrough=frozenset({"reasoning_details"})),
    )
    assert sent["reasoning_details"] == [known]
