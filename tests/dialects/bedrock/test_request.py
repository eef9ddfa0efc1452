"""Requests to Bedrock's Converse. They must equal the requests of botocore."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from asyncinfer import (
    BedrockInferenceEngine,
    ConfigError,
    Conversation,
    GenerationParams,
    GuidedDecodingParams,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
)
from asyncinfer.dialects.anthropic.json_schema import describe_constraints
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.bedrock.request import SUPPORTED, ConverseEncoder
from asyncinfer.run.bound_engine import CallSettings
from tests.boto import KEY_ID, REGION, SECRET, TOKEN, asked, base, scope, signature, signed_headers
from tests.fakes import ONE_ATTEMPT
from tests.recorder import Recorder, Sent

Json = dict[str, Any]

ANSWER: Json = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    "metrics": {"latencyMs": 1},
}
NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-3:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
PNG, PDF = b"\x89PNG\r\n\x1a\n and so on", b"%PDF-1.7 and so on"
JPEG, GIF, WEBP = b"\xff\xd8\xff so on", b"GIF89a so on", b"RIFF1234WEBP so on"


def user(content: Any, **more: Any) -> Json:
    return {"role": "user", "content": content, **more}


def assistant(content: Any = None, **more: Any) -> Json:
    return {"role": "assistant", "content": content, **more}


def system(content: Any, **more: Any) -> Json:
    return {"role": "system", "content": content, **more}


def tool(content: Any, call: str = "call_1") -> Json:
    return {"role": "tool", "content": content, "tool_call_id": call}


def text(content: str, **more: Any) -> Json:
    return {"type": "text", "content": content, **more}


def image(data: bytes) -> Json:
    return {"type": "image_binary", "binary": data}


def document(data: bytes = PDF, **more: Any) -> Json:
    return {"type": "document_binary", "binary": data, **more}


def turn(role: str, *content: Json) -> Json:
    return {"role": role, "content": list(content)}


def function(**fields: Any) -> Json:
    return {"type": "function", "function": fields}


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"{city}: sunny"


class Fruit(BaseModel):
    name: str
    grams: int


PARAMETERS: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}},
    "required": ["city"],
}
WEATHER = function(name="weather", description="Tell the weather.", parameters=PARAMETERS)
TIME = function(name="time", strict=True)
WEATHER_SPEC: Json = {
    "toolSpec": {"name": "weather", "description": "Tell the weather.", "inputSchema": {"json": PARAMETERS}}
}
TIME_SPEC: Json = {
    "toolSpec": {
        "name": "time",
        "inputSchema": {"json": {"type": "object", "properties": {}, "additionalProperties": False}},
        "strict": True,
    }
}
CALL: Json = {"id": "call_1", **function(name="weather", arguments='{"city": "Oslo"}')}
CALLED: Json = {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Oslo"}}}
HELLO = [user("Hello! \u00e9\U0001f600\n\u2028")]
HELLO_TURNS = [turn("user", {"text": "Hello! \u00e9\U0001f600\n\u2028"})]
THOUGHT: Json = {"reasoningContent": {"reasoningText": {"text": "They ask.", "signature": "c2ln"}}}
HIDDEN: Json = {"reasoningContent": {"redactedContent": base64.b64encode(b"hidden").decode()}}
HIDDEN_AS_BOTO: Json = {"reasoningContent": {"redactedContent": b"hidden"}}
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
WITHOUT_EXTRA = SCHEMA | {"additionalProperties": False}
POINT: Json = {"cachePoint": {"type": "default"}}


class Case(NamedTuple):
    """One request: the arguments of botocore, and our messages and settings.

    Our default token limit and temperature are added to the arguments of botocore, because we always send them.
    """

    boto: Json
    messages: list[Json] = HELLO
    generation: Json = {}  # noqa: RUF012
    tools: list[Any] | None = None
    user_id: str | None = None
    model: str = NOVA
    model_kwargs: Json = {}  # noqa: RUF012

    @property
    def conversation(self) -> Conversation:
        return Conversation.from_dict({"messages": self.messages, "tools": self.tools})

    def as_boto(self) -> Json:
        inference = {"maxTokens": 1024, "temperature": 0.0}
        return {"modelId": self.model, "messages": HELLO_TURNS, "inferenceConfig": inference} | self.boto


def inference(**fields: Any) -> Json:
    return {"inferenceConfig": {"maxTokens": 1024, "temperature": 0.0} | fields}


def with_tools(*tools: Json, **more: Any) -> Json:
    return {"toolConfig": {"tools": list(tools), **more}}


def schema(of: Any, **more: str) -> Json:
    shape = {"schema": json.dumps(of, separators=(",", ":")), **more}
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": shape}}}}


def guided(**by: Any) -> Json:
    return {"guided_decoding": GuidedDecodingParams(**by)}


def picture(format: str, data: bytes) -> Json:
    return {"image": {"format": format, "source": {"bytes": data}}}


def paper(name: str, data: bytes = PDF) -> Json:
    return {"document": {"format": "pdf", "name": name, "source": {"bytes": data}}}


def turns(*made: Json) -> Json:
    return {"messages": list(made)}


ASKED = [user("Weather?"), assistant(tool_calls=[CALL])]
ASKED_TURNS = [turn("user", {"text": "Weather?"}), turn("assistant", CALLED)]
THINKING: Json = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()

CASES: dict[str, Case] = {
    "text": Case({}),
    "a model by its profile's ARN": Case({}, model=PROFILE),
    "system": Case({"system": [{"text": "Be brief."}]}, [system("Be brief."), *HELLO]),
    "several system messages": Case(
        {"system": [{"text": "Be brief."}, {"text": "Be kind."}]},
        [system("Be brief."), *HELLO, system([text("Be kind."), text("")])],
    ),
    "many turns": Case(
        turns(turn("user", {"text": "Hi"}), turn("assistant", {"text": "Hi."}), turn("user", {"text": "Bye"})),
        [user("Hi"), assistant("Hi."), user("Bye")],
    ),
    "neighbours of one role": Case(
        turns(turn("user", {"text": "a"}, {"text": "b"}), turn("assistant", {"text": "c"}, {"text": "d"})),
        [user("a"), user("b"), assistant("c"), assistant("d")],
    ),
    "text in parts": Case(turns(turn("user", {"text": "a"}, {"text": "b"})), [user([text("a"), text("b")])]),
    "empty text beside other": Case(
        turns(turn("user", {"text": "a"}), turn("assistant", CALLED)),
        [user([text("a"), text(""), text(" \n")]), assistant("", tool_calls=[CALL])],
    ),
    "nothing but empty text, of which Bedrock will speak": Case(turns(turn("user", {"text": ""})), [user("")]),
    "tools": Case(with_tools(WEATHER_SPEC, TIME_SPEC), tools=[WEATHER, TIME]),
    "a function as a tool": Case(with_tools(WEATHER_SPEC), tools=[weather]),
    "tool choice auto": Case(
        with_tools(WEATHER_SPEC, toolChoice={"auto": {}}), generation={"tool_choice": "auto"}, tools=[WEATHER]
    ),
    "tool choice required": Case(
        with_tools(WEATHER_SPEC, toolChoice={"any": {}}), generation={"tool_choice": "required"}, tools=[WEATHER]
    ),
    "a tool chosen": Case(
        with_tools(WEATHER_SPEC, toolChoice={"tool": {"name": "weather"}}),
        generation={"tool_choice": function(name="weather")},
        tools=[WEATHER],
    ),
    "a choice in Bedrock's own words": Case(
        with_tools(WEATHER_SPEC, toolChoice={"any": {}}), generation={"tool_choice": {"any": {}}}, tools=[WEATHER]
    ),
    "no tool may be called": Case({}, generation={"tool_choice": "none"}, tools=[WEATHER]),
    "a choice without tools": Case({}, generation={"tool_choice": "auto"}),
    "a tool's result": Case(
        turns(*ASKED_TURNS, turn("user", {"toolResult": {"toolUseId": "call_1", "content": [{"text": "sunny"}]}}))
        | with_tools(WEATHER_SPEC),
        [*ASKED, tool("sunny")],
        tools=[WEATHER],
    ),
    "a tool's failure": Case(
        turns(
            *ASKED_TURNS,
            turn("user", {"toolResult": {"toolUseId": "call_1", "content": [{"text": "no"}], "status": "error"}}),
        )
        | with_tools(WEATHER_SPEC),
        [*ASKED, tool("no") | {"is_error": True}],
        tools=[WEATHER],
    ),
    "an empty assistant message": Case(
        turns(turn("user", {"text": "a"}, {"text": "b"})), [user("a"), assistant(""), user("b")]
    ),
    "blank texts": Case(
        turns(turn("user", {"text": "a"}, POINT, {"text": "b"}), turn("assistant", {"text": "c"})),
        [
            user([text("a", **POINT), text(" ")]),
            assistant("\n"),
            user("b"),
            assistant([text("\n\n"), text("c")]),
        ],
    ),
    "a blank question between answers": Case(
        turns(turn("user", {"text": "a"}), turn("assistant", {"text": "b"}, {"text": "c"}), turn("user", {"text": "d"})),
        [user("a"), assistant("b"), user(" "), assistant("c"), user("d")],
    ),
    "a blank question after an answer, of which Bedrock will speak": Case(
        turns(turn("user", {"text": "a"}), turn("assistant", {"text": "b"}), turn("user", {"text": " "})),
        [user("a"), assistant("b"), user(" ")],
    ),
    "a blank system message": Case({}, [system(" "), *HELLO]),
    "an answer to continue that ends with white space": Case(
        turns(turn("user", {"text": "a"}), turn("assistant", {"text": "b"})), [user("a"), assistant("b\n")]
    ),
    "a strict tool": Case(
        with_tools(
            {
                "toolSpec": {
                    "name": "time",
                    "inputSchema": {
                        "json": {
                            "type": "object",
                            "properties": {"zone": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                            "additionalProperties": False,
                        }
                    },
                    "strict": True,
                }
            }
        ),
        tools=[
            function(
                name="time",
                strict=True,
                parameters={"type": "object", "properties": {"zone": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}},
            )
        ],
    ),
    "an empty result": Case(
        turns(*ASKED_TURNS, turn("user", {"toolResult": {"toolUseId": "call_1", "content": [{"text": ""}]}}))
        | with_tools(WEATHER_SPEC),
        [*ASKED, tool("")],
        tools=[WEATHER],
    ),
    "two results and a question are one turn": Case(
        turns(
            turn("user", {"text": "Weather?"}),
            turn("assistant", {"text": "Wait."}, CALLED, {"toolUse": {**CALLED["toolUse"], "toolUseId": "call_2"}}),
            turn(
                "user",
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "sunny"}]}},
                {"toolResult": {"toolUseId": "call_2", "content": [{"text": "see"}, picture("png", PNG)]}},
                {"text": "So?"},
            ),
        )
        | with_tools(WEATHER_SPEC),
        [
            user("Weather?"),
            assistant("Wait.", tool_calls=[CALL, CALL | {"id": "call_2"}]),
            tool("sunny"),
            tool([text("see"), image(PNG)], "call_2"),
            user("So?"),
        ],
        tools=[WEATHER],
    ),
    "an image as bytes": Case(
        turns(turn("user", {"text": "Look:"}, picture("png", PNG))), [user([text("Look:"), image(PNG)])]
    ),
    "images of every format": Case(
        turns(turn("user", picture("jpeg", JPEG), picture("gif", GIF), picture("webp", WEBP))),
        [user([image(JPEG), image(GIF), image(WEBP)])],
    ),
    "an image in a data URL": Case(
        turns(turn("user", picture("png", PNG))), [user([{"type": "image_url", "image_url": {"url": DATA_URL}}])]
    ),
    "an image whose label is wrong": Case(
        turns(turn("user", picture("png", PNG))),
        [user([{"type": "image_url", "content": DATA_URL.replace("image/png", "image/jpg")}])],
    ),
    "an image on S3": Case(
        turns(turn("user", {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://cats/cat.JPG"}}}})),
        [user([{"type": "image_url", "content": "s3://cats/cat.JPG"}])],
    ),
    "a document": Case(
        turns(turn("user", {"text": "Read:"}, paper("document"))), [user([text("Read:"), document()])]
    ),
    "documents with names that Bedrock takes, each its own": Case(
        turns(
            turn("user", *map(paper, ("Q3 report (final)", "Q3 report (final) 2", "document 3", "document", "document 2")))
        ),
        [user([document(filename="Q3_report  (final).pdf"), document(filename="Q3 report (final)"), document(name="document 3"), document(), document()])],
    ),
    "a document on S3": Case(
        turns(
            turn(
                "user",
                {"document": {"format": "docx", "name": "document", "source": {"s3Location": {"uri": "s3://bkt/a.docx"}}}},
            )
        ),
        [user([{"type": "document_url", "content": "s3://bkt/a.docx"}])],
    ),
    "a JSON schema": Case(schema(WITHOUT_EXTRA), generation=guided(json=SCHEMA)),
    "a JSON schema as text": Case(schema(WITHOUT_EXTRA), generation=guided(json=json.dumps(SCHEMA))),
    "a pydantic model": Case(
        schema(describe_constraints(Fruit.model_json_schema()), name="Fruit"), generation=guided(json=Fruit)
    ),
    "a JSON schema, and an effort": Case(
        {"outputConfig": {**schema(WITHOUT_EXTRA)["outputConfig"], "effort": "low"}},
        generation=guided(json=SCHEMA) | {"extra_body": {"outputConfig": {"effort": "low"}}},
    ),
    "a strict schema": Case(schema(WITHOUT_EXTRA), generation=guided(json=SCHEMA, strict=True)),
    "stop": Case(inference(stopSequences=["\n", "END"]), generation={"stop_strings": ["\n", "END"]}),
    "temperature": Case(inference(temperature=0.5), generation={"temperature": 0.5}),
    "top_p": Case(inference(topP=0.25), generation={"top_p": 0.25}),
    "token limit": Case(inference(maxTokens=7), generation={"max_new_tokens": 7}),
    "end user": Case({"requestMetadata": {"user_id": "u-1"}}, user_id="u-1"),
    "thinking": Case(
        {"additionalModelRequestFields": THINKING, "inferenceConfig": {"maxTokens": 4000}},
        generation={"max_new_tokens": 4000, "extra_body": {"additionalModelRequestFields": THINKING}},
        model=CLAUDE,
    ),
    "thinking, and a temperature": Case(
        {"additionalModelRequestFields": THINKING, "inferenceConfig": {"maxTokens": 4000, "temperature": 1.0}},
        generation={"max_new_tokens": 4000, "temperature": 1.0},
        model=CLAUDE,
        model_kwargs=THINKING,
    ),
    "reasoning goes back where it was signed or hidden": Case(
        turns(turn("user", {"text": "Weather?"}), turn("assistant", THOUGHT, HIDDEN_AS_BOTO, {"text": "Wait."}, CALLED)),
        [
            user("Weather?"),
            assistant("Wait.", tool_calls=[CALL], reasoning_content="They ask.", thinking_blocks=[THOUGHT, HIDDEN]),
        ],
    ),
    "reasoning of other APIs stays here": Case(
        turns(turn("user", {"text": "a"}), turn("assistant", {"text": "b"})),
        [user("a"), assistant("b", reasoning_content="So.", thinking_blocks=[{"type": "thinking", "thinking": "So."}])],
    ),
    "cache points": Case(
        {
            "system": [{"text": "Long."}, POINT],
            "messages": [turn("user", {"text": "a"}, POINT, {"text": "b"}, {"cachePoint": {"type": "default", "ttl": "1h"}})],
            **with_tools(WEATHER_SPEC, POINT),
        },
        [
            system("Long.", **POINT),
            user([text("a", cache_control={"type": "ephemeral"}), text("b")], cache_control={"type": "ephemeral", "ttl": "1h"}),
        ],
        tools=[WEATHER | POINT],
    ),
    "one cache point for a message and its last text": Case(
        {
            "system": [{"text": "Long."}, POINT],
            "messages": [turn("user", {"text": "a"}, POINT), turn("assistant", {"text": "b"})],
        },
        [
            system([text("Long.", **POINT)], **POINT),
            user([text("a", cache_control={"type": "ephemeral"})], cache_control={"type": "ephemeral"}),
            assistant("b"),
        ],
    ),
    "other fields": Case(
        {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}, "serviceTier": {"type": "flex"}},
        generation={
            "extra_body": {
                "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
                "serviceTier": {"type": "flex"},
            }
        },
    ),
    "a field of ours, replaced": Case(
        {"inferenceConfig": {"maxTokens": 5}}, generation={"extra_body": {"inferenceConfig": {"maxTokens": 5}}}
    ),
    "an older Claude takes a temperature": Case({}, model="us.anthropic.claude-3-haiku-20240307-v1:0"),
    "Claude gets top_p without our temperature": Case(
        {"inferenceConfig": {"maxTokens": 1024, "topP": 0.5}}, generation={"top_p": 0.5}, model=CLAUDE
    ),
    "nulls take a field out": Case(
        {"inferenceConfig": {"maxTokens": 1}},
        generation={"max_new_tokens": 1, "extra_body": {"requestMetadata": None, "inferenceConfig": {"maxTokens": 1}}},
        user_id="u",
    ),
    "a later Claude gets no sampling parameters": Case(
        {"inferenceConfig": {"maxTokens": 1024}}, model="global.anthropic.claude-opus-4-7"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)


@pytest.fixture(autouse=True)
def answers(api: Recorder) -> None:
    api.answers(ANSWER)


def engine_for(case: Case, api: Recorder) -> BedrockInferenceEngine:
    return BedrockInferenceEngine(
        ModelParams(model_name=case.model, model_kwargs=case.model_kwargs),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=base(api), user_id=case.user_id, max_retries=0),
    )


async def sent_by_us(case: Case, api: Recorder) -> Sent:
    async with engine_for(case, api) as engine:
        await engine.ainfer([case.conversation])
    return api.sent[-1]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_botocore(case: Case, api: Recorder) -> None:
    ours = await sent_by_us(case, api)
    await asked(api, "converse", **case.as_boto())
    theirs = api.sent[-1]
    assert ours.body == theirs.body
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
    # botocore also signs headers about its own retries, which Bedrock ignores.
    assert signed_headers(theirs) - signed_headers(ours) <= {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "content-length",
    }
    assert signed_headers(ours) <= signed_headers(theirs)
    assert scope(ours) == scope(theirs) == (KEY_ID, REGION, "bedrock", "aws4_request")
    for sent in (ours, theirs):
        carried, due = signature(sent)
        assert carried == due


async def test_stream_request_has_another_path_and_the_same_body(api: Recorder) -> None:
    case = CASES["a tool's result"]
    api.streams(media_type="application/vnd.amazon.eventstream")
    async with engine_for(case, api) as engine, engine.astream(case.conversation, ONE_ATTEMPT) as deltas:
        with pytest.raises(Exception, match="the stream broke off"):
            [delta async for delta in deltas]
    ours = api.sent[-1]
    assert await asked(api, "converse_stream", **case.as_boto()) == []
    assert (ours.target, ours.body) == (api.sent[-1].target, api.sent[-1].body)


async def test_image_given_by_path_is_sent_as_bytes(tmp_path: Path, api: Recorder) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    ours = await sent_by_us(Case({}, [user([{"type": "image_path", "content": str(path)}])]), api)
    await asked(api, "converse", **Case(turns(turn("user", picture("png", PNG)))).as_boto())
    assert ours.body == api.sent[-1].body


async def test_request_for_models_equals_the_request_of_botocore(api: Recorder) -> None:
    summary = {"modelArn": "a", "inputModalities": ["TEXT"], "outputModalities": ["TEXT"]}
    listing = {
        "modelSummaries": [
            summary | {"modelId": "meta.llama3"},
            summary | {"modelId": "amazon.nova", "inputModalities": ["TEXT", "IMAGE"]},
            summary | {"modelId": "amazon.titan-embed", "outputModalities": ["EMBEDDING"]},
            summary | {"modelId": "amazon.nova-canvas", "outputModalities": ["IMAGE"]},
            summary | {"modelId": "amazon.sonic", "inputModalities": ["SPEECH"]},
            summary | {"modelId": "cohere.rerank-v3"},
        ]
    }
    api.answers(listing)
    async with engine_for(Case({}), api) as engine:
        assert await engine.alist_models() == ["amazon.nova", "meta.llama3"]
        every = await engine.alist_models(chat_only=False)
    ours = api.sent[-1]
    listed = await asked(api, "list_foundation_models", "bedrock")
    assert every == sorted(one["modelId"] for one in listed["modelSummaries"])
    assert (ours.method, ours.target) == (api.sent[-1].method, api.sent[-1].target)
    assert scope(ours) == scope(api.sent[-1])
    carried, due = signature(ours)
    assert carried == due


# Unsupported settings and messages


def encoder(model: str = NOVA, **generation: Any) -> ConverseEncoder:
    return ConverseEncoder(EncoderSettings("https://x", ModelParams(model_name=model), GenerationParams(**generation)))


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        (guided(regex="a+"), r"generation\.guided_decoding\.regex: this API supports only json"),
        (guided(choice=["a", "b"]), r"generation\.guided_decoding\.choice: this API supports only json"),
        (guided(json=SCHEMA) | {"model": "anthropic.claude-3-haiku-20240307-v1:0"}, "Claude models since 4.5 do"),
        ({"tool_choice": {"function": {}}}, r"generation\.tool_choice: should be none, auto, required"),
        ({"tool_choice": "weather"}, r"generation\.tool_choice: should be none, auto, required"),
    ],
)
def test_unsupported_settings_raise_config_error(generation: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encoder(**generation)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [user([{"type": "image_url", "content": "https://x.example/cat.png"}])],
            "Bedrock does not accept images by URL",
        ),
        (
            [user([{"type": "document_url", "content": "https://x.example/a"}])],
            "Bedrock does not accept documents by URL",
        ),
        (
            [user([{"type": "image_url", "content": "s3://cats/cat"}])],
            "should end with the extension of its image format",
        ),
        ([user([{"type": "document_url", "content": "s3://cats/cat.png"}])], "the extension of its document format"),
        ([user([{"type": "image_url", "content": "data:image/png;base64,"}])], "a data URL has no base64 data"),
        ([user([{"type": "image_url", "content": "data:image/svg+xml;base64,AA"}])], "holds 'image/svg+xml'"),
        ([user([{"type": "image_url", "content": "DATA:image/svg+xml;base64,AA"}])], "holds 'image/svg+xml'"),
        ([user([image(PDF)])], "an item of type image_binary holds 'application/pdf'"),
        ([user([document(PNG)])], "an item of type document_binary holds 'image/png'"),
        (
            [user([{"type": "image_url", "content": "data:application/pdf;base64," + base64.b64encode(PDF).decode()}])],
            "an item of type image_url holds 'application/pdf'",
        ),
        ([system([image(PNG)]), *HELLO], "Bedrock accepts only text there"),
        ([assistant(tool_calls=[{"id": "1", **function(name="f", arguments="{")}])], "its arguments are not JSON"),
        ([{"role": "tool", "content": "x"}], "needs tool_call_id"),
    ],
)
async def test_unsupported_message_raises_request_error(messages: list[Json], message: str, api: Recorder) -> None:
    async with engine_for(Case({}), api) as engine:
        result = await engine.ainfer_partial([Conversation.from_dict({"messages": messages})])
    failure = result.failures[0]
    assert message in failure.error_message
    assert (failure.error_type, failure.is_retryable) == (InferenceErrorType.CONFIG, False)
    assert api.sent == []


def test_empty_text_beside_another_block_is_left_out() -> None:
    conversation = Conversation.from_dict({"messages": [user(""), user("Hello!"), user(" ")]})
    assert json.loads(encoder()(conversation).body)["messages"] == [turn("user", {"text": "Hello!"})]


def test_only_reasoning_is_sent_back_as_reasoning() -> None:
    location = {"s3Location": {"uri": "s3://others/x.png"}}
    blocks = [
        {"image": {"format": "png", "source": location}},
        THOUGHT | {"image": {"format": "png", "source": location}},
        {"reasoningContent": {"image": location}},
        {"reasoningContent": {"reasoningText": {"text": "They ask.", "signature": "c2ln", "source": location}}},
        HIDDEN,
    ]
    conversation = Conversation.from_dict({"messages": [user("Hi."), assistant("a", thinking_blocks=blocks)]})
    [_, sent] = json.loads(encoder()(conversation).body)["messages"]
    assert sent == turn("assistant", THOUGHT, THOUGHT, HIDDEN, {"text": "a"})


async def test_tool_choice_none_after_earlier_calls_is_refused(api: Recorder) -> None:
    """Bedrock refuses blocks of earlier calls in a request without tools, and it has no choice `none`."""
    case = Case({}, [*ASKED, tool("sunny")], {"tool_choice": "none"}, tools=[WEATHER])
    async with engine_for(case, api) as engine:
        result = await engine.ainfer_partial([case.conversation])
    assert "Bedrock has no `none`" in result.failures[0].error_message
    assert api.sent == []


BOTH, ONE, NONE = {"temperature", "topP"}, {"temperature"}, set[str]()


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (NOVA, BOTH),
        ("anthropic.claude-v2:1", BOTH),
        ("anthropic.claude-instant-v1", BOTH),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", BOTH),
        ("anthropic.claude-opus-4-20250514-v1:0", BOTH),
        ("anthropic.claude-opus-4-1-20250805-v1:0", ONE),
        (CLAUDE, ONE),
        (PROFILE, ONE),
        ("global.anthropic.claude-opus-4-6-v1", ONE),
        ("anthropic.claude-opus-4-7", NONE),
        ("us.anthropic.claude-opus-4-8-v1:0", NONE),
        ("anthropic.claude-opus-4-10", NONE),
        ("anthropic.claude-sonnet-5", NONE),
        ("global.anthropic.claude-fable-5-20260601-v1:0", NONE),
    ],
)
def test_claude_versions_accept_different_sampling_parameters(model: str, sent: set[str]) -> None:
    """Since 4.1 a model accepts one of the two parameters, since 4.7 none. The others are recorded as dropped."""
    made = encoder(model, temperature=0.5, top_p=0.5)
    body = json.loads(made(CASES["text"].conversation).body)
    assert set(body["inferenceConfig"]) == {"maxTokens"} | sent
    assert made.dropped == {"temperature", "top_p"} - {"top_p" if name == "topP" else name for name in sent}


async def test_unsupported_parameters_are_recorded(api: Recorder) -> None:
    case = Case({}, generation={"seed": 1, "temperature": 0.5, "parallel_tool_calls": False}, model="x.claude-opus-5")
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
    assert answered.metadata["dropped_parameters"] == ["parallel_tool_calls", "seed", "temperature"]
    assert "seed" not in SUPPORTED
    assert set(api.sent[0].body["inferenceConfig"]) == {"maxTokens"}


@pytest.mark.parametrize(
    ("url", "chats", "models"),
    [
        (None, "https://bedrock-runtime.eu-west-3.amazonaws.com", "https://bedrock.eu-west-3.amazonaws.com"),
        ("https://bedrock-runtime-fips.us-east-1.amazonaws.com/",) * 2
        + ("https://bedrock-fips.us-east-1.amazonaws.com",),
        ("http://localhost:4566/aws",) * 3,
    ],
)
async def test_chats_and_the_list_of_models_have_their_own_urls(url: str | None, chats: str, models: str) -> None:
    """A URL from the user ends before the path of the model."""
    remote = RemoteParams(api_url=url)
    engine = BedrockInferenceEngine(ModelParams(model_name="a:b"), remote_params=remote)
    model = ModelParams(model_name="a:b/c")
    plan = engine.plan(CallSettings(model, GenerationParams(), engine._remote_params or remote))
    request = plan.encode(CASES["text"].conversation)
    assert request.url == f"{chats.rstrip('/')}/model/a%3Ab%2Fc/converse"
    assert engine.provider().dialect.listing(plan.target[0]) == f"{models}/foundation-models"


async def test_missing_region_raises_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    async with BedrockInferenceEngine(ModelParams(model_name=NOVA)) as engine:
        with pytest.raises(ConfigError, match=r"BEDROCK needs it, or the environment variables AWS_REGION"):
            await engine.ainfer([CASES["text"].conversation])
