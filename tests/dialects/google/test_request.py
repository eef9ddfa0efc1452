"""Gemini's own API, `generateContent`. Requests and answers must equal those of Google's SDK."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    GenerationParams,
    GoogleGeminiInferenceEngine,
    GuidedDecodingParams,
    InferenceErrorType,
    ModelParams,
    RemoteParams,
    RequestError,
    StreamDelta,
    Usage,
)
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.google.request import GenerateEncoder
from asyncinfer.dialects.google.response import decode
from asyncinfer.dialects.google.stream import GeminiEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import check_answer_or_request_error, check_that_it_is_retryable, mangled
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder, Sent

# A warning of the SDK itself.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

Json = dict[str, Any]

PNG = b"\x89PNG\r\n\x1a\n and so on"
PDF = b"%PDF-1.7 and so on"
SIGNED = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}


def answer(*parts: Json, finish: str | None = "STOP", **more: Any) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"} | more


USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 64,
    "totalTokenCount": 150,
}
HELLO = {"text": "Hello."}
CALLED = {"functionCall": {"id": "f1", "name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2lnbmVk"}
TIMED = {"functionCall": {"name": "time", "args": {}}}


@pytest.fixture
async def google(api: Recorder) -> AsyncIterator[genai.Client]:
    """Google's client, as the reference."""
    api.answers(answer(HELLO))
    options = types.HttpOptions(base_url=api.url.removesuffix("/v1"), api_version="v1")
    client = genai.Client(api_key=KEY, http_options=options)
    yield client
    await client.aio.aclose()
    client.close()


# Requests


class Fruit(BaseModel):
    """Something sweet."""

    name: str
    grams: int


SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
WEATHER: Json = {"name": "weather", "description": "Tell the weather.", "parameters": SCHEMA}
DECLARED: Json = {"name": "weather", "description": "Tell the weather.", "parameters_json_schema": SCHEMA}
TOOLS: Json = {"tools": [{"function_declarations": [DECLARED]}]}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def user(*content: Any) -> Json:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def turn(*parts: Json, role: str = "user") -> Json:
    return {"role": role, "parts": list(parts)}


def calling(choice: Any) -> Json:
    return {"tool_config": {"function_calling_config": choice}}


TEXT = "Hello! \u00e9\U0001f600\n\u2028"
ASKED = [user(TEXT)]
TURNS = [turn({"text": TEXT})]


class Case(NamedTuple):
    """One request: the contents and settings for the SDK, and our messages and settings."""

    contents: list[Json] = TURNS
    config: Json = {}  # noqa: RUF012
    messages: list[Json] = ASKED
    generation: Json = {}  # noqa: RUF012
    tools: list[Any] | None = None

    @property
    def conversation(self) -> Conversation:
        tools = [{"type": "function", "function": tool} for tool in self.tools or ()]
        return Conversation.from_dict({"messages": self.messages, "tools": tools or None})


def tool_turn(result: str, **more: Any) -> list[Json]:
    """A conversation in which a tool was called and answered."""
    called = {"role": "assistant", "content": None, "tool_calls": [CALL | more]}
    return [*ASKED, called, {"role": "tool", "tool_call_id": "c1", "content": result}]


def responded(response: Json, **more: Any) -> list[Json]:
    called = {"function_call": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}}, **more}
    result = {"function_response": {"id": "c1", "name": "weather", "response": response}}
    return [*TURNS, turn(called, role="model"), turn(result)]


def guided(**by: Any) -> Json:
    return {"guided_decoding": GuidedDecodingParams(**by)}


