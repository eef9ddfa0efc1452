"""Gemini: requests to its OpenAI-compatible endpoint, compared with OpenAI's SDK, and requests to its own API."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
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
)
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.google.gemini import GEMINI, GeminiEncoder, decode
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import mangled
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import SUCCESS, Recorder, Sent

Json = dict[str, Any]

PNG = b"\x89PNG\r\n\x1a\n and so on"
PDF = b"%PDF-1.7 and so on"
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL: Json = {"type": "function", "function": {"name": "weather", "description": "Tell it.", "parameters": SCHEMA}}
SIGNED: Json = {"extra_content": {"google": {"thought_signature": "c2lnbmVk"}}}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}, **SIGNED}
THINKING: Json = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}}
NATIVE: Json = {"candidates": [{"content": {"parts": [{"text": "Hello."}]}, "finishReason": "STOP"}]}
NAMED: Json = {"type": "function", "function": {"name": "weather"}}


class Stone(BaseModel):
    hard: bool


class Plum(BaseModel):
    stone: Stone


class Branch(BaseModel):
    forks: list[Branch]


class Case(NamedTuple):
    """One request: the arguments of the SDK, and our settings for the same request."""

    sdk: Json = {}  # noqa: RUF012
    generation: Json = {}  # noqa: RUF012
    messages: list[Json] = [{"role": "user", "content": "Hello! é😀"}]  # noqa: RUF012
    tools: list[Json] | None = None
    ours: list[Json] | None = None
    user_id: str | None = None

    @property
    def conversation(self) -> Conversation:
        return Conversation.from_dict({"messages": self.ours or self.messages, "tools": self.tools})


def guided(**by: Any) -> Json:
    return {"guided_decoding": GuidedDecodingParams(**by)}


def schema(name: str, schema: Json) -> Json:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}}


def user(*items: Json) -> list[Json]:
    return [{"role": "user", "content": list(items)}]


INLINED_PLUM: Json = {
    "title": "Plum",
    "type": "object",
    "properties": {
        "stone": {
            "title": "Stone",
            "type": "object",
            "properties": {"hard": {"title": "Hard", "type": "boolean"}},
            "required": ["hard"],
        }
    },
    "required": ["stone"],
}
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
HELLO = Case().messages
CASES: dict[str, Case] = {
    "text": Case(),
    "system": Case(messages=[{"role": "system", "content": "Be brief."}, *HELLO]),
    "many turns": Case(messages=[*HELLO, {"role": "assistant", "content": "Hi."}, *HELLO]),
    "two messages of one role": Case(
        messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        ours=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    ),
    "blank texts": Case(
        messages=[*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}, *HELLO],
        ours=[
            {"role": "system", "content": ""},
            *HELLO,
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}, {"type": "text", "text": " "}]},
            *HELLO,
            {"role": "assistant", "content": " "},
        ],
    ),
    "a call beside a blank text": Case(
        {"tools": [TOOL]},
        messages=[*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        ours=[*HELLO, {"role": "assistant", "content": "\n", "tool_calls": [CALL]}],
        tools=[TOOL],
    ),
    "a schema with a union": Case(
        schema("Response", {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        guided(json={"oneOf": [{"type": "string", "const": "a"}, {"type": "null"}]}),
    ),
    "tools": Case({"tools": [TOOL]}, tools=[TOOL]),
    "keys that Google refuses": Case(
        {"tools": [TOOL]},
        ours=[
            {"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"], "cache_control": {}}], "mood": 1}
        ],
        messages=[{"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"]}]}],
        tools=[TOOL | {"cache_control": {}, "function": TOOL["function"] | {"mood": 1}}],
    ),
    "tool choice": Case({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice": "required"}, tools=[TOOL]),
    "a tool chosen": Case({"tools": [TOOL], "tool_choice": NAMED}, {"tool_choice": NAMED}, tools=[TOOL]),
    "a tool's result, and the signature of its call": Case(
        {"tools": [TOOL]},
        messages=[
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
        tools=[TOOL],
    ),
    "an answer with its signature": Case(messages=[*HELLO, {"role": "assistant", "content": "Hi.", **SIGNED}, *HELLO]),
    "an image as bytes": Case(
        messages=user({"type": "image_url", "image_url": {"url": PNG_URL}}),
        ours=user({"type": "image_binary", "binary": PNG}),
    ),
    "an image as a data URL": Case(
        messages=user({"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}})
    ),
    "a JSON schema": Case(schema("Response", SCHEMA), guided(json=SCHEMA)),
    "a pydantic model, without references": Case(schema("Plum", INLINED_PLUM), guided(json=Plum)),
    "stop": Case({"stop": ["END"]}, {"stop_strings": ["END"]}),
    "temperature": Case({"temperature": 0.7}, {"temperature": 0.7}),
    "top_p": Case({"top_p": 0.9}, {"top_p": 0.9}),
    "token limit": Case({"max_completion_tokens": 7}, {"max_new_tokens": 7}),
    "reasoning effort": Case({"reasoning_effort": "low"}, {"extra_body": {"reasoning_effort": "low"}}),
    "thinking": Case({"extra_body": THINKING}, {"extra_body": THINKING}),
    "no field for the end user": Case(user_id="u-1"),
}
# Requests for Gemini's own API, each with a field that shows it.
NATIVE_CASES: dict[str, tuple[Case, Json]] = {
    "a seed": (Case(generation={"seed": 0}), {"seed": 0}),
    "a penalty": (Case(generation={"frequency_penalty": 1}), {"frequencyPenalty": 1}),
    "another penalty": (Case(generation={"presence_penalty": -1}), {"presencePenalty": -1}),
    "log probabilities": (Case(generation={"logprobs": True}), {"responseLogprobs": True}),
    "choices": (Case(generation=guided(choice=["a", "b"])), {"responseMimeType": "text/x.enum"}),
    "a schema that is part of itself": (
        Case(generation=guided(json=Branch)),
        {"responseJsonSchema": Branch.model_json_schema()},
    ),
    "a field of its own": (
        Case(generation={"extra_body": {"generationConfig": {"topK": 5}}}),
        {"topK": 5, "temperature": 0},
    ),
    "a document": (Case(messages=user({"type": "document_binary", "binary": PDF})), {}),
    "a document by URL": (Case(messages=user({"type": "document_url", "content": "https://x.example/a.pdf"})), {}),
    "an image by URL": (Case(messages=user({"type": "image_url", "content": "https://x.example/a.png"})), {}),
}


@pytest.fixture
async def sdk(api: Recorder) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's client, set up as Google's documentation says."""
    async with AsyncOpenAI(base_url=f"{api.url}/openai/", api_key=KEY, max_retries=0) as client:
        yield client


