"""The differences of providers that speak OpenAI's chat format.

Requests and answers must equal those of each provider's own SDK.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import (
    ConfigError,
    Conversation,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    InferenceErrorType,
    Message,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
    Usage,
    build_engine,
)
from asyncinfer import InferenceEngineType as Engine
from asyncinfer.dialects.openai.response import decode
from asyncinfer.dialects.openai.stream import OpenAIEventDecoder
from asyncinfer.dialects.sse import ServerSentEvent
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from tests.dialects.conftest import KEY
from tests.dialects.mangled import mangled
from tests.dialects.openai.test_request import (
    CALL,
    HELLO,
    LOOK,
    NAMED,
    PNG,
    PNG_URL,
    SCHEMA,
    TIME,
    WEATHER,
    guided,
    image,
    json_schema,
    user,
)
from tests.dialects.openai.test_stream import DONE, as_bytes, chunk
from tests.dialects.reference_sdks import REFERENCE_SDKS
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import SUCCESS, Recorder

Json = dict[str, Any]

PDF = b"%PDF-1.7 and so on"
CAT = "https://x.example/cat.png"
PAPER = "https://x.example/paper.pdf"


# Requests


class Case(NamedTuple):
    """One request: the arguments of the SDK, and our settings for the same request.

    `dropped`: the settings that the provider does not support.
    """

    sdk: Json
    generation: Json = {}  # noqa: RUF012
    messages: list[Json] = HELLO
    tools: list[Any] | None = None
    ours: list[Json] | None = None
    user_id: str | None = None
    model: Json = {}  # noqa: RUF012
    dropped: tuple[str, ...] = ()


def reasoned(**reasoning: Any) -> list[Json]:
    """Messages with a tool call and its result. The answer with the call also has reasoning."""
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL], **reasoning}
    return [user("Weather?"), calling, {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}]


SAMPLING: Json = {
    "temperature": 0.7,
    "top_p": 0.9,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"11": 2.5},
    "seed": 7,
    "stop": ["END"],
    "logprobs": True,
    "top_logprobs": 3,
}
OUR_SAMPLING = {name: value for name, value in SAMPLING.items() if name != "stop"} | {"stop_strings": ["END"]}
IMAGE = [user([image(url=CAT)])]
IMAGE_BYTES = [user([image(url=PNG_URL)])]
BYTES = [user([{"type": "image_binary", "binary": PNG}])]
A_TOOL: Json = {"tools": [WEATHER], "tool_choice": NAMED}
ONE_CALL: Json = {"tool_choice": NAMED, "parallel_tool_calls": False}
AS_SCHEMA = json_schema(name="Response", schema=SCHEMA)
OUR_REASONING = reasoned(reasoning_content="I must look it up.")
NO_THINKING = {"enable_thinking": False}
SECRET_PARTS = [{"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 0}]


def thought(text: str) -> Json:
    """The reasoning of an answer, as Mistral has it."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def with_call_id(name: str, messages: list[Json]) -> list[Json]:
    """The messages, with another id of the tool call."""
    asked, calling, result = messages
    return [asked, calling | {"tool_calls": [CALL | {"id": name}]}, result | {"tool_call_id": name}]


def sampling(without: tuple[str, ...] = (), theirs: Json | None = None, **more: Any) -> Case:
    """A case with all sampling parameters, except `without`, which the provider does not support.

    `theirs`: fields that differ from OpenAI's; None removes one.
    `more`: the parameters that the provider supports beyond OpenAI's.
    """
    params = {name: value for name, value in SAMPLING.items() if name not in without} | (theirs or {})
    params = {name: value for name, value in params.items() if value is not None}
    return Case(params | more, OUR_SAMPLING | more, dropped=without)