CASES: dict[str, Case] = {
    "text": Case(),
    "system": Case(config={"system_instruction": "Be brief."}, messages=[{"role": "system", "content": "Be brief."}, *ASKED]),
    "several systems": Case(
        config={"system_instruction": turn({"text": "Be brief."}, {"text": "Be kind."})},
        messages=[{"role": "system", "content": "Be brief."}, *ASKED, {"role": "system", "content": "Be kind."}],
    ),
    "many turns": Case(
        [*TURNS, turn({"text": "Hi."}, role="model"), turn({"text": "Bye."})],
        messages=[*ASKED, {"role": "assistant", "content": "Hi."}, user("Bye.")],
    ),
    "text in parts": Case([turn({"text": "a"}, {"text": "b"})], messages=[user({"type": "text", "text": "a"}, {"type": "text", "text": "b"})]),
    "two messages of one role": Case(
        [turn({"text": "a"}, {"text": "b"}), turn({"text": "c"}, {"text": "d"}, role="model"), turn({"text": "e"})],
        messages=[user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}, user("e")],
    ),
    "blank texts": Case(
        [turn({"text": "a"}, {"text": "b"}), turn({"text": "c"}, role="model"), turn({"text": "d"})],
        messages=[
            {"role": "system", "content": " "},
            *(user("a"), {"role": "assistant", "content": "\n"}, user("b"), user("")),
            {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": ""}]},
            user("d"),
        ],
    ),
    "no text": Case([turn({"text": ""})], messages=[user("")]),
    "tools": Case(config=TOOLS, tools=[WEATHER]),
    "a tool without arguments": Case(
        config={"tools": [{"function_declarations": [{"name": "time"}]}]}, tools=[{"name": "time"}]
    ),
    "tool choice none": Case(config=TOOLS | calling({"mode": "NONE"}), generation={"tool_choice": "none"}, tools=[WEATHER]),
    "tool choice auto": Case(config=TOOLS | calling({"mode": "AUTO"}), generation={"tool_choice": "auto"}, tools=[WEATHER]),
    "tool choice required": Case(config=TOOLS | calling({"mode": "ANY"}), generation={"tool_choice": "required"}, tools=[WEATHER]),
    "a tool chosen": Case(
        config=TOOLS | calling({"mode": "ANY", "allowed_function_names": ["weather"]}),
        generation={"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        tools=[WEATHER],
    ),
    "a tool's result as text": Case(responded({"output": "sunny"}), TOOLS, tool_turn("sunny"), tools=[WEATHER]),
    "a tool's result as an object": Case(responded({"sky": "blue"}), TOOLS, tool_turn('{"sky": "blue"}'), tools=[WEATHER]),
    "a tool's result as a list": Case(responded({"output": "[1]"}), TOOLS, tool_turn("[1]"), tools=[WEATHER]),
    "a call with its signature": Case(
        responded({"output": "sunny"}, thought_signature=b"signed"), TOOLS, tool_turn("sunny", **SIGNED), tools=[WEATHER]
    ),
    "two calls and their results": Case(
        [
            *TURNS,
            turn(
                {"text": "Wait."},
                {"function_call": {"id": "c1", "name": "weather", "args": {"city": "Oslo"}}},
                {"function_call": {"id": "c2", "name": "time", "args": {}}},
                role="model",
            ),
            turn(
                {"function_response": {"id": "c1", "name": "weather", "response": {"output": "sunny"}}},
                {"function_response": {"id": "c2", "name": "time", "response": {"output": "noon"}}},
            ),
            turn({"text": "So?"}),
        ],
        messages=[
            *ASKED,
            {
                "role": "assistant",
                "content": "Wait.",
                "tool_calls": [CALL, CALL | {"id": "c2", "function": {"name": "time", "arguments": ""}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": "noon"},
            user("So?"),
        ],
    ),
    "an answer with its signature": Case(
        [*TURNS, turn({"text": "Hi.", "thought_signature": b"signed"}, role="model"), turn({"text": "Bye."})],
        messages=[*ASKED, {"role": "assistant", "content": "Hi.", **SIGNED}, user("Bye.")],
    ),
    "an image as bytes": Case(
        [turn({"inline_data": {"mime_type": "image/png", "data": PNG}})],
        messages=[user({"type": "image_binary", "binary": PNG})],
    ),
    "an image as a data URL": Case(
        [turn({"inline_data": {"mime_type": "image/png", "data": PNG}})],
        messages=[user({"type": "image_url", "content": "data:image/png;base64," + base64.b64encode(PNG).decode()})],
    ),
    "an image by URL": Case(
        [turn({"file_data": {"mime_type": "image/png", "file_uri": "https://x.example/cat.png?a=b"}})],
        messages=[user({"type": "image_url", "content": "https://x.example/cat.png?a=b"})],
    ),
    "an image by a URL that does not tell its type": Case(
        [turn({"file_data": {"file_uri": "https://x.example/cat"}})],
        messages=[user({"type": "image_url", "content": "https://x.example/cat"})],
    ),
    "an image in detail": Case(
        [
            turn(
                {
                    "file_data": {"mime_type": "image/png", "file_uri": "https://x.example/cat.png"},
                    "media_resolution": {"level": "MEDIA_RESOLUTION_LOW"},
                }
            )
        ],
        messages=[user({"type": "image_url", "image_url": {"url": "https://x.example/cat.png", "detail": "low"}})],
    ),
    "a PDF as bytes": Case(
        [turn({"text": "Sum up:"}, {"inline_data": {"mime_type": "application/pdf", "data": PDF}})],
        messages=[user({"type": "text", "text": "Sum up:"}, {"type": "document_binary", "binary": PDF})],
    ),
    "a PDF by URL": Case(
        [turn({"file_data": {"mime_type": "application/pdf", "file_uri": "https://x.example/a"}})],
        messages=[user({"type": "document_url", "content": "https://x.example/a"})],
    ),
    "a JSON schema": Case(
        config={"response_mime_type": "application/json", "response_json_schema": SCHEMA}, generation=guided(json=SCHEMA)
    ),
    "a schema with a union": Case(
        config={
            "response_mime_type": "application/json",
            "response_json_schema": {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        },
        generation=guided(json={"oneOf": [{"type": "string", "const": "a"}, {"type": "null"}], "discriminator": {}}),
    ),
    "a tool with a union": Case(
        config={
            "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"anyOf": [{"type": "object"}]}}]}]
        },
        tools=[{"name": "f", "parameters": {"oneOf": [{"type": "object"}]}}],
    ),
    "a pydantic model": Case(
        config={"response_mime_type": "application/json", "response_json_schema": Fruit.model_json_schema()},
        generation=guided(json=Fruit),
    ),
    "choices": Case(
        config={"response_mime_type": "text/x.enum", "response_schema": {"type": "STRING", "enum": ["yes", "no"]}},
        generation=guided(choice=["yes", "no"]),
    ),
    "stop": Case(config={"stop_sequences": ["\n", "END"]}, generation={"stop_strings": ["\n", "END"]}),
    "seed": Case(config={"seed": 0}, generation={"seed": 0}),
    "temperature": Case(config={"temperature": 0.7}, generation={"temperature": 0.7}),
    "top_p": Case(config={"top_p": 0.9}, generation={"top_p": 0.9}),
    "penalties": Case(
        config={"frequency_penalty": 0.5, "presence_penalty": -1.5},
        generation={"frequency_penalty": 0.5, "presence_penalty": -1.5},
    ),
    "log probabilities": Case(config={"response_logprobs": True}, generation={"logprobs": True}),
    "log probabilities of other tokens": Case(
        config={"response_logprobs": True, "logprobs": 3}, generation={"top_logprobs": 3}
    ),
    "token limit": Case(config={"max_output_tokens": 7}, generation={"max_new_tokens": 7}),
    "thinking": Case(
        config={"thinking_config": {"include_thoughts": True, "thinking_budget": 64}},
        generation={"extra_body": {"generationConfig": {"thinkingConfig": {"include_thoughts": True, "thinking_budget": 64}}}},
    ),
    "a cached prompt": Case(
        config={"cached_content": "cachedContents/1"}, generation={"extra_body": {"cachedContent": "cachedContents/1"}}
    ),
}  # fmt: skip
# Makes a request use the native API, and adds nothing to it.
NATIVE: Json = {"generationConfig": {}}


def engine_for(case: Case, api: Recorder, model: str = "gemini-2.5-flash") -> GoogleGeminiInferenceEngine:
    generation = {**case.generation, "extra_body": {**NATIVE, **case.generation.get("extra_body", {})}}
    return GoogleGeminiInferenceEngine(
        ModelParams(model_name=model),
        generation_params=GenerationParams(**generation),
        remote_params=RemoteParams(api_url=f"{api.url}/openai/chat/completions", api_key=KEY, max_retries=0),
    )


RENAMED = {
    "file_uri": "fileUri",
    "inline_data": "inlineData",
    "mime_type": "mimeType",
    "parameters_json_schema": "parametersJsonSchema",
}


def renamed(body: Any) -> Any:
    """The SDK writes some names in the style of protocol buffers. Google accepts both and documents ours."""
    if isinstance(body, list):
        return [renamed(one) for one in body]
    return {RENAMED.get(key, key): renamed(one) for key, one in body.items()} if isinstance(body, dict) else body


def assert_same(ours: Sent, theirs: Sent) -> None:
    assert ours.body == renamed(theirs.body)
    assert (ours.method, ours.path, ours.query) == (theirs.method, theirs.path, theirs.query)
    assert {name.lower(): value for name, value in ours.headers.items()}["x-goog-api-key"] == KEY
    assert "Authorization" not in ours.headers.keys() | theirs.headers.keys()
    assert ours.headers["Content-Type"] == theirs.headers["Content-Type"] == "application/json"


def settings_of(case: Case) -> Any:
    """The settings for the SDK. It does not send unset parameters; we always send our defaults, 1024 tokens and
    temperature 0, because they are our promise and not Google's defaults.
    """
    return {"max_output_tokens": 1024, "temperature": 0} | case.config


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_the_sdk(case: Case, api: Recorder, google: genai.Client) -> None:
    async with engine_for(case, api) as engine:
        await engine.ainfer([case.conversation])
    ours = api.sent[-1]
    contents: Any = case.contents
    await google.aio.models.generate_content(model="gemini-2.5-flash", contents=contents, config=settings_of(case))
    assert_same(ours, api.sent[-1])


async def test_image_in_a_result_equals_the_image_of_the_sdk(api: Recorder, google: genai.Client) -> None:
    """Only Gemini 3 accepts images there."""
    result: Any = [{"type": "text", "text": "A cat."}, {"type": "image_binary", "binary": PNG}]
    case = Case(messages=tool_turn(result))
    async with engine_for(case, api, "gemini-3-pro") as engine:
        await engine.ainfer([case.conversation])
    contents: Any = responded({"output": "A cat."})
    image = {"inline_data": {"mime_type": "image/png", "data": PNG}}
    contents[-1]["parts"][0]["function_response"]["parts"] = [image]
    await google.aio.models.generate_content(model="gemini-3-pro", contents=contents, config=settings_of(case))
    assert_same(*api.sent)


@pytest.mark.parametrize("model", ["models/gemini-2.5-flash", "tunedModels/mine-1", "gemini-2.5-flash"])
async def test_full_name_of_a_model_is_accepted(model: str, api: Recorder, google: genai.Client) -> None:
    case = CASES["text"]
    async with engine_for(case, api, model) as engine:
        await engine.ainfer([case.conversation])
    await google.aio.models.generate_content(model=model, contents=TEXT, config=settings_of(case))
    assert_same(*api.sent)


async def test_stream_request_uses_its_own_method(api: Recorder, google: genai.Client) -> None:
    case = CASES["system"]
    api.streams(as_bytes(answer(HELLO)))
    async with engine_for(case, api) as engine, engine.astream(case.conversation, ONE_ATTEMPT) as deltas:
        assert [delta.content async for delta in deltas] == ["Hello.", ""]
    stream = await google.aio.models.generate_content_stream(
        model="gemini-2.5-flash", contents=TEXT, config=settings_of(case)
    )
    assert [chunk.text async for chunk in stream] == ["Hello."]
    assert_same(*api.sent)
    assert api.sent[0].query == "alt=sse"


async def test_files_given_by_path_are_sent_as_bytes(tmp_path: Path, api: Recorder, google: genai.Client) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    case = CASES["a PDF as bytes"]
    by_path = case._replace(messages=[user({"type": "text", "text": "Sum up:"}, {"type": "document_path", "content": str(path)})])  # fmt: skip
    async with engine_for(by_path, api) as engine:
        await engine.ainfer([by_path.conversation])
    contents: Any = case.contents
    await google.aio.models.generate_content(model="gemini-2.5-flash", contents=contents, config=settings_of(case))
    assert_same(*api.sent)


def encoder(**generation: Any) -> GenerateEncoder:
    return GenerateEncoder(
        EncoderSettings("", ModelParams(model_name="m"), GenerationParams(**generation)), "http://api/v1"
    )


@pytest.mark.parametrize(
    ("generation", "key"),
    [
        (guided(regex="a+"), r"guided_decoding\.regex"),
        ({"tool_choice": "weather"}, r"tool_choice: should be none, auto, required, validated, or name a function"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tool_choice": {"function": {"name": 1}}}, "tool_choice"),
    ],
)
def test_unsupported_settings_raise_config_error(generation: Json, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"generation\.{key}"):
        encoder(**generation)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (
            {"role": "tool", "tool_call_id": "x", "content": "sunny"},
            "answers 'x', but no earlier message has this call",
        ),
        ({"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": "{"}}]}, "not JSON"),
        (user({"type": "image_url", "content": "http://[::1"}), "is not a valid URL"),
        (user({"type": "image_url", "content": "DATA:image/svg+xml;base64,AA"}), "holds 'image/svg"),
        (user({"type": "document_url", "content": "data:image/png;base64,AA"}), "holds 'image/png'"),
        (user({"type": "document_path", "content": "a.pdf"}), "was not read"),
        (user({"type": "image_url", "content": "data:image/svg+xml,<svg/>"}), "no base64 data"),
    ],
)
def test_unsupported_message_raises_request_error_with_the_reason(message: Json, why: str) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        encoder()(Conversation.from_dict({"messages": [message]}))
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONFIG, False)


