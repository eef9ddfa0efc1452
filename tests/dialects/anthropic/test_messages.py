"""Anthropic's Messages API. Requests and answers must equal those of Anthropic's SDK."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from anthropic import APIStatusError, AsyncAnthropic, omit
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from asyncinfer import (
    AnthropicInferenceEngine,
    ConfigError,
    Conversation,
    FinishReason,
    GenerationParams,
    GuidedDecodingParams,
    InferenceErrorType,
    Message,
    ModelParams,
    RemoteParams,
    RequestError,
    Role,
    Usage,
)
from asyncinfer.dialects.anthropic.messages import MessagesEncoder, decode
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_answer_or_request_error, check_that_it_is_retryable, mangled
from tests.dialects.openai.test_request import CALL, HELLO, PNG, PNG_URL, SCHEMA, TIME, WEATHER, guided, user, weather
from tests.fakes import ONE_ATTEMPT
from tests.recorder import MESSAGE, Recorder, Sent

Json = dict[str, Any]

PDF = b"%PDF-1.7 and so on"
PNG_64, PDF_64 = (base64.b64encode(data).decode() for data in (PNG, PDF))
EPHEMERAL: Json = {"type": "ephemeral"}
HOUR: Json = {"type": "ephemeral", "ttl": "1h"}


# Requests


def assistant(content: Any, **more: Any) -> Json:
    return {"role": "assistant", "content": content, **more}


def system(content: Any, **more: Any) -> Json:
    return {"role": "system", "content": content, **more}


def tool(content: Any, call: str = "call_1", **more: Any) -> Json:
    return {"role": "tool", "content": content, "tool_call_id": call, **more}


def text(of: str, **more: Any) -> Json:
    return {"type": "text", "text": of, **more}


def of_base64(kind: str, media_type: str, data: str, **more: Any) -> Json:
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}, **more}


def of_url(kind: str, url: str, **more: Any) -> Json:
    return {"type": kind, "source": {"type": "url", "url": url}, **more}


def result(content: Any, call: str = "call_1", **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call, "content": content, **more}


def as_sdk_tool(name: str, description: str | None, schema: Json, **more: Any) -> Json:
    described = {"description": description} if description else {}
    return {"name": name, "input_schema": schema, **described, **more}


SDK_WEATHER = as_sdk_tool("weather", "Tell the weather.", WEATHER["function"]["parameters"])
SDK_TIME = as_sdk_tool("time", None, {"type": "object", "additionalProperties": False}, strict=True)
USE: Json = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}}
ID_OF_OTHER = "functions_f_0_d6bdd4de328a22ed"
UNION: Json = {
    "anyOf": [
        {"type": "object", "properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
        {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]},
    ]
}
EITHER: Json = {
    "type": "object",
    "properties": {"kind": {"anyOf": [{"const": "a"}, {"const": "b"}]}, "n": {"type": "integer"}},
    "required": ["kind"],
}
OTHER = CALL | {"id": "call_2"}
THOUGHT: Json = {"type": "thinking", "thinking": "It rains there.", "signature": "c2ln"}
HIDDEN: Json = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
THINKING: Json = {"type": "enabled", "budget_tokens": 1024}
WITHOUT_EXTRA = SCHEMA | {"additionalProperties": False}
NAMED = {"type": "function", "function": {"name": "weather"}}
CAT = "https://x.example/cat.png"
PAPER = "https://x.example/paper.pdf"
OLDER, LATEST = "claude-sonnet-4-6", "claude-opus-5-5"


class Case(NamedTuple):
    """One request: the arguments of the SDK, and our messages and settings. The SDK takes temperatures as extra fields."""

    sdk: Json
    messages: list[Json] = HELLO
    generation: Json = {}  # noqa: RUF012
    tools: list[Any] | None = None
    extra: Json = {"temperature": 0}  # noqa: RUF012
    user_id: str | None = None
    model: str = OLDER

    @property
    def conversation(self) -> Conversation:
        return Conversation.from_dict({"messages": self.messages, "tools": self.tools})

    def as_sdk(self) -> Json:
        """The arguments of the SDK. We always send a temperature if the model accepts it, and request caching.

        These are our promises and not the API's defaults.
        """
        fields = {"model": self.model, "messages": HELLO, "max_tokens": 1024, "cache_control": EPHEMERAL}
        return fields | self.sdk | {"extra_body": self.extra}


def with_messages(*messages: Json, **more: Any) -> Json:
    return {"messages": list(messages), **more}


def shaped(schema: Json, **more: Any) -> Json:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}, **more}}


def choosing(choice: Json) -> Json:
    return {"tools": [SDK_WEATHER], "tool_choice": choice}


def extra(**body: Any) -> Json:
    return {"extra_body": body}


HI = user("Hi.")
CASES: dict[str, Case] = {
    "text": Case({}),
    "system": Case({"system": "Be brief."}, [system("Be brief."), *HELLO]),
    "several systems": Case({"system": "Be brief.\n\nBe kind."}, [system("Be brief."), *HELLO, system("Be kind.")]),
    "a system in parts": Case({"system": "Be brief.\n\nBe kind."}, [system([text("Be brief."), text("Be kind.")]), *HELLO]),
    "a cached system": Case({"system": [text("A"), text("B", cache_control=HOUR)]}, [system("A"), system("B", cache_control=HOUR), *HELLO]),
    "an empty system": Case({}, [system(""), *HELLO]),
    "many turns": Case(with_messages(HI, assistant("Hello."), user("Bye.")), [HI, assistant("Hello."), user("Bye.")]),
    "two messages of one role": Case(with_messages(user([text("Hi."), text("Oslo?")]), assistant([text("A"), text("B")]), HI), [HI, user("Oslo?"), assistant("A"), assistant("B"), HI]),
    "an answer that begins with a given text": Case(with_messages(HI, assistant("Dear")), [HI, assistant("Dear")]),
    "text in parts": Case(with_messages(user([text("Look:"), text(" there")])), [user([text("Look:"), text(""), text(" there")])]),
    "an answer that was empty": Case(with_messages(user([text("Hi."), text("Well?")])), [HI, assistant(""), user("Well?")]),
    "blank texts": Case(
        with_messages(user([text("a"), text("b")]), assistant([text("c", cache_control=HOUR), USE]), user([result(""), text("d")])),
        [
            *(user("a"), assistant(" \n"), user("b"), assistant([text("c", cache_control=HOUR), text("\n")], tool_calls=[CALL])),
            *(tool(" "), user([text(" "), text("d")])),
        ],
    ),
    "a blank text beside a call": Case(with_messages(HI, assistant([USE]), user([result("sunny")])), [HI, assistant("\n\n", tool_calls=[CALL]), tool("sunny")]),
    "a blank question between answers": Case(with_messages(HI, assistant([text("a"), text("b")]), HI), [HI, assistant("a"), user(" "), assistant("b"), HI]),
    "a blank system": Case({}, [system(" \n"), *HELLO]),
    "a cached message that ends with a blank text": Case(with_messages(user([text("Hi.", cache_control=HOUR)]), cache_control=omit), [user([text("Hi."), text(" ")]) | {"cache_control": HOUR}]),
    "an answer to continue that ends with white space": Case(with_messages(HI, assistant("Dear")), [HI, assistant("Dear \n")]),
    "blank texts in a result": Case(
        with_messages(HI, assistant([USE]), user([result([text("sunny")])])),
        [HI, assistant(None, tool_calls=[CALL]), tool([text("sunny"), text("\n")])],
    ),
    "an image whose label is wrong": Case(
        with_messages(user([of_base64("image", "image/png", PNG_64)])), [user([{"type": "image_url", "content": f"data:image/jpg;base64,{PNG_64}"}])]
    ),
    "keys that only OpenAI accepts": Case(with_messages(HI), [HI | {"name": "ann", "id": "m1"}]),
    "an earlier answer's reasoning": Case(with_messages(HI, assistant("A"), HI), [HI, assistant("A", reasoning_content="Hm."), HI]),
    "tools": Case({"tools": [SDK_WEATHER, SDK_TIME]}, tools=[WEATHER, TIME]),
    "a function as a tool": Case({"tools": [SDK_WEATHER]}, tools=[weather]),
    "a tool without arguments": Case({"tools": [as_sdk_tool("now", None, {"type": "object", "properties": {}})]}, tools=[{"function": {"name": "now"}}]),
    "a cached tool": Case({"tools": [SDK_WEATHER | {"cache_control": HOUR}]}, tools=[WEATHER | {"cache_control": HOUR, "x": 1}]),
    "tool choice: auto": Case(choosing({"type": "auto"}), generation={"tool_choice": "auto"}, tools=[WEATHER]),
    "tool choice: required": Case(choosing({"type": "any"}), generation={"tool_choice": "required"}, tools=[WEATHER]),
    "tool choice: none": Case(choosing({"type": "none"}), generation={"tool_choice": "none", "parallel_tool_calls": False}, tools=[WEATHER]),
    "a tool chosen": Case(choosing({"type": "tool", "name": "weather"}), generation={"tool_choice": NAMED}, tools=[WEATHER]),
    "one call at a time": Case(choosing({"type": "auto", "disable_parallel_tool_use": True}), generation={"parallel_tool_calls": False}, tools=[WEATHER]),
    "one call, required": Case(choosing({"type": "any", "disable_parallel_tool_use": True}), generation={"tool_choice": "required", "parallel_tool_calls": False}, tools=[WEATHER]),
    "a tool's result": Case(with_messages(HI, assistant([USE]), user([result("sunny")])), [HI, assistant(None, tool_calls=[CALL]), tool("sunny")]),
    "two results and a word": Case(
        with_messages(HI, assistant([text("Wait."), USE, USE | {"id": "call_2"}]), user([result("sunny"), result("rain", "call_2"), text("So?")])),
        [HI, assistant("Wait.", tool_calls=[CALL, OTHER]), tool("sunny"), tool("rain", "call_2"), user("So?")],
    ),
    "results of other kinds": Case(
        with_messages(HI, assistant([USE]), user([result([of_base64("image", "image/png", PNG_64)]), result("", "call_2", is_error=True, cache_control=HOUR)]), cache_control=omit),
        [HI, assistant("", tool_calls=[CALL]), tool([{"type": "image_binary", "binary": PNG}]), tool("", "call_2", is_error=True, cache_control=HOUR)],
    ),
    "a call without arguments": Case(with_messages(HI, assistant([USE | {"input": {}}])), [HI, assistant(None, tool_calls=[CALL | {"function": {"name": "weather", "arguments": ""}}])]),
    "an image by URL": Case(with_messages(user([text("Look:"), of_url("image", CAT)])), [user([text("Look:"), {"type": "image_url", "image_url": {"url": CAT, "detail": "low"}}])]),
    "an image as bytes": Case(with_messages(user([of_base64("image", "image/png", PNG_64)])), [user([{"type": "image_binary", "binary": PNG}])]),
    "an image in its URL": Case(with_messages(user([of_base64("image", "image/png", PNG_64)])), [user([{"type": "image_url", "content": PNG_URL}])]),
    "a cached image": Case(with_messages(user([of_url("image", CAT, cache_control=HOUR)]), cache_control=omit), [user([{"type": "image_url", "content": CAT, "cache_control": HOUR}])]),
    "a document as bytes": Case(with_messages(user([of_base64("document", "application/pdf", PDF_64)])), [user([{"type": "document_binary", "binary": PDF}])]),
    "a document by URL": Case(with_messages(user([of_url("document", PAPER, title="T", citations={"enabled": True})])), [user([{"type": "document_url", "content": PAPER, "title": "T", "citations": {"enabled": True}}])]),
    "a document as OpenAI's file": Case(with_messages(user([of_base64("document", "application/pdf", PDF_64)])), [user([{"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF_64}"}}])]),
    "a cached message": Case(with_messages(user([text("Hi.", cache_control=HOUR)]), cache_control=omit), [HI | {"cache_control": HOUR}]),
    "four cached parts": Case(
        with_messages(user([text(str(n), cache_control=EPHEMERAL) for n in range(4)]), assistant("A"), HI, cache_control=omit),
        [user([text(str(n), cache_control=EPHEMERAL) for n in range(4)]), assistant("A"), HI],
    ),
    "a call with an id of another server": Case(
        with_messages(HI, assistant([USE | {"id": ID_OF_OTHER}]), user([result("sunny", ID_OF_OTHER)])),
        [HI, assistant(None, tool_calls=[CALL | {"id": "functions.f:0"}]), tool("sunny", "functions.f:0")],
    ),
    "a tool with a union": Case({"tools": [as_sdk_tool("f", None, EITHER)]}, tools=[{"function": {"name": "f", "parameters": UNION}}]),
    "thinking sent back": Case(
        with_messages(HI, assistant([THOUGHT, HIDDEN, text("A"), USE]), user([result("sunny")])),
        [HI, assistant("A", reasoning_content="It rains there.", thinking_blocks=[THOUGHT, HIDDEN], tool_calls=[CALL]), tool("sunny")],
    ),
    "thinking": Case({"thinking": THINKING, "max_tokens": 2048}, generation={"max_new_tokens": 2048, **extra(thinking=THINKING)}, extra={}),
    "thinking as it likes": Case({"thinking": {"type": "adaptive"}}, generation=extra(thinking={"type": "adaptive"}), extra={}),
    "thinking at the one temperature": Case({"thinking": THINKING}, generation={"temperature": 1.0, **extra(thinking=THINKING)}, extra={"temperature": 1.0}),
    "thinking within top_p": Case({"thinking": THINKING}, generation={"top_p": 0.95, **extra(thinking=THINKING)}, extra={"top_p": 0.95}),
    "thinking off": Case({"thinking": {"type": "disabled"}}, generation=extra(thinking={"type": "disabled"})),
    "a JSON schema": Case(shaped(WITHOUT_EXTRA), generation=guided(json=SCHEMA)),
    "a JSON schema as text, strictly": Case(shaped(WITHOUT_EXTRA), generation=guided(json=json.dumps(SCHEMA), strict=True)),
    "a schema and an effort": Case(shaped(WITHOUT_EXTRA, effort="low"), generation={**guided(json=SCHEMA), **extra(output_config={"effort": "low"})}),
    "stop": Case({"stop_sequences": ["\n\nQ:", "END"]}, generation={"stop_strings": ["\n\nQ:", "END"]}),
    "token limit": Case({"max_tokens": 7}, generation={"max_new_tokens": 7}),
    "temperature": Case({}, generation={"temperature": 0.7}, extra={"temperature": 0.7}),
    "top_p": Case({}, generation={"top_p": 0.9}, extra={"top_p": 0.9}),
    "both, of a model that is no Claude": Case({}, generation={"top_p": 0.9, "temperature": 0.5}, extra={"top_p": 0.9, "temperature": 0.5}, model="qwen3"),
    "a model that samples as it likes": Case({}, model=LATEST, extra={}),
    "end user": Case({"metadata": {"user_id": "u-1"}}, user_id="u-1"),
    "fields of one's own": Case({"service_tier": "auto"}, generation=extra(service_tier="auto", top_k=5), extra={"temperature": 0, "top_k": 5}),
    "a longer cache": Case({"cache_control": HOUR}, generation=extra(cache_control=HOUR)),
}  # fmt: skip


def engine_for(case: Case, api: Recorder) -> AnthropicInferenceEngine:
    return AnthropicInferenceEngine(
        ModelParams(model_name=case.model),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=api.url, api_key=KEY, user_id=case.user_id, max_retries=0),
    )


async def sent_by_us(case: Case, api: Recorder) -> Sent:
    async with engine_for(case, api) as engine:
        await engine.ainfer([case.conversation])
    return api.sent[-1]


def assert_same(ours: Sent, theirs: Sent) -> None:
    """Check for the same body, URL and API version.

    We send the key in `x-api-key`, which all servers with this API accept. The SDK sends it in `Authorization` since
    2.0. Anthropic accepts both.
    """
    assert ours.body == theirs.body
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    for header in ("anthropic-version", "Content-Type"):
        assert ours.headers[header] == theirs.headers[header]
    assert f"Bearer {ours.headers['x-api-key']}" == theirs.headers["Authorization"]
    assert "Authorization" not in ours.headers


@pytest.mark.filterwarnings("ignore:Using Claude with:UserWarning")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_the_sdk(case: Case, api: Recorder, claude: AsyncAnthropic) -> None:
    ours = await sent_by_us(case, api)
    await claude.messages.create(**case.as_sdk())
    assert_same(ours, api.sent[-1])


async def test_stream_request_equals_the_request_of_the_sdk(api: Recorder, claude: AsyncAnthropic) -> None:
    case = CASES["system"]
    async with engine_for(case, api) as engine, engine.astream(case.conversation, ONE_ATTEMPT) as deltas:
        assert [delta.content async for delta in deltas] == ["Hello."]
    ours = api.sent[-1]
    await claude.messages.create(**case.as_sdk(), stream=True)
    assert_same(ours, api.sent[-1])


async def test_files_given_by_path_are_sent_as_bytes(tmp_path: Path, api: Recorder, claude: AsyncAnthropic) -> None:
    image, document = tmp_path / "cat.png", tmp_path / "paper.pdf"
    image.write_bytes(PNG)
    document.write_bytes(PDF)
    paths = [{"type": "image_path", "content": str(image)}, {"type": "document_path", "content": str(document)}]
    blocks = [of_base64("image", "image/png", PNG_64), of_base64("document", "application/pdf", PDF_64)]
    case = Case(with_messages(user(blocks)), [user(paths)])
    ours = await sent_by_us(case, api)
    await claude.messages.create(**case.as_sdk())
    assert_same(ours, api.sent[-1])


class Stone(BaseModel):
    hard: bool = True


class Plum(BaseModel):
    """A model with all constraints that the API does not enforce: lengths, ranges, patterns, defaults, formats."""

    name: str = Field("plum", min_length=2, pattern="^p", title="The name")
    grams: int = Field(description="Its weight.", ge=1, le=100)
    colour: Literal["red", "blue"] = "red"
    kind: Literal["fruit"]
    stone: Stone
    others: list[Stone] = Field(min_length=1, max_length=3)
    day: str = Field(json_schema_extra={"format": "date"})
    secret: str = Field(json_schema_extra={"format": "password"})
    note: str | None = None


class Branch(BaseModel):
    fork: Branch | None


@pytest.mark.parametrize("model", [Stone, Plum, Branch])
async def test_schema_of_a_pydantic_model_equals_the_schema_of_the_sdk(
    model: type[BaseModel], api: Recorder, claude: AsyncAnthropic
) -> None:
    ours = await sent_by_us(Case({}, generation=guided(json=model)), api)
    api.answers(MESSAGE | {"content": []})
    await claude.messages.parse(model=OLDER, max_tokens=1, messages=HELLO, output_format=model)
    assert ours.body["output_config"] == api.sent[-1].body["output_config"]


# Intended differences from a plain call of the SDK


async def test_null_in_extra_body_removes_a_field(api: Recorder) -> None:
    body = (await sent_by_us(Case({}, generation=extra(cache_control=None, temperature=None)), api)).body
    assert body == {"model": OLDER, "messages": HELLO, "max_tokens": 1024}


async def test_tool_choice_is_left_out_without_tools(api: Recorder) -> None:
    body = (await sent_by_us(Case({}, generation={"tool_choice": "auto", "parallel_tool_calls": False}), api)).body
    assert body.keys() == {"model", "messages", "max_tokens", "temperature", "cache_control"}


@pytest.mark.parametrize("messages", [[user(" ")], [HI, assistant("a"), user("")]])
def test_blank_question_at_the_end_is_sent_because_the_answer_depends_on_it(messages: list[Json]) -> None:
    """The API refuses it. Without it, the model would continue its own answer."""
    assert encoded(messages=messages)["messages"] == messages


PET: Json = {"oneOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}], "discriminator": {"propertyName": "kind"}}


def test_schema_in_a_dict_has_only_supported_keywords() -> None:
    properties: Json = {
        "pet": PET,
        "age": {"type": "integer", "minimum": 0, "description": "In years."},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 2, "uniqueItems": True},
        "url": {"type": "string", "format": "regex"},
    }
    cat = {"type": "object", "properties": {"kind": {"const": "cat"}}}
    schema = {"type": "object", "properties": properties, "$defs": {"Cat": cat}}
    made = encoded(GenerationParams(**guided(json=schema)))["output_config"]["format"]["schema"]
    assert made == {
        "type": "object",
        "properties": {
            "pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"type": "null"}]},
            "age": {"type": "integer", "description": "In years.\n\n{minimum: 0}"},
            "tags": {
                "type": "array",
                "items": {"type": "string", "description": "{maxLength: 9}"},
                "description": "{minItems: 2, uniqueItems: True}",
            },
            "url": {"type": "string", "description": "{format: regex}"},
        },
        "$defs": {"Cat": cat | {"additionalProperties": False}},
        "additionalProperties": False,
    }


def test_schema_can_set_additional_properties_itself() -> None:
    inner = {"type": "object", "properties": {"a": {"properties": {}}}, "additionalProperties": {"type": "object"}}
    schema = {"type": ["array", "null"], "items": inner, "const": {"type": "object"}}
    made = encoded(GenerationParams(**guided(json=schema)))["output_config"]["format"]["schema"]
    assert made == {
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "properties": {"a": {"properties": {}, "additionalProperties": False}},
            "additionalProperties": {"type": "object", "additionalProperties": False},
        },
        "const": {"type": "object"},
    }


# Parameters that models do not support


def encoder(generation: GenerationParams | None = None, model: str = OLDER) -> MessagesEncoder:
    return MessagesEncoder(
        EncoderSettings("http://api/v1", ModelParams(model_name=model), generation or GenerationParams())
    )


def encoded(
    generation: GenerationParams | None = None, messages: list[Json] = HELLO, model: str = OLDER
) -> dict[str, Any]:
    return json.loads(encoder(generation, model)(Conversation.from_dict({"messages": messages})).body)


SAMPLED: list[tuple[str, Json, Json, set[str]]] = [
    # The model, the parameters that are set, those that are sent, and those that are dropped.
    ("claude-3-5-haiku-20241022", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, set()),
    ("claude-sonnet-4-20250514", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, set()),
    ("claude-opus-4-1-20250805", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, {"top_p"}),
    ("claude-haiku-4-5", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, {"top_p"}),
    ("claude-haiku-4-5", {"top_p": 0.9}, {"top_p": 0.9}, set()),
    ("anthropic/claude-opus-4.6", {"temperature": 0.5}, {"temperature": 0.5}, set()),
    ("claude-opus-4-7", {"temperature": 0.5, "top_p": None}, {}, {"temperature"}),
    ("anthropic.claude-opus-4-8-v1:0", {"temperature": 1.5, "top_p": 0.9}, {}, {"temperature", "top_p"}),
    ("claude-sonnet-5", {"top_p": 0.9}, {}, {"top_p"}),
    ("claude-haiku-5-5", {}, {}, set()),
    ("claude-fable-5", {"temperature": 0.5}, {}, {"temperature"}),
    ("claude-mythos-preview", {"temperature": 0.5}, {}, {"temperature"}),
    ("qwen3", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, set()),
    (OLDER, {"temperature": 0.5, "top_p": 0.9, **extra(thinking=THINKING)}, {}, {"temperature", "top_p"}),
    (OLDER, {"temperature": 1.0, "top_p": 1.0, **extra(thinking=THINKING)}, {"temperature": 1.0}, {"top_p"}),
]


@pytest.mark.parametrize(("model", "given", "sent", "dropped"), SAMPLED)
def test_parameters_that_a_model_refuses_are_dropped(model: str, given: Json, sent: Json, dropped: set[str]) -> None:
    generation = GenerationParams(**given)
    body = encoded(generation, model=model)
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    assert encoder(generation, model).dropped == dropped


async def test_dropped_parameters_are_in_the_metadata_of_a_row(api: Recorder) -> None:
    async with engine_for(Case({}, generation={"temperature": 0.5, "seed": 1}, model=LATEST), api) as engine:
        [answered] = await engine.ainfer([CASES["text"].conversation])
    assert answered.metadata["dropped_parameters"] == ["seed", "temperature"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (guided(regex="a+"), r"generation\.guided_decoding\.regex"),
        (guided(choice=["a", "b"]), r"generation\.guided_decoding\.choice"),
        ({"temperature": 1.2}, r"generation\.temperature: this API accepts 0 to 1"),
        ({"tool_choice": "weather"}, r"generation\.tool_choice"),
        ({"tool_choice": {"type": "function"}}, r"generation\.tool_choice"),
    ],
)
def test_unsupported_settings_raise_config_error(given: Json, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        encoder(GenerationParams(**given))


@pytest.mark.parametrize("model", ["claude-3-5-sonnet-20241022", "claude-3-haiku-20240307", "claude-opus-4-1"])
def test_schema_for_an_older_model_raises_config_error(model: str) -> None:
    with pytest.raises(ConfigError, match=f"guided_decoding.json: {model} does not support schemas"):
        encoder(GenerationParams(**guided(json=SCHEMA)), model)
    assert "output_config" not in encoded(GenerationParams(guided_decoding=GuidedDecodingParams()), model=model)


UNSUPPORTED_MESSAGES: dict[str, tuple[Json, str]] = {
    "arguments that are no JSON": (assistant(None, tool_calls=[CALL | {"function": {"name": "f", "arguments": "{"}}]), "are not JSON"),
    "arguments that are no object": (assistant(None, tool_calls=[CALL | {"function": {"name": "f", "arguments": "[1]"}}]), "not an object"),
    "a result of no call": ({"role": "tool", "content": "sunny"}, "tool_call_id"),
    "a system image": (system([{"type": "image_url", "content": CAT}]), "only text in the system prompt"),
    "thoughts of no shape": (assistant("A", thinking_blocks="Hm."), "thinking_blocks"),
    "thoughts that are no blocks": (assistant("A", thinking_blocks=["Hm."]), "thinking_blocks"),
    "a document that is an image": (user([{"type": "document_binary", "binary": PNG}]), "image/png"),
    "an image of another kind": (user([{"type": "image_url", "content": "data:image/tiff;base64,AAAA"}]), "image/tiff"),
    "a text as a document": (user([{"type": "document_url", "content": "data:text/plain;base64,AAAA"}]), "text/plain"),
    "data that is not in base64": (user([{"type": "image_url", "content": "data:image/png,abc"}]), "base64"),
    "data URL without data": (user([{"type": "image_url", "content": "data:image/png;base64"}]), "base64"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "why"), UNSUPPORTED_MESSAGES.values(), ids=UNSUPPORTED_MESSAGES.keys())
def test_unsupported_message_raises_request_error_with_the_reason(message: Json, why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        encoded(messages=[HI, message])
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


def test_only_thinking_blocks_are_sent_back_as_thinking() -> None:
    url = {"type": "url", "url": "http://169.254.169.254/x.png"}
    blocks = [
        {"type": "image", "source": url},
        {"type": "document", "source": {"type": "file", "file_id": "file_of_others"}},
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"type": ["thinking"], "thinking": "Hm."},
        THOUGHT | {"source": url},
        HIDDEN,
    ]
    [_, turn] = encoded(messages=[HI, assistant("A", thinking_blocks=blocks)])["messages"]
    assert turn["content"] == [THOUGHT, HIDDEN, text("A")]
    [asked] = encoded(messages=[HI | {"thinking_blocks": [THOUGHT]}])["messages"]
    assert asked["content"] == "Hi."


def test_tool_results_come_first_in_their_turn() -> None:
    messages = [HI, assistant(None, tool_calls=[CALL]), user("Well?"), tool("sunny", CALL["id"]), user("And?")]
    blocks = encoded(messages=messages)["messages"][-1]["content"]
    assert [block["type"] for block in blocks] == ["tool_result", "text", "text"]
    assert [block["text"] for block in blocks[1:]] == ["Well?", "And?"]


def test_encoding_does_not_change_its_input() -> None:
    case = CASES["thinking sent back"]
    conversation = case.conversation.model_copy(update={"tools": CASES["tools"].conversation.tools})
    generation = GenerationParams(**guided(json=SCHEMA), **extra(output_config={"effort": "low"}))
    before = conversation.to_json(), generation.model_dump_json()
    encode = encoder(generation)
    assert encode(conversation) == encode(conversation)
    assert (conversation.to_json(), generation.model_dump_json()) == before


# Responses


def answer(*blocks: Json, reason: Any = "end_turn", **more: Any) -> Json:
    return MESSAGE | {"content": list(blocks), "stop_reason": reason, **more}


def read(body: Any, status: int = 200) -> Completion:
    return decode(HttpResponse(status, {}, json.dumps(body).encode()))


CACHED = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 60,
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 32},
    "service_tier": "standard",
}
SEARCH: Json = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "Oslo"}}
ANSWERS: dict[str, Json] = {
    "text": answer(text("Hello.")),
    "no text": answer(text("")),
    "nothing": answer(),
    "text in parts": answer(text("Hel", citations=None), text("lo.")),
    "a tool call": answer(USE, reason="tool_use"),
    "two tool calls": answer(USE, USE | {"id": "call_2", "input": {}}, reason="tool_use"),
    "text and a tool call": answer(text("Wait."), USE, reason="tool_use"),
    "thinking": answer(THOUGHT, text("Rain.")),
    "hidden thinking": answer(HIDDEN, text("Rain.")),
    "thinking, of both kinds, and a call": answer(THOUGHT, HIDDEN, THOUGHT, USE, reason="tool_use"),
    "thinking alone": answer(THOUGHT, reason="max_tokens"),
    "a search of theirs": answer(text("Let me look."), SEARCH, text(" It rains."), reason="pause_turn"),
    "cut off": answer(text("Hel"), reason="max_tokens"),
    "the context is full": answer(text("Hel"), reason="model_context_window_exceeded"),
    "stopped": answer(text("Hel"), reason="stop_sequence", stop_sequence="END"),
    "a refusal": answer(reason="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "No."}),
    "cached": answer(text("Hello."), usage=CACHED),
}
REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "pause_turn": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
async def test_answer_equals_the_answer_that_the_sdk_reads(body: Json, api: Recorder, claude: AsyncAnthropic) -> None:
    api.answers(body)
    theirs = await claude.messages.create(model="m", max_tokens=1, messages=[])
    ours = read(body)
    calls = [block for block in theirs.content if block.type == "tool_use"]
    their_text = "".join(block.text for block in theirs.content if block.type == "text")
    assert ours.message.content == (their_text or (None if calls else ""))
    assert [(c.id, c.function.name, c.function.get_arguments_dict()) for c in ours.message.tool_calls or ()] == [
        (call.id, call.name, call.input) for call in calls
    ]
    thought = "".join(block.thinking for block in theirs.content if block.type == "thinking")
    assert (ours.message.reasoning_content or "") == thought
    blocks = [b.model_dump(exclude_unset=True) for b in theirs.content if b.type.endswith("thinking")]
    assert (ours.message.model_extra or {}).get("thinking_blocks", []) == blocks
    assert theirs.stop_reason is not None
    assert ours.finish_reason is REASONS[theirs.stop_reason]
    counts = theirs.usage
    read_before, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    prompt = counts.input_tokens + (read_before or 0) + (written or 0)
    details = counts.output_tokens_details
    assert ours.usage == Usage(
        prompt,
        counts.output_tokens,
        prompt + counts.output_tokens,
        read_before,
        written,
        details.thinking_tokens if details is not None else None,
    )


async def test_answer_is_sent_back_with_its_thinking_as_by_the_sdk(api: Recorder, claude: AsyncAnthropic) -> None:
    """Also after the conversation was saved to disk."""
    api.answers(answer(THOUGHT, HIDDEN, text("Wait."), USE, reason="tool_use"))
    case = Case({}, [HI], tools=[WEATHER])
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
        passthrough = Conversation.from_json(answered.to_json())
        passthrough.messages.append(Message(role=Role.TOOL, content="sunny", tool_call_id="call_1"))
        await engine.ainfer([passthrough])
    ours = api.sent[-1]
    first = await claude.messages.create(model=OLDER, max_tokens=1, messages=[HI])
    again: list[Any] = [HI, first.to_param(), user([result("sunny")])]
    await claude.messages.create(model=OLDER, max_tokens=1, messages=again)
    assert without_nulls(ours.body["messages"]) == without_nulls(api.sent[-1].body["messages"])


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (CACHED, Usage(100, 50, 150, cached_tokens=60, cache_creation_tokens=30, reasoning_tokens=32)),
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4, 7)),
        ({"input_tokens": 3, "output_tokens": None, "cache_read_input_tokens": None}, Usage(3, 0, 3)),
        ({"input_tokens": "3", "output_tokens": -4}, Usage(3, 0, 3)),
        ({"input_tokens": True, "output_tokens": 10**308}, Usage()),
        ([3, 4], None),
        ({}, None),
    ],
)
def test_usage_is_read(usage: Any, counted: Usage | None) -> None:
    assert read(answer(text(""), usage=usage)).usage == counted


@pytest.mark.parametrize("reason", ["bored", "", None, ["end_turn"]])
def test_other_finish_reasons_are_unknown(reason: Any) -> None:
    assert read(answer(text("Hi."), reason=reason)).finish_reason is FinishReason.UNKNOWN


def test_call_that_is_cut_before_its_input_is_left_out() -> None:
    cut = read(answer(text("Hm."), USE, USE | {"input": {}}, reason="max_tokens"))
    assert (len(cut.message.tool_calls or ()), cut.finish_reason) == (1, FinishReason.LENGTH)
    assert len(read(answer(USE | {"input": {}}, reason="tool_use")).message.tool_calls or ()) == 1
    alone = read(answer(USE | {"input": {}}, reason="max_tokens"))
    assert (alone.message.content, alone.message.tool_calls) == ("", None)


GREETING = {"type": "text", "text": "Hi."}


@pytest.mark.parametrize(
    "content",
    [
        GREETING,
        [None, GREETING],
        [{"text": "Hi."}],
        [{"type": None, "text": "Hi."}],
        [{"type": "output_text", "text": "Hi."}],
        [{"type": "text"}, GREETING],
        [{"type": "text", "text": None}, GREETING],
        [{"type": "text", "text": ["H", "i."]}],
        [{"type": "text", "text": {"value": "Hi."}}],
        [{"type": "thinking", "thinking": None, "signature": "s"}, GREETING],
        [{"type": "thinking", "signature": "s"}, GREETING],
        [{"type": "new"}, GREETING],
    ],
)
def test_text_in_any_form_is_read(content: Any) -> None:
    assert read(answer() | {"content": content}).message.content == "Hi."


def test_null_content_with_a_reason_is_an_empty_answer() -> None:
    refused = read(answer(reason="refusal") | {"content": None})
    assert (refused.message.content, refused.finish_reason) == ("", FinishReason.CONTENT_FILTER)


def test_content_without_a_known_block_becomes_its_json_text() -> None:
    assert read(answer({"name": "Bob"})).message.content == '[{"name":"Bob"}]'


def test_null_arguments_are_no_arguments() -> None:
    [call] = read(answer(USE | {"input": None}, reason="tool_use")).message.tool_calls or []
    assert call.function.arguments == "{}"


NO_ANSWERS: dict[str, Any] = {
    "an empty object": {},
    "neither content nor a reason": answer(reason=None) | {"content": None},
    "a null block": answer() | {"content": [None]},
    "a call without a name": answer(USE | {"name": None}),
    "a call of no object": answer(USE | {"input": [1]}),
    "null": None,
    "a list": [],
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_success_without_an_answer_is_retryable(body: Any) -> None:
    check_that_it_is_retryable(read, body)


def error(kind: str, message: str = "Sorry.", **more: Any) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


ERRORS = [
    # The type of the error, its status, whether it is retryable, and whether it is an overload.
    ("invalid_request_error", 400, False, False),
    ("authentication_error", 401, False, False),
    ("billing_error", 402, False, False),
    ("permission_error", 403, False, False),
    ("not_found_error", 404, False, False),
    ("request_too_large", 413, False, False),
    ("rate_limit_error", 429, True, True),
    ("api_error", 500, True, False),
    ("timeout_error", 504, True, False),
    ("overloaded_error", 529, True, True),
]


@pytest.mark.parametrize(("kind", "status", "retryable", "overload"), ERRORS)
async def test_error_is_classified_by_its_status(
    kind: str, status: int, retryable: bool, overload: bool, api: Recorder, claude: AsyncAnthropic
) -> None:
    api.answers(error(kind), status)
    with pytest.raises(APIStatusError) as theirs:
        await claude.messages.create(model="m", max_tokens=1, messages=[])
    with pytest.raises(RequestError, match=f"HTTP {status}: Sorry") as refused:
        read(error(kind), status)
    with pytest.raises(RequestError, match="answered with an error: Sorry") as within:
        read(error(kind) | {"content": []})  # as a success
    for ours in (refused.value, within.value):
        assert ours.status_code == theirs.value.status_code == status
        assert (ours.is_retryable, ours.is_overload) == (retryable, overload)


def test_error_without_a_type_is_retryable() -> None:
    for body in (
        error("new_error"),
        error("x") | {"error": None},
        {"type": "error"},
        error("x") | {"error": {"type": []}},
    ):
        with pytest.raises(RequestError, match="answered with an error") as caught:
            read(body)
        assert caught.value.is_retryable


async def test_reached_spend_limit_ends_the_run(api: Recorder) -> None:
    """Its status is that of a rate limit."""
    api.answers(error("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}), 429)
    async with engine_for(CASES["text"], api) as engine:
        failure = (await engine.ainfer_partial([CASES["text"].conversation])).failures[0]
    assert "HTTP 429: Sorry. (enforced_spend_limit_reached). Check the API key" in failure.error_message


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(ANSWERS.values()))))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    check_answer_or_request_error(read, body)


# Lists of models


def listed(*names: str, more: bool = False) -> Json:
    entries = [{"type": "model", "id": name, "display_name": name.title()} for name in names]
    return {"data": entries, "has_more": more, "first_id": names[0], "last_id": names[-1]}


async def test_models_are_listed_page_by_page(api: Recorder) -> None:
    queries: list[str] = []

    def page(query: str) -> Json:
        queries.append(query)
        return listed("c") if "after_id=b" in query else listed("a", "b", more=True)

    api.answers_by_query(page)
    async with engine_for(CASES["text"], api) as engine:
        assert await engine.alist_models() == ["a", "b", "c"]
    assert queries == ["limit=1000", "limit=1000&after_id=b"]
    assert {sent.headers["anthropic-version"] for sent in api.sent} == {"2023-06-01"}
    assert {sent.headers["x-api-key"] for sent in api.sent} == {KEY}


async def test_list_of_models_with_a_repeated_page_ends(api: Recorder) -> None:
    api.answers(listed("a", more=True))
    async with engine_for(CASES["text"], api) as engine:
        assert set(await engine.alist_models()) == {"a"}
    assert len(api.sent) == 2


@pytest.mark.parametrize("content", ["Hi.", text("Hi."), ["Hi."], [text("Hi."), text("") | {"text": None}]])
def test_content_in_another_form_is_read(content: Any) -> None:
    assert read(answer() | {"content": content}).message.content == "Hi."


def test_call_without_input_has_no_arguments() -> None:
    [call] = read(answer({name: value for name, value in USE.items() if name != "input"})).message.tool_calls or []
    assert call.function.get_arguments_dict() == {}