CASES: dict[Engine, dict[str, Case]] = {
    Engine.OPENAI: {
        "sampler": sampling(),
        "end user": Case({"safety_identifier": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "reasoning stays here": Case({"tools": [WEATHER]}, messages=reasoned(), ours=OUR_REASONING, tools=[WEATHER]),
        "a document": Case(
            {},
            messages=[user([{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjcgYW5kIHNvIG9u"}}])],
            ours=[user([{"type": "document_binary", "binary": PDF}])],
        ),
    },
    Engine.REMOTE_VLLM: {
        "a word for the template": Case({"chat_template_kwargs": NO_THINKING}, model={"chat_template_kwargs": NO_THINKING}),
        "sampler": sampling(min_p=0.1, stop_token_ids=[2], skip_special_tokens=False),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "an adapter": Case({"model": "lora"}, model={"adapter_model": "lora"}),
        "messages of one role": Case(
            {},
            messages=[user([LOOK, image(url=PNG_URL)]), {"role": "assistant", "content": "Hi."}],
            ours=[user("Look:"), user([{"type": "image_binary", "binary": PNG}]), {"role": "assistant", "content": "Hi."}],
        ),
        "a strict schema keeps its constraints": Case(
            json_schema(name="Response", schema={"type": "string", "maxLength": 3}, strict=True),
            guided(json={"type": "string", "maxLength": 3}, strict=True),
        ),
        "regex": Case({"structured_outputs": {"regex": "[a-z]+"}}, guided(regex="[a-z]+")),
        "choice": Case({"structured_outputs": {"choice": ["a", "b"]}}, guided(choice=["a", "b"])),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning goes back": Case(
            {"tools": [WEATHER]},
            messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING, tools=[WEATHER],
        ),
    },
    Engine.SGLANG: {
        "a word for the template": Case({"chat_template_kwargs": NO_THINKING}, model={"chat_template_kwargs": NO_THINKING}),
        "sampler": sampling(min_p=0.1, stop_token_ids=[2], skip_special_tokens=False),
        "an adapter": Case({"lora_path": "lora"}, model={"adapter_model": "lora"}),
        "regex": Case({"regex": "[a-z]+"}, guided(regex="[a-z]+")),
        "choice": Case({"regex": r"(yes\.|no \(never\))"}, guided(choice=["yes.", "no (never)"])),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning goes back": Case({}, messages=OUR_REASONING),
    },
    Engine.DEEPSEEK: {
        "sampler": sampling(("frequency_penalty", "logit_bias", "presence_penalty", "seed")),
        "end user": Case({"user_id": "u-1"}, user_id="u-1"),
        "one call": Case(A_TOOL, ONE_CALL, tools=[WEATHER], dropped=("parallel_tool_calls",)),
        "reasoning goes back": Case({"tools": [WEATHER]}, messages=OUR_REASONING, tools=[WEATHER]),
        "JSON without a schema": Case(
            {"response_format": {"type": "json_object"}}, {"extra_body": {"response_format": {"type": "json_object"}}}
        ),
    },
    Engine.PARASAIL: {
        "sampler": sampling(),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE_BYTES, ours=BYTES),
    },
    Engine.TOGETHER: {
        "a word for the template": Case({"chat_template_kwargs": NO_THINKING}, model={"chat_template_kwargs": NO_THINKING}),
        "sampler": sampling(theirs={"logprobs": 3, "top_logprobs": None}, min_p=0.1),
        "no field for the end user": Case({}, user_id="u-1"),
        "one call": Case(A_TOOL, ONE_CALL, tools=[WEATHER], dropped=("parallel_tool_calls",)),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "regex": Case({"response_format": {"type": "regex", "pattern": "a+"}}, guided(regex="a+")),
        "choice": Case({"response_format": {"type": "regex", "pattern": r"(a|b\+)"}}, guided(choice=["a", "b+"])),
        "reasoning goes back": Case(
            {}, messages=[*HELLO, {"role": "assistant", "content": "Hi.", "reasoning": "A greeting."}, *HELLO],
            ours=[*HELLO, {"role": "assistant", "content": "Hi.", "reasoning_content": "A greeting."}, *HELLO],
        ),
        "an image": Case({}, messages=IMAGE),
    },
    Engine.FIREWORKS: {
        "sampler": sampling(min_p=0.1),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "choice": Case(
            {"response_format": {"type": "grammar", "grammar": r'root ::= "a" | "\"b\"\n\x07é"'}},
            guided(choice=["a", '"b"\n\aé']),
        ),
        "reasoning goes back": Case({"tools": [WEATHER]}, messages=OUR_REASONING, tools=[WEATHER]),
        "an image": Case({}, messages=IMAGE),
    },
    Engine.OPENROUTER: {
        "sampler": sampling(min_p=0.1),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning goes back": Case({}, messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING),
        "reasoning goes back in its parts": Case(
            {}, messages=reasoned(reasoning_details=SECRET_PARTS),
            ours=reasoned(reasoning_content="I must look it up.", reasoning_details=SECRET_PARTS),
        ),
        "a document by URL": Case(
            {}, messages=[user([{"type": "file", "file": {"filename": "document.pdf", "file_data": PAPER}}])],
            ours=[user([{"type": "document_url", "content": PAPER}])],
        ),
    },
    Engine.SAMBANOVA: {
        "a word for the template": Case({"chat_template_kwargs": NO_THINKING}, model={"chat_template_kwargs": NO_THINKING}),
        "sampler": sampling(("frequency_penalty", "presence_penalty")),
        "no field for the end user": Case({}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE_BYTES, ours=BYTES),
        "reasoning goes back": Case(
            {"tools": [WEATHER]},
            messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING, tools=[WEATHER],
        ),
    },
    Engine.CEREBRAS: {
        "sampler": sampling(),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE_BYTES, ours=BYTES),
        "reasoning goes back": Case({}, messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING),
    },
    Engine.HUGGING_FACE_ROUTER: {
        "sampler": sampling(("logit_bias",)),
        "one call": Case(A_TOOL, ONE_CALL, tools=[WEATHER], dropped=("parallel_tool_calls",)),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE),
    },
    Engine.AZURE_OPENAI: {
        "sampler": sampling(),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning stays here": Case({"tools": [WEATHER]}, messages=reasoned(), ours=OUR_REASONING, tools=[WEATHER]),
        "an image": Case({}, messages=IMAGE),
    },
    Engine.MISTRAL: {
        "sampler": Case(
            {name: value for name, value in SAMPLING.items() if name not in ("logit_bias", "seed")} | {"random_seed": 7},
            OUR_SAMPLING, dropped=("logit_bias",),
        ),
        "no field for the end user": Case({}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "some call": Case({"tools": [WEATHER], "tool_choice": "required"}, {"tool_choice": "required"}, tools=[WEATHER]),
        "a function without parameters": Case(
            {"tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]},
            tools=[{"type": "function", "function": {"name": "now"}}],
        ),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "a strict schema keeps its constraints": Case(
            json_schema(name="Response", schema={"type": "string", "maxLength": 3}, strict=True),
            guided(json={"type": "string", "maxLength": 3}, strict=True),
        ),
        "an id of a call is made of nine letters and digits": Case({}, messages=with_call_id("74196fe72", reasoned()), ours=reasoned()),
        "a fitting id stays": Case({}, messages=with_call_id("D681PevKs", reasoned()), ours=with_call_id("D681PevKs", reasoned())),
        "reasoning goes back as a part": Case(
            {},
            messages=[*HELLO, {"role": "assistant", "content": [thought("A greeting."), {"type": "text", "text": "Hi."}]}, *HELLO],
            ours=[*HELLO, {"role": "assistant", "content": "Hi.", "reasoning_content": "A greeting."}, *HELLO],
        ),
        "an image": Case({}, messages=IMAGE),
        "a document": Case(
            {},
            messages=[user([{"type": "document_url", "document_url": "data:application/pdf;base64,JVBERi0xLjcgYW5kIHNvIG9u"}])],
            ours=[user([{"type": "document_binary", "binary": PDF}])],
        ),
        "a document by URL": Case(
            {}, messages=[user([{"type": "document_url", "document_url": PAPER}])],
            ours=[user([{"type": "document_url", "content": PAPER}])],
        ),
        "names stay here": Case({}, messages=[user("Hi.")], ours=[user("Hi.") | {"name": "ann"}]),
    },
    Engine.GROQ: {
        "sampler": sampling(("frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "top_logprobs")),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning goes back": Case({"tools": [WEATHER]}, messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING, tools=[WEATHER]),
        "an image": Case({}, messages=IMAGE),
        "names stay here": Case({}, messages=[user("Hi.")], ours=[user("Hi.") | {"name": "ann"}]),
    },
    Engine.XAI: {
        "sampler": sampling(("logit_bias",)),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE),
        "names of users only": Case(
            {}, messages=[user("Hi.") | {"name": "ann"}, {"role": "assistant", "content": "Hi."}, user("Bye.")],
            ours=[user("Hi.") | {"name": "ann"}, {"role": "assistant", "content": "Hi.", "name": "bo"}, user("Bye.")],
        ),
    },
    Engine.NEBIUS: {
        "sampler": sampling(),
        "end user": Case({"user": "u-1"}, user_id="u-1"),
        "one call": Case({**A_TOOL, "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE),
    },
    Engine.OLLAMA: {
        "sampler": sampling(("logit_bias",)),
        "no field for the end user": Case({}, user_id="u-1"),
        "only the chosen function is offered": Case(
            {"tools": [WEATHER]}, ONE_CALL, tools=[WEATHER, TIME], dropped=("parallel_tool_calls", "tool_choice")
        ),
        "without a choice of tools, none is offered": Case({}, {"tool_choice": "none"}, tools=[WEATHER], dropped=("tool_choice",)),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "reasoning goes back": Case({}, messages=reasoned(reasoning="I must look it up."), ours=OUR_REASONING),
        "an image": Case({}, messages=IMAGE_BYTES, ours=BYTES),
    },
    Engine.LM_STUDIO: {
        "sampler": sampling(("logprobs", "top_logprobs")),
        "no field for the end user": Case({}, user_id="u-1"),
        "only the chosen function is offered": Case(
            {"tools": [WEATHER], "tool_choice": "required"}, ONE_CALL, tools=[WEATHER, TIME], dropped=("parallel_tool_calls",)
        ),
        "no call": Case({"tools": [WEATHER], "tool_choice": "none"}, {"tool_choice": "none"}, tools=[WEATHER]),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "an image": Case({}, messages=IMAGE_BYTES, ours=BYTES),
    },
    Engine.REMOTE_LLAMACPP: {
        "a word for the template": Case({"chat_template_kwargs": NO_THINKING}, model={"chat_template_kwargs": NO_THINKING}),
        "sampler": sampling(min_p=0.1),
        "no field for the end user": Case({}, user_id="u-1"),
        "only the chosen function is offered": Case(
            {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}, ONE_CALL, tools=[WEATHER, TIME]
        ),
        "schema": Case(AS_SCHEMA, guided(json=SCHEMA)),
        "choice": Case({"grammar": r'root ::= "a" | "\"b\"\n\x07é"'}, guided(choice=["a", '"b"\n\aé'])),
        "messages of one role": Case(
            {}, messages=[user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], ours=[user("a"), user("b")]
        ),
        "reasoning goes back": Case({}, messages=OUR_REASONING),
        "an image": Case({}, messages=IMAGE),
    },
}  # fmt: skip

each_case = pytest.mark.parametrize(
    ("engine", "case"),
    [pytest.param(engine, case, id=f"{engine.name}, {name}") for engine, cases in CASES.items() for name, case in cases.items()],
)  # fmt: skip


def engine_for(name: Engine, api: Recorder, case: Case = Case({})) -> RemoteInferenceEngine:  # noqa: B008
    config = InferenceConfig(
        engine=name,
        model=ModelParams(model_name="m", **case.model),
        generation=GenerationParams(**case.generation),
        remote_params=RemoteParams.model_validate(
            {"api_url": api.url, "api_key": KEY, "user_id": case.user_id, "max_retries": 0}
        ),
    )
    engine = build_engine(config)
    assert isinstance(engine, RemoteInferenceEngine)
    return engine


def as_sdk(engine: Engine, case: Case) -> Json:
    """The arguments of the SDK, with those that we always send (see `test_request`)."""
    limit = "max_tokens"
    if engine in (Engine.OPENAI, Engine.CEREBRAS, Engine.OPENROUTER, Engine.AZURE_OPENAI, Engine.GROQ, Engine.XAI):
        limit = "max_completion_tokens"
    return {"model": "m", "messages": case.messages, limit: 1024, "temperature": 0} | case.sdk


# OpenRouter's SDK requires `system_fingerprint` in every answer.
WHOLE: Json = SUCCESS | {"system_fingerprint": None}


def without_defaults(body: Json) -> Json:
    """The body of a request without the defaults that some SDKs send, such as `stream: false`."""
    assert body.pop("stream", False) is False
    for message in body["messages"]:
        assert message.pop("prefix", False) is False  # Mistral's SDK
        for call in message.get("tool_calls") or ():
            assert call.pop("index", 0) == 0
    return body


@each_case
async def test_request_equals_the_request_of_the_provider_s_sdk(engine: Engine, case: Case, api: Recorder) -> None:
    api.answers(WHOLE)
    async with engine_for(engine, api, case) as ours:
        conversation = Conversation.from_dict({"messages": case.ours or case.messages, "tools": case.tools})
        [answered] = await ours.ainfer([conversation])
    await REFERENCE_SDKS[engine](api, as_sdk(engine, case))
    mine, theirs = api.sent
    assert mine.body == without_defaults(theirs.body)
    assert (mine.method, mine.path) == (theirs.method, theirs.path.removeprefix("/openai"))
    header = "api-key" if engine is Engine.AZURE_OPENAI else "Authorization"
    assert mine.headers[header] == theirs.headers[header]
    assert answered.metadata.get("dropped_parameters", []) == sorted(case.dropped)


@pytest.mark.parametrize("engine", CASES, ids=[engine.name for engine in CASES])
def test_dropped_parameters_are_not_listed_as_supported(engine: Engine) -> None:
    lacking = {name for case in CASES[engine].values() for name in case.dropped}
    assert not lacking & CATALOG[engine].dialect.supported
    assert "temperature" in CATALOG[engine].dialect.supported


# Unsupported settings and messages


@pytest.mark.parametrize(
    ("engine", "given", "expected"),
    [
        (Engine.OPENAI, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json"),
        (Engine.PARASAIL, {"choice": ["a"]}, r"guided_decoding\.choice: this API supports only json"),
        (Engine.OPENROUTER, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json"),
        (Engine.CEREBRAS, {"choice": ["a"]}, r"guided_decoding\.choice: this API supports only json"),
        (Engine.SAMBANOVA, {"choice": ["a"]}, r"guided_decoding\.choice: this API supports only json"),
        (Engine.HUGGING_FACE_ROUTER, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json"),
        (Engine.FIREWORKS, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json and choice"),
        (Engine.REMOTE_LLAMACPP, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json and choice"),
        (Engine.MISTRAL, {"choice": ["a"]}, r"guided_decoding\.choice: this API supports only json"),
        (Engine.OLLAMA, {"regex": "a+"}, r"guided_decoding\.regex: this API supports only json"),
        (Engine.DEEPSEEK, {"regex": "a+"}, r"guided_decoding\.regex: this API does not support guided decoding"),
        (Engine.DEEPSEEK, {"json": SCHEMA}, r"guided_decoding\.json: this API does not support schemas; describe it"),
    ],
)
async def test_unsupported_settings_raise_config_error(
    engine: Engine, given: Json, expected: str, api: Recorder
) -> None:
    async with engine_for(engine, api, Case({}, guided(**given))) as ours:
        with pytest.raises(ConfigError, match=expected):
            await ours.ainfer([question("Hello?")])
    assert api.sent == []


DOCUMENT: Json = {"type": "document_binary", "binary": PDF}


@pytest.mark.parametrize(
    ("engine", "item", "expected"),
    [
        *((engine, DOCUMENT, "does not accept documents") for engine in CASES if engine not in (Engine.OPENAI, Engine.OPENROUTER, Engine.MISTRAL)),
        (Engine.OPENAI, {"type": "document_url", "content": PAPER}, "accepts documents by path or as bytes, not by URL"),
        (Engine.SAMBANOVA, {"type": "image_url", "content": CAT}, "accepts images by path or as bytes, not by URL"),
        (Engine.CEREBRAS, {"type": "image_url", "content": CAT}, "accepts images by path or as bytes, not by URL"),
        (Engine.OLLAMA, {"type": "image_url", "content": CAT}, "accepts images by path or as bytes, not by URL"),
        (Engine.LM_STUDIO, {"type": "image_url", "content": CAT}, "accepts images by path or as bytes, not by URL"),
    ],
)  # fmt: skip
async def test_unsupported_file_is_refused_before_anything_is_sent(
    engine: Engine, item: Json, expected: str, api: Recorder
) -> None:
    async with engine_for(engine, api) as ours:
        result = await ours.ainfer_partial([Conversation.from_dict({"messages": [user([item])]})])
    failure = result.failures[0]
    assert failure.error_message == f"this API {expected}"
    assert (failure.error_type, failure.is_retryable) == (InferenceErrorType.CONFIG, False)
    assert api.sent == []


# Responses


def answer(finish: str = "stop", usage: Json | None = None, **message: Any) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return WHOLE | {"choices": [choice], "prompt": []} | ({"usage": usage} if usage else {})


COUNTS: Json = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
CACHED: Json = {"prompt_tokens_details": {"cached_tokens": 4}}
REASONED: Json = {"completion_tokens_details": {"reasoning_tokens": 3}}
DETAILED = Usage(9, 5, 14, cached_tokens=4, reasoning_tokens=3)
THOUGHT: Json = {"content": "4", "reasoning": "2 and 2"}

ANSWERS: dict[str, tuple[Engine, Json, FinishReason, Usage]] = {
    "Together ends with eos, and counts the cache beside": (
        Engine.TOGETHER, answer("eos", COUNTS | {"cached_tokens": 4}, **THOUGHT), FinishReason.STOP, Usage(9, 5, 14, cached_tokens=4),
    ),
    "Together calls a tool": (
        Engine.TOGETHER, answer("tool_calls", COUNTS, content=None, tool_calls=[CALL | {"index": 0}]), FinishReason.TOOL_CALLS, Usage(9, 5, 14),
    ),
    "DeepSeek counts the cache's hits": (
        Engine.DEEPSEEK, answer(usage=COUNTS | REASONED | {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, content="4", reasoning_content="2 and 2"), FinishReason.STOP, DETAILED,
    ),
    "SGLang counts the reasoning beside": (
        Engine.SGLANG, answer(usage=COUNTS | CACHED | {"reasoning_tokens": 3}, content="4", reasoning_content="2 and 2"), FinishReason.STOP, DETAILED,
    ),
    "SGLang gives up": (Engine.SGLANG, answer("abort", COUNTS, content=""), FinishReason.ERROR, Usage(9, 5, 14)),
    "Fireworks": (
        Engine.FIREWORKS, answer("length", COUNTS | CACHED, content="4", reasoning_content="2 and 2"), FinishReason.LENGTH, Usage(9, 5, 14, cached_tokens=4),
    ),
    "Cerebras times itself": (
        Engine.CEREBRAS, answer(usage=COUNTS | CACHED | REASONED, **THOUGHT) | {"time_info": {"queue_time": 0.1, "created": 1.5}, "system_fingerprint": "fp"}, FinishReason.STOP, DETAILED,
    ),
    "SambaNova": (
        Engine.SAMBANOVA, answer(usage=COUNTS | CACHED | {"total_latency": 0.5}, **THOUGHT), FinishReason.STOP, Usage(9, 5, 14, cached_tokens=4),
    ),
    "OpenRouter gives the reasoning in parts, and the price": (
        Engine.OPENROUTER, answer(usage=COUNTS | CACHED | REASONED | {"cost": 0.01, "is_byok": False}, **THOUGHT, reasoning_details=SECRET_PARTS), FinishReason.STOP, DETAILED,
    ),
    "Hugging Face": (Engine.HUGGING_FACE_ROUTER, answer(usage=COUNTS, **THOUGHT), FinishReason.STOP, Usage(9, 5, 14)),
    "Mistral thinks in a part of the content": (
        Engine.MISTRAL, answer(usage=COUNTS, content=[thought("2 and 2"), {"type": "text", "text": "4"}]), FinishReason.STOP, Usage(9, 5, 14),
    ),
    "Mistral reaches the end of the context": (Engine.MISTRAL, answer("model_length", COUNTS, content="4"), FinishReason.LENGTH, Usage(9, 5, 14)),
    "Mistral calls a tool": (
        Engine.MISTRAL, answer("tool_calls", COUNTS, content="", tool_calls=[CALL | {"id": "D681PevKs", "index": 0}]), FinishReason.TOOL_CALLS, Usage(9, 5, 14),
    ),
    "Groq times itself": (
        Engine.GROQ, answer(usage=COUNTS | REASONED | {"queue_time": 0.1, "total_time": 0.2}, **THOUGHT) | {"x_groq": {"id": "req_1"}},
        FinishReason.STOP, Usage(9, 5, 14, reasoning_tokens=3),
    ),
    "xAI counts the reasoning only in the total": (
        Engine.XAI, answer(usage=COUNTS | CACHED | {"total_tokens": 17} | REASONED | {"num_sources_used": 0}, content="4", reasoning_content="2 and 2"),
        FinishReason.STOP, Usage(9, 8, 17, cached_tokens=4, reasoning_tokens=3),
    ),
    "Ollama": (Engine.OLLAMA, answer(usage=COUNTS, **THOUGHT) | {"system_fingerprint": "fp_ollama"}, FinishReason.STOP, Usage(9, 5, 14)),
    "LM Studio": (Engine.LM_STUDIO, answer(usage=COUNTS, **THOUGHT) | {"stats": {}}, FinishReason.STOP, Usage(9, 5, 14)),
    "llama.cpp times itself": (
        Engine.REMOTE_LLAMACPP, answer(usage=COUNTS | CACHED, content="4", reasoning_content="2 and 2") | {"timings": {"cache_n": 4}},
        FinishReason.STOP, Usage(9, 5, 14, cached_tokens=4),
    ),
    "Azure reports its content filter": (
        Engine.AZURE_OPENAI, answer(usage=COUNTS, content="4") | {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
        FinishReason.STOP, Usage(9, 5, 14),
    ),
    "Azure's content filter cuts off": (Engine.AZURE_OPENAI, answer("content_filter", COUNTS, content="4"), FinishReason.CONTENT_FILTER, Usage(9, 5, 14)),
    "vLLM": (Engine.REMOTE_VLLM, answer(usage=COUNTS, **THOUGHT) | {"kv_transfer_params": None}, FinishReason.STOP, Usage(9, 5, 14)),
}  # fmt: skip


def text_and_reasoning(message: Any) -> tuple[str | None, str | None]:
    """The content and the reasoning of a message that an SDK has read. Mistral's has both in a list of parts."""
    if not isinstance(message.content, list):
        reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        return message.content, reasoning
    texts = [part.text for part in message.content if part.type == "text"]
    thoughts = [text.text for part in message.content if part.type == "thinking" for text in part.thinking]
    return "".join(texts), "".join(thoughts)


@pytest.mark.parametrize(("engine", "body", "finish", "usage"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_answer_equals_the_answer_that_the_provider_s_sdk_reads(
    engine: Engine, body: Json, finish: FinishReason, usage: Usage, api: Recorder
) -> None:
    api.answers(body)
    theirs = (await REFERENCE_SDKS[engine](api, {"model": "m", "messages": HELLO})).choices[0].message
    async with engine_for(engine, api) as ours:
        [answered] = await ours.ainfer([question("Hello?")])
    message = answered.messages[-1]
    content, reasoning = text_and_reasoning(theirs)
    assert (message.content, message.reasoning_content) == (content, reasoning)
    called = [(call.id, call.function.name, call.function.arguments) for call in theirs.tool_calls or ()]
    assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls or ()] == called
    assert (answered.metadata["finish_reason"], answered.metadata["usage"]) == (finish, usage.to_dict())


async def test_openrouter_reasoning_details_are_kept_and_sent_back(api: Recorder) -> None:
    """Some models refuse the result of a call without the signed reasoning before the call."""
    api.answers(answer("tool_calls", **reasoned(reasoning="Hm.", reasoning_details=SECRET_PARTS)[1]))
    async with engine_for(Engine.OPENROUTER, api) as engine:
        [first] = await engine.ainfer([question("Weather?")])
        again = Conversation.from_json(first.to_json())
        result = Message.model_validate({"role": "tool", "content": "sunny", "tool_call_id": "call_1"})
        await engine.ainfer([again.model_copy(update={"messages": [*again.messages, result]})])
    sent = api.sent[-1].body["messages"][1]
    assert (sent["reasoning_details"], "reasoning" in sent, "reasoning_content" in sent) == (SECRET_PARTS, False, False)


# Errors


def error(message: str, **more: Any) -> Json:
    return {"error": {"message": message, **more}}


class Failure(NamedTuple):
    engine: Engine
    status: int
    body: Json
    message: str
    retryable: bool
    overload: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012


IN_FLIGHT: Json = {"limit_source": "openrouter_in_flight_budget"}
FAILURES: dict[str, Failure] = {
    "Together, beyond one's rate": Failure(
        Engine.TOGETHER, 429, error("Slow down", type="dynamic_request_limited"), "HTTP 429: Slow down", True, True,
    ),
    "Together, out of capacity": Failure(Engine.TOGETHER, 503, error("Overloaded"), "HTTP 503: Overloaded", True, True),
    "Fireworks, an unknown model": Failure(
        Engine.FIREWORKS, 404, error("Model not found", code="NOT_FOUND"), r"Model not found \(NOT_FOUND\)", False
    ),
    "Cerebras, too many tokens": Failure(
        Engine.CEREBRAS, 429, {"message": "Tokens per minute", "type": "too_many_tokens_error", "code": "token_quota_exceeded"}, "HTTP 429: Tokens per minute", True, True,
    ),
    "Cerebras, a wrong parameter": Failure(
        Engine.CEREBRAS, 422, {"message": "top_p", "code": "wrong_api_format"}, r"top_p \(wrong_api_format\)", False
    ),
    "SambaNova, a model that is gone": Failure(Engine.SAMBANOVA, 410, error("Model is deprecated"), "deprecated", False),
    "DeepSeek, an empty account": Failure(Engine.DEEPSEEK, 402, error("Insufficient Balance"), "Insufficient", False),
    "DeepSeek, overloaded": Failure(Engine.DEEPSEEK, 503, error("Server overloaded"), "overloaded", True, True),
    "SGLang, a wrong request": Failure(
        Engine.SGLANG, 400, {"object": "error", "message": "no regex", "type": "BadRequest", "code": 400}, "no regex", False
    ),
    "Hugging Face, loading": Failure(
        Engine.HUGGING_FACE_ROUTER, 503, {"error": "Model m is loading", "estimated_time": 20.0}, "is loading", True, True
    ),
    "Hugging Face, no credits": Failure(
        Engine.HUGGING_FACE_ROUTER, 402, {"error": "You have exceeded your monthly credits"}, "credits", False
    ),
    "Azure, the content filter": Failure(
        Engine.AZURE_OPENAI, 400,
        error("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", code="content_filter",
              param="prompt", innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}),
        r"content management policy\. \(content_filter\)", False,
    ),
    "Azure, an unknown deployment": Failure(
        Engine.AZURE_OPENAI, 404, error("The API deployment for this resource does not exist.", code="DeploymentNotFound"), "does not exist", False
    ),
    "Azure, beyond one's rate": Failure(Engine.AZURE_OPENAI, 429, error("Slow down", code="429"), "Slow down", True, True),
    "Mistral, beyond one's rate": Failure(
        Engine.MISTRAL, 429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300"},
        "Rate limit exceeded", True, True,
    ),
    "Mistral, an unknown model": Failure(
        Engine.MISTRAL, 400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "param": None, "code": "1500"}, "Invalid model", False
    ),
    "Groq, out of capacity": Failure(Engine.GROQ, 498, error("Flex tier capacity exceeded", code="capacity_exceeded"), "capacity", True, True),
    "Groq, a failed call": Failure(Engine.GROQ, 400, error("Failed to call a function", code="tool_use_failed"), "tool_use_failed", False),
    "xAI, a wrong key": Failure(
        Engine.XAI, 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***st."}, "Incorrect API key", False
    ),
    "Ollama, an unknown model": Failure(
        Engine.OLLAMA, 404, error('model "m" not found, try pulling it first', type="not_found_error"), "try pulling it", False
    ),
    "LM Studio, a wrong request": Failure(Engine.LM_STUDIO, 400, {"error": "Model unloaded."}, "Model unloaded", False),
    "llama.cpp, loading": Failure(
        Engine.REMOTE_LLAMACPP, 503, error("Loading model", code=503, type="unavailable_error"), "Loading model", True, True
    ),
    "OpenRouter, no credits": Failure(Engine.OPENROUTER, 402, error("Insufficient credits", code=402), "credits", False),
    "OpenRouter, credits reserved": Failure(
        Engine.OPENROUTER, 402, error("In flight", code=402, metadata=IN_FLIGHT), "In flight", True, headers={"Retry-After": "2"},
    ),
    "OpenRouter, another provider's error": Failure(
        Engine.OPENROUTER, 502, error("Provider returned error", code=502, metadata={"raw": '{"error": "bad image"}'}),
        'Provider returned error: {"error": "bad image"}', True,
    ),
}  # fmt: skip


async def failure_of(failure: Failure, api: Recorder) -> RequestError:
    api.answers(failure.body, failure.status, failure.headers)
    with pytest.raises(RequestError, match=failure.message) as caught:
        async with engine_for(failure.engine, api) as engine:
            access = await engine.access()
            _ = [delta async for delta in access.engine.stream(question("Hello?"))]
    return caught.value


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_documented_error_is_classified_as_by_the_sdk(failure: Failure, api: Recorder) -> None:
    ours = await failure_of(failure, api)
    assert (ours.is_retryable, ours.is_overload) == (failure.retryable, failure.overload)
    assert ours.retry_after == (2.0 if failure.headers else None)
    api.answers(failure.body, failure.status)
    with pytest.raises(Exception, match=".") as caught:
        await REFERENCE_SDKS[failure.engine](api, {"model": "m", "messages": HELLO})
    theirs: Any = caught.value
    assert ours.status_code == getattr(theirs, "status_code", None) or theirs.response.status_code


UPSTREAM: Json = {"code": 502, "message": "upstream died"}
CUT_OFF: dict[str, Json] = {
    "an error beside what there was": answer("error", content="Hel") | {"error": UPSTREAM},
    "an error within the choice": WHOLE
    | {"choices": [{"index": 0, "message": {"content": "Hel"}, "finish_reason": "error", "error": UPSTREAM}]},
    "an error instead": {"error": UPSTREAM},
}


@pytest.mark.parametrize("body", CUT_OFF.values(), ids=CUT_OFF.keys())
async def test_openrouter_error_in_a_success_is_an_error(body: Json, api: Recorder) -> None:
    failure = Failure(Engine.OPENROUTER, 200, body, "upstream died", True)
    ours = await failure_of(failure, api)
    assert (ours.status_code, ours.is_retryable) == (502, True)


async def test_openrouter_error_in_the_middle_ends_the_stream(api: Recorder) -> None:
    api.streams(as_bytes(chunk(content="Hel"), chunk("error", content="") | {"error": UPSTREAM}, DONE))
    seen: list[StreamDelta] = []
    with pytest.raises(RequestError, match="upstream died") as caught:
        async with (
            engine_for(Engine.OPENROUTER, api) as engine,
            engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas,
        ):
            async for delta in deltas:
                seen.append(delta)
    assert (seen, caught.value.status_code) == ([StreamDelta("Hel")], 502)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_deepseek_answer_cut_off_for_lack_of_capacity_is_an_error(streams: bool, api: Recorder) -> None:
    """The finish reason says that the API lacked capacity."""
    failure = Failure(
        Engine.DEEPSEEK, 200, answer("insufficient_system_resource", content="Hel"), "cut the answer off", True
    )
    if streams:
        api.streams(as_bytes(chunk(content="Hel"), chunk("insufficient_system_resource"), DONE))
        with pytest.raises(RequestError, match="cut the answer off") as caught:
            async with (
                engine_for(failure.engine, api) as engine,
                engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas,
            ):
                _ = [delta async for delta in deltas]
        ours = caught.value
    else:
        ours = await failure_of(failure, api)
    assert (ours.is_retryable, ours.is_overload) == (True, True)


@settings(max_examples=300)
@given(mangled(st.sampled_from([*(body for _, body, _, _ in ANSWERS.values()), *CUT_OFF.values()])))
def test_mangled_answer_is_an_answer_or_a_request_error(body: Any) -> None:
    with contextlib.suppress(RequestError):
        assert isinstance(decode(HttpResponse(200, {}, json.dumps(body).encode())), Completion)


@settings(max_examples=300)
@given(mangled(st.just(chunk("error", content="Hel", reasoning="Hm.") | {"error": UPSTREAM})))
def test_mangled_event_is_deltas_or_a_request_error(event: Any) -> None:
    with contextlib.suppress(RequestError):
        assert all(
            isinstance(delta, StreamDelta) for delta in OpenAIEventDecoder().feed(ServerSentEvent(json.dumps(event)))
        )


# Keep-alives


@pytest.mark.parametrize(
    ("engine", "comment"),
    [(Engine.DEEPSEEK, b": keep-alive\n\n"), (Engine.OPENROUTER, b": OPENROUTER PROCESSING\n\n")],
)
async def test_keep_alive_comment_in_a_stream_is_ignored(engine: Engine, comment: bytes, api: Recorder) -> None:
    api.streams(comment, comment, as_bytes(chunk(reasoning="Hm.")), comment, as_bytes(chunk("stop", content="4"), DONE))
    async with engine_for(engine, api) as ours, ours.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        assert [delta async for delta in deltas][:2] == [StreamDelta(reasoning_content="Hm."), StreamDelta("4")]