def test_tool_choice_is_left_out_without_tools() -> None:
    body = json.loads(encoder(tool_choice="required")(question("Hello?")).body)
    assert body.keys() == {"contents", "generationConfig"}


def test_tool_result_without_a_known_call_uses_the_name_of_its_message() -> None:
    message = {"role": "tool", "name": "weather", "content": "sunny"}
    body = json.loads(encoder()(Conversation.from_dict({"messages": [message]})).body)
    part = {"functionResponse": {"name": "weather", "response": {"output": "sunny"}}}
    assert body["contents"] == [turn(part)]


def test_answer_with_only_a_thought_is_left_out() -> None:
    messages = [*ASKED, {"role": "assistant", "content": None, "reasoning_content": "Hm."}]
    assert json.loads(encoder()(Conversation.from_dict({"messages": messages})).body)["contents"] == TURNS


def test_extra_fields_are_merged_and_take_precedence() -> None:
    extra = {"generationConfig": {"topK": 1, "temperature": 1, "maxOutputTokens": None}, "safetySettings": []}
    body = json.loads(encoder(extra_body=extra)(question("Hello?")).body)
    assert body["generationConfig"] == {"temperature": 1, "topK": 1}
    assert body["safetySettings"] == []


def test_encoding_does_not_change_its_input() -> None:
    conversation = CASES["two calls and their results"].conversation
    generation = GenerationParams(extra_body={"generationConfig": {"topK": 1}}, **guided(json=SCHEMA))
    before = conversation.to_json(), generation.model_dump_json()
    encode = GenerateEncoder(EncoderSettings("", ModelParams(model_name="m"), generation), "http://api/v1")
    assert encode(conversation) == encode(conversation)
    assert (conversation.to_json(), generation.model_dump_json()) == before