def engine_for(case: Case, api: Recorder) -> GoogleGeminiInferenceEngine:
    return GoogleGeminiInferenceEngine(
        ModelParams(model_name="gemini-2.5-flash"),
        generation_params=GenerationParams(**case.generation),
        remote_params=RemoteParams(api_url=f"{api.url}/openai/", api_key=KEY, user_id=case.user_id, max_retries=0),
    )


async def sent_by_us(case: Case, api: Recorder) -> Sent:
    async with engine_for(case, api) as engine:
        await engine.ainfer([case.conversation])
    return api.sent[-1]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_request_equals_the_request_of_the_sdk(case: Case, api: Recorder, sdk: AsyncOpenAI) -> None:
    """The SDK does not send unset parameters. We always send our default token limit and temperature."""
    ours = await sent_by_us(case, api)
    defaults: Json = {"model": "gemini-2.5-flash", "max_completion_tokens": 1024, "temperature": 0}
    request: Json = defaults | {"messages": case.messages} | case.sdk
    await sdk.chat.completions.create(**request)
    theirs = api.sent[-1]
    assert ours.body == theirs.body
    assert (ours.method, ours.path) == (theirs.method, theirs.path) == ("POST", "/v1/openai/chat/completions")
    assert ours.headers["Authorization"] == theirs.headers["Authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in ours.headers


@pytest.mark.parametrize(("case", "shown"), NATIVE_CASES.values(), ids=NATIVE_CASES.keys())
async def test_feature_missing_from_the_compatible_endpoint_uses_the_native_api(
    case: Case, shown: Json, api: Recorder
) -> None:
    api.answers(NATIVE)
    sent = await sent_by_us(case, api)
    assert sent.path == "/v1/models/gemini-2.5-flash:generateContent"
    assert sent.body["generationConfig"].items() >= shown.items()
    assert (sent.headers["x-goog-api-key"], "Authorization" in sent.headers) == (KEY, False)


async def test_rows_of_one_call_can_use_different_endpoints(api: Recorder) -> None:
    api.answers(NATIVE)
    document = NATIVE_CASES["a document"][0]
    async with engine_for(document, api) as engine:
        await engine.ainfer([document.conversation])
        api.answers(SUCCESS)
        await engine.ainfer([question("Hello?")])
    assert [sent.path.rpartition("/")[2] for sent in api.sent] == ["gemini-2.5-flash:generateContent", "completions"]


def encoder(url: str = "http://api/v1beta/openai/chat/completions", **generation: Any) -> GeminiEncoder:
    return GeminiEncoder(EncoderSettings(url, ModelParams(model_name="m"), GenerationParams(**generation)))


@pytest.mark.parametrize(
    ("generation", "why"),
    [
        (guided(regex="a+"), "guided_decoding.regex"),
        ({"seed": 1, "extra_body": {"reasoning_effort": "low"}}, "seed needs Gemini's own API; .*extra_body.reasoning_effort"),
        ({"tool_choice": "weather"}, "tool_choice"),
    ],
)  # fmt: skip
def test_settings_that_no_endpoint_supports_raise_config_error(generation: Json, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        encoder(**generation)


def test_native_feature_behind_a_url_without_the_standard_path_raises_config_error() -> None:
    with pytest.raises(ConfigError, match=r"seed needs Gemini's own API; remote_params\.api_url does not end with"):
        encoder("http://api/gemini", seed=1)
    assert encoder("http://api/gemini")(question("Hello?")).url == "http://api/gemini"


def test_row_for_the_native_api_with_compatible_only_settings_is_refused() -> None:
    encode = encoder(extra_body={"reasoning_effort": "low"})
    with pytest.raises(RequestError, match=r"document_binary needs Gemini's own API.*thinkingConfig") as caught:
        encode(NATIVE_CASES["a document"][0].conversation)
    assert caught.value.error_type is InferenceErrorType.CONFIG
    assert encode(question("Hello?")).url.endswith("/chat/completions")


async def test_unsupported_parameters_are_dropped_and_recorded(api: Recorder) -> None:
    case = Case(generation={"logit_bias": {1: 1}, "parallel_tool_calls": False, "min_p": 0.5}, tools=[TOOL])
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
    assert answered.metadata["dropped_parameters"] == ["logit_bias", "min_p", "parallel_tool_calls"]
    assert api.sent[-1].body.keys() == {"model", "messages", "max_completion_tokens", "temperature", "tools"}


# Responses


def read(body: Any) -> Any:
    return decode(HttpResponse(200, {}, json.dumps(body).encode()))


def test_endpoint_is_recognised_from_the_answer() -> None:
    assert read(SUCCESS).message.content == read(NATIVE).message.content == "Hello."
    assert read({"promptFeedback": {"blockReason": "SAFETY"}}).finish_reason is FinishReason.CONTENT_FILTER
    message = {"role": "assistant", "content": "candidates"}
    assert read(SUCCESS | {"choices": [{"message": message}]}).message.content == "candidates"


async def test_thought_signature_is_sent_back_to_both_endpoints(api: Recorder) -> None:
    message = {"role": "assistant", "content": "Wait.", "tool_calls": [CALL], **SIGNED}
    api.answers(SUCCESS | {"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    case = Case(tools=[TOOL])
    async with engine_for(case, api) as engine:
        [answered] = await engine.ainfer([case.conversation])
        await engine.ainfer([Conversation.from_json(answered.to_json())])
    assert api.sent[-1].body["messages"][-1] == message
    encode = encoder(seed=1)
    [_, (text, call)] = [turn["parts"] for turn in json.loads(encode(answered).body)["contents"]]
    assert (text["thoughtSignature"], call["thoughtSignature"]) == ("c2lnbmVk", "c2lnbmVk")


def events(*bodies: Json | str) -> bytes:
    return "".join(f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n" for body in bodies).encode()


def chunk(finish: str | None = None, **delta: Any) -> Json:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("case", "stream"),
    [
        (CASES["text"], events(chunk(content="Hel"), chunk("stop", content="lo."), "[DONE]")),
        (NATIVE_CASES["a seed"][0], events(NATIVE)),
    ],
    ids=["compatible", "native"],
)
async def test_stream_of_each_endpoint_is_read(case: Case, stream: bytes, api: Recorder) -> None:
    api.streams(stream)
    async with engine_for(case, api) as engine, engine.astream(case.conversation, ONE_ATTEMPT) as deltas:
        seen = [delta async for delta in deltas]
    assert "".join(delta.content for delta in seen) == "Hello."
    assert seen[-1].finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ({"usageMetadata": {"promptTokenCount": 3}}, [NATIVE]),
        ({"modelVersion": "gemini-2.5-flash"}, [NATIVE]),
        ({"responseId": "r"}, [NATIVE]),
        ({"id": "c"}, [chunk("stop", content="Hello."), "[DONE]"]),
        ({"object": "chat.completion.chunk", "choices": []}, [chunk("stop", content="Hello."), "[DONE]"]),
    ],
)
def test_stream_can_begin_with_events_without_an_answer(first: Json, rest: list[Json | str]) -> None:
    decoder = GEMINI.stream()
    seen = [*decoder.feed(events(first, *rest)), decoder.finish()]
    assert "".join(delta.content for delta in seen) == "Hello."
    assert seen[-1].finish_reason is FinishReason.STOP


def test_streamed_call_keeps_its_signature() -> None:
    decoder = GEMINI.stream()
    call = {"index": 0, **CALL}
    seen = [*decoder.feed(events(chunk(tool_calls=[call]), chunk("tool_calls"))), decoder.finish()]
    [last] = seen
    assert (last.tool_calls, last.finish_reason) == ((CALL,), FinishReason.TOOL_CALLS)


def test_thoughts_are_separated_from_the_text() -> None:
    """With `include_thoughts`, the compatible endpoint marks thoughts by tags in the text and by a flag beside it."""
    thought: Json = {"extra_content": {"google": {"thought": True, "thought_signature": "c2lnbmVk"}}}
    message = {"role": "assistant", "content": "<thought>Hm.</thought>4", **thought}
    answer = read(SUCCESS | {"choices": [{"message": message, "finish_reason": "stop"}]}).message
    assert (answer.reasoning_content, answer.content, answer.model_extra) == ("Hm.", "4", SIGNED)
    decoder = GEMINI.stream()
    parts = [
        chunk(content="<thought>H", **thought),
        chunk(content="m.", **thought),
        chunk(content="</thought>4"),
        chunk("stop"),
    ]
    assert [*decoder.feed(events(*parts))] == [
        StreamDelta(reasoning_content="H"),
        StreamDelta(reasoning_content="m."),
        StreamDelta("4"),
    ]


def test_text_with_thought_tags_but_without_the_thought_flag_is_text() -> None:
    message = {"role": "assistant", "content": "<thought>Hm.</thought>4"}
    assert read(SUCCESS | {"choices": [{"message": message}]}).message.content == "<thought>Hm.</thought>4"


def test_empty_stream_is_truncated() -> None:
    with pytest.raises(RequestError, match="broke off"):
        GEMINI.stream().finish()


async def test_error_object_within_a_list_is_read(api: Recorder) -> None:
    """The compatible endpoint sends errors in a list."""
    api.answers([{"error": {"code": 400, "message": "Unknown name.", "status": "INVALID_ARGUMENT"}}], 400)
    async with engine_for(CASES["text"], api) as engine:
        result = await engine.ainfer_partial([question("Hello?")])
    assert (result.failures[0].error_message, result.failures[0].is_retryable) == ("HTTP 400: Unknown name.", False)


async def test_models_are_listed_with_the_names_used_in_chats(api: Recorder) -> None:
    names = ["models/gemini-2.5-flash", "models/text-embedding-004", "models/imagen-4.0"]
    api.answers({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
    async with engine_for(CASES["text"], api) as engine:
        assert await engine.alist_models() == ["gemini-2.5-flash"]
        assert len(await engine.alist_models(chat_only=False)) == 3
    assert (api.sent[0].path, api.sent[0].headers["Authorization"]) == ("/v1/openai/models", f"Bearer {KEY}")


@settings(max_examples=200)
@given(mangled(st.sampled_from([NATIVE, SUCCESS])))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    try:
        assert isinstance(read(body).finish_reason, FinishReason)
    except RequestError:
        return


@given(st.lists(st.text(), max_size=3))
def test_stream_of_any_text_is_deltas_or_a_request_error(texts: list[str]) -> None:
    decoder = GEMINI.stream()
    try:
        _ = [*decoder.feed(events(*texts)), decoder.finish()]
    except RequestError:
        return
