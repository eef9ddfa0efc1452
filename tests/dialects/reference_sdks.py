"""Calls the SDKs of the providers that speak OpenAI's chat format, all in the same way. Tests compare requests with them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from cerebras.cloud.sdk import AsyncCerebras
from fireworks import AsyncFireworks
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI
from openrouter import OpenRouter
from openrouter.utils import BackoffStrategy, RetryConfig
from sambanova import AsyncSambaNova
from together import AsyncTogether

from asyncinfer import InferenceEngineType as Engine
from tests.dialects.conftest import KEY
from tests.recorder import Recorder

Json = dict[str, Any]
ReferenceSdk = Callable[[Recorder, Json], Awaitable[Any]]


def _root(api: Recorder) -> str:
    return api.url.removesuffix("/v1")


async def _create(client: Any, request: Json) -> Any:
    """Call the SDK. Fields that are not arguments of the SDK are sent as `extra_body`, as its users would do."""
    create = client.chat.completions.create
    known = inspect.signature(create).parameters.keys()
    extra = {name: value for name, value in request.items() if name not in known}
    return await create(
        **{name: value for name, value in request.items() if name in known}, **({"extra_body": extra} if extra else {})
    )


async def _openai(api: Recorder, request: Json) -> Any:
    async with AsyncOpenAI(base_url=api.url, api_key=KEY, max_retries=0) as client:
        return await _create(client, request)


async def _together(api: Recorder, request: Json) -> Any:
    async with AsyncTogether(base_url=_root(api), api_key=KEY, max_retries=0) as client:
        return await _create(client, request)


async def _fireworks(api: Recorder, request: Json) -> Any:
    async with AsyncFireworks(base_url=_root(api), api_key=KEY, max_retries=0) as client:
        return await _create(client, request)


async def _cerebras(api: Recorder, request: Json) -> Any:
    async with AsyncCerebras(base_url=_root(api), api_key=KEY, max_retries=0, warm_tcp_connection=False) as client:
        return await _create(client, request)


async def _sambanova(api: Recorder, request: Json) -> Any:
    async with AsyncSambaNova(base_url=api.url, api_key=KEY, max_retries=0) as client:
        return await _create(client, request)


async def _hugging_face(api: Recorder, request: Json) -> Any:
    """Call Hugging Face's client; for schemas, OpenAI's.

    With another URL, Hugging Face's client sends schemas in the format of its older server. The documentation of the
    router uses OpenAI's client.
    """
    if "response_format" in request:
        return await _openai(api, request)
    async with AsyncInferenceClient(base_url=api.url, api_key=KEY) as client:
        return await _create(client, request)


async def _openrouter(api: Recorder, request: Json) -> Any:
    once = RetryConfig("none", BackoffStrategy(0, 0, 0.0, 0), retry_connection_errors=False)
    async with OpenRouter(api_key=KEY, server_url=api.url, retry_config=once) as client:
        return await client.chat.send_async(**request)


# vLLM, SGLang, DeepSeek and Parasail tell their users to use OpenAI's SDK.
REFERENCE_SDKS: dict[Engine, ReferenceSdk] = {
    Engine.OPENAI: _openai,
    Engine.REMOTE_VLLM: _openai,
    Engine.SGLANG: _openai,
    Engine.DEEPSEEK: _openai,
    Engine.PARASAIL: _openai,
    Engine.TOGETHER: _together,
    Engine.FIREWORKS: _fireworks,
    Engine.CEREBRAS: _cerebras,
    Engine.SAMBANOVA: _sambanova,
    Engine.HUGGING_FACE_ROUTER: _hugging_face,
    Engine.OPENROUTER: _openrouter,
}