# Responses


ANSWERS: dict[str, Json] = {
    "text": answer(HELLO),
    "text in parts": answer({"text": "Hel"}, {"text": "lo."}),
    "no text": answer({"text": ""}),
    "no parts": answer(finish="MAX_TOKENS"),
    "a tool call": answer(CALLED),
    "a tool call without arguments": answer({"functionCall": {"id": "f2", "name": "time"}}),
    "two tool calls": answer(CALLED, CALLED | {"functionCall": {"id": "f2", "name": "time", "args": {}}}),
    "text and a tool call": answer({"text": "Wait."}, CALLED),
    "thoughts": answer({"text": "Hm.", "thought": True}, {"text": "4"}),
    "cut off": answer({"text": "Hel"}, finish="MAX_TOKENS"),
    "detailed usage": answer(HELLO, usageMetadata=USAGE),
    "newer keys": answer(HELLO | {"news": 1}, news=[1]),
}


def read(body: Any, status: int = 200) -> Completion:
    return decode(HttpResponse(status, {}, json.dumps(body).encode()))


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS.keys())
async def test_answer_equals_the_answer_that_the_sdk_reads(body: Json, api: Recorder, google: genai.Client) -> None:
    api.answers(body)
    theirs = await google.aio.models.generate_content(model="m", contents="Hello?")
    ours = read(body)
    [candidate] = theirs.candidates or []
    parts = (candidate.content.parts if candidate.content else None) or []
    texts = [part.text for part in parts if part.text and not part.thought]
    assert (ours.message.content or "") == "".join(texts)
    assert (ours.message.reasoning_content or "") == "".join(part.text or "" for part in parts if part.thought)
    assert [
        (call.id, call.function.name, call.function.get_arguments_dict()) for call in ours.message.tool_calls or ()
    ] == [(call.id, call.name, call.args or {}) for call in theirs.function_calls or ()]
    if (counted := theirs.usage_metadata) is not None:
        assert ours.usage is not None
        assert ours.usage.prompt_tokens == counted.prompt_token_count
        assert ours.usage.total_tokens == counted.total_token_count
        assert ours.usage.cached_tokens == counted.cached_content_token_count
        assert ours.usage.reasoning_tokens == counted.thoughts_token_count


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(100, 50, 150, cached_tokens=64, reasoning_tokens=30)),
        ({"promptTokenCount": 3, "candidatesTokenCount": 4}, Usage(3, 4, 7)),
        ({"promptTokenCount": 3, "toolUsePromptTokenCount": 5, "totalTokenCount": 8}, Usage(8, 0, 8)),
        ({"promptTokenCount": "3"}, Usage(3, 0, 3)),
        ({"promptTokenCount": False, "totalTokenCount": 10**308}, Usage(0, 0, 0)),
        ([3], None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_counts_thoughts_as_completion_tokens(usage: Any, expected: Usage | None) -> None:
    assert read(answer(HELLO, usageMetadata=usage)).usage == expected


@pytest.mark.parametrize("reason", types.FinishReason)
def test_every_finish_reason_of_the_sdk_is_known(reason: types.FinishReason) -> None:
    meant = read(answer(finish=reason.value)).finish_reason
    vague = {"FINISH_REASON_UNSPECIFIED", "OTHER", "IMAGE_OTHER", "NO_IMAGE", "CONTINUATION", "ESCALATION"}
    assert (meant is FinishReason.UNKNOWN) == (reason.value in vague | {"PUP_LIMITED_DISABLED"})


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("RECITATION", FinishReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", FinishReason.ERROR),
        ("BORED", FinishReason.UNKNOWN),
    ],
)
def test_finish_reason_is_mapped(reason: str, meant: FinishReason) -> None:
    assert read(answer(finish=reason)).finish_reason is meant


def test_finish_reason_of_a_call_is_tool_calls_unless_the_answer_was_cut() -> None:
    assert read(answer(CALLED)).finish_reason is FinishReason.TOOL_CALLS
    assert read(answer(CALLED, finish="MAX_TOKENS")).finish_reason is FinishReason.LENGTH


def test_blocked_prompt_has_an_empty_answer_with_the_reason() -> None:
    blocked = read({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert (blocked.message.content, blocked.finish_reason) == ("", FinishReason.CONTENT_FILTER)
    assert (blocked.metadata, blocked.usage) == ({"block_reason": "SAFETY"}, Usage(3, 0, 3))


def test_signatures_are_stored_under_extra_content() -> None:
    [call] = read(answer(CALLED)).message.tool_calls or []
    assert call.model_extra == SIGNED
    message = read(answer({"text": "Hi."}, {"text": "", "thoughtSignature": "c2lnbmVk"})).message
    assert (message.content, message.model_extra) == ("Hi.", SIGNED)


async def test_answer_is_sent_back_unchanged(api: Recorder) -> None:
    api.answers(answer({"text": "Wait."}, CALLED))
    case = CASES["tools"]
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
        await engine.ainfer([Conversation.from_json(answered.to_json())])
    assert api.sent[-1].body["contents"][-1] == turn({"text": "Wait."}, CALLED, role="model")


def test_call_without_an_id_gets_one() -> None:
    first, second = (call for call in read(answer(TIMED, TIMED)).message.tool_calls or ())
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_only_the_first_candidate_is_read() -> None:
    other = {"index": 1, "content": {"parts": [{"text": "Bye."}]}}
    body = answer(HELLO)
    assert read(body | {"candidates": [other, *body["candidates"]]}).message.content == "Hello."


def candidate(content: Any, **more: Any) -> Json:
    return {"content": content, "finishReason": "STOP", **more}


@pytest.mark.parametrize(
    "candidates",
    [
        [None, candidate({"parts": [{"text": "Hi."}]})],
        candidate({"parts": [{"text": "Hi."}]}),
        [candidate("Hi.")],
        [candidate([{"text": "Hi."}])],
        [candidate({"parts": "Hi."})],
        [candidate({"parts": ["Hi."]})],
        [candidate({"parts": [{"text": ["H", "i."]}]})],
        [candidate({"parts": [{"functionCall": None}, {"text": "Hi."}]})],
        [candidate({"parts": [{"functionCall": {}}, {"text": "Hi."}]})],
    ],
)
def test_text_in_any_form_is_read(candidates: Any) -> None:
    assert read({"candidates": candidates, "error": None}).message.content == "Hi."
    deltas = deltas_of({"candidates": candidates})
    assert "".join(delta.content for delta in deltas) == "Hi."


def test_only_candidate_may_have_any_index() -> None:
    only = candidate({"parts": [{"text": "Hi."}]}, index=1)
    assert read({"candidates": [only]}).message.content == "Hi."


def test_call_in_snake_case_is_read() -> None:
    [call] = read(answer({"function_call": {"name": "f", "args": {"a": 1}}})).message.tool_calls or []
    assert (call.function.name, call.function.get_arguments_dict()) == ("f", {"a": 1})


def test_unknown_part_alone_becomes_its_json_text() -> None:
    assert read(answer({"name": "Bob"})).message.content == '[{"name":"Bob"}]'


NO_ANSWERS: dict[str, Any] = {
    "nothing": {},
    "no candidates": {"candidates": []},
    "null candidates": {"candidates": None},
    "a null candidate": {"candidates": [None]},
    "candidates of another kind": {"candidates": {"a": 1}},
    "an empty candidate": {"candidates": [{"index": 0}]},
    "parts of another kind": {"candidates": [{"content": {"parts": 5}}]},
    "a call without a name": answer({"functionCall": {"args": {}}}),
    "a null call": answer({"functionCall": None}),
    "null": None,
    "a list": [],
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_success_without_an_answer_is_retryable(body: Any) -> None:
    check_that_it_is_retryable(read, body)


ERRORS = [
    (400, "INVALID_ARGUMENT", False, False),
    (403, "PERMISSION_DENIED", False, False),
    (404, "NOT_FOUND", False, False),
    (429, "RESOURCE_EXHAUSTED", True, True),
    (500, "INTERNAL", True, False),
    (503, "UNAVAILABLE", True, True),
    (504, "DEADLINE_EXCEEDED", True, False),
]


@pytest.mark.parametrize(("code", "status", "retryable", "overload"), ERRORS)
async def test_error_has_google_s_message(
    code: int, status: str, retryable: bool, overload: bool, api: Recorder, google: genai.Client
) -> None:
    api.answers({"error": {"code": code, "message": "Alas.", "status": status}}, code)
    with pytest.raises(genai.errors.APIError) as theirs:
        await google.aio.models.generate_content(model="m", contents="Hello?")
    result = None
    async with engine_for(CASES["text"], api) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    failure = result.failures[0]
    assert (failure.status_code, failure.is_retryable) == (theirs.value.code, retryable)
    assert str(theirs.value.message) in failure.error_message
    with pytest.raises(RequestError, match="Alas") as caught:
        deltas_of(answer(HELLO, finish=None), {"error": {"code": code, "message": "Alas.", "status": status}})
    assert (caught.value.status_code, caught.value.is_overload) == (code, overload)


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(ANSWERS.values()))))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    check_answer_or_request_error(read, body)


@given(st.integers(0, 400))
def test_truncated_response_is_retryable(length: int) -> None:
    whole = json.dumps(answer(CALLED, usageMetadata=USAGE)).encode()
    with pytest.raises(RequestError) as caught:
        decode(HttpResponse(200, {}, whole[: min(length, len(whole) - 1)]))
    assert caught.value.is_retryable


# Streams


STREAMS: dict[str, list[Json]] = {
    "text": [
        answer({"text": "Hel"}, finish=None, usageMetadata={"promptTokenCount": 100}),
        answer({"text": "lo."}, usageMetadata=USAGE),
    ],
    "an end of its own": [answer(HELLO, finish=None), answer({"text": ""}, usageMetadata=USAGE)],
    "thoughts": [answer({"text": "Hm.", "thought": True}, finish=None), answer({"text": "4"})],
    "tool calls": [answer(CALLED, finish=None), answer({"functionCall": {"id": "f2", "name": "time", "args": {}}})],
    "an end without parts": [answer(HELLO, finish=None), {"candidates": [{"finishReason": "STOP", "index": 0}]}],
}


def deltas_of(*events: Json | str) -> list[StreamDelta]:
    decoder = GeminiEventDecoder()
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return [*itertools.chain.from_iterable(decoder.feed(ServerSentEvent(text)) for text in texts), decoder.finish()]


def as_bytes(*events: Json) -> bytes:
    return "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events).encode()


async def streamed(api: Recorder) -> list[StreamDelta]:
    async with engine_for(CASES["text"], api) as engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        return [delta async for delta in deltas]


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS.keys())
async def test_stream_equals_the_stream_that_the_sdk_reads(
    events: list[Json], api: Recorder, google: genai.Client
) -> None:
    api.streams(as_bytes(*events))
    ours = await streamed(api)
    stream = await google.aio.models.generate_content_stream(model="m", contents="Hello?")
    chunks = [chunk async for chunk in stream]
    parts = [
        part for chunk in chunks for one in chunk.candidates or () for part in (one.content and one.content.parts) or ()
    ]
    assert "".join(delta.content for delta in ours) == "".join(part.text or "" for part in parts if not part.thought)
    assert "".join(delta.reasoning_content for delta in ours) == "".join(part.text or "" for part in parts if part.thought)  # fmt: skip
    calls = [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in ours[-1].tool_calls]  # fmt: skip
    assert calls == [(call.id, call.name, call.args) for chunk in chunks for call in chunk.function_calls or ()]
    assert ours[-1].finish_reason is (FinishReason.TOOL_CALLS if calls else FinishReason.STOP)
    assert (ours[-1].usage is None) == (chunks[-1].usage_metadata is None)


def test_last_delta_has_usage_and_signature() -> None:
    *_, last = deltas_of(*STREAMS["text"])
    assert last.usage == Usage(100, 50, 150, cached_tokens=64, reasoning_tokens=30)
    *_, last = deltas_of(*STREAMS["tool calls"])
    assert last.tool_calls[0]["extra_content"] == SIGNED["extra_content"]


def test_calls_are_passed_on_as_they_arrive_and_those_without_arguments_at_the_end() -> None:
    timed, *_, last = deltas_of(answer(CALLED, finish=None), *STREAMS["tool calls"][1:])
    assert [(piece.index, piece.name) for piece in timed.tool_call_deltas] == [(0, "weather")]
    assert [(piece.index, piece.name) for piece in last.tool_call_deltas] == [(1, "time")]


def test_blocked_prompt_ends_the_stream() -> None:
    assert deltas_of({"promptFeedback": {"blockReason": "OTHER"}})[-1].finish_reason is FinishReason.CONTENT_FILTER


@pytest.mark.parametrize("events", [[], [answer(HELLO, finish=None)], [{"usageMetadata": USAGE}]])
def test_stream_without_a_finish_reason_is_truncated(events: list[Json]) -> None:
    with pytest.raises(RequestError, match="broke off") as caught:
        deltas_of(*events)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


SECOND_UNREADABLE: Json = {"candidates": [{"index": 1, "content": True}]}


@pytest.mark.parametrize("event", ["", "{", "5", "[1]", answer({"functionCall": {}}), SECOND_UNREADABLE])
def test_unreadable_event_is_retryable(event: Json | str) -> None:
    check_that_it_is_retryable(deltas_of, event, "has an event")


@settings(max_examples=300)
@given(mangled(st.sampled_from(list(STREAMS.values()))))
def test_mangled_stream_is_deltas_or_a_request_error(events: list[Any]) -> None:
    with contextlib.suppress(RequestError):
        seen = deltas_of(*(json.dumps(event) for event in events))
        assert all(isinstance(delta.content, str) and isinstance(delta.reasoning_content, str) for delta in seen)


def test_null_members_of_a_part_are_ignored() -> None:
    nulls = dict.fromkeys(("text", "thought", "functionCall", "inlineData", "thoughtSignature"))
    body = answer(nulls | {"text": "Hi."}, None, nulls | {"functionCall": {"name": "f", "args": {}}})  # type: ignore[arg-type]
    message = read(body).message
    assert (message.content, [call.function.name for call in message.tool_calls or ()]) == ("Hi.", ["f"])


def test_single_part_needs_no_list() -> None:
    body = answer()
    body["candidates"][0]["content"]["parts"] = HELLO
    assert read(body).message.content == read(answer(HELLO)).message.content != ""
