"""Calls the SDKs of the providers that speak OpenAI's chat format, all in the same way. Tests compare requests with them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from cerebras.cloud.sdk import AsyncCerebras
from fireworks import AsyncFireworks
from huggingface_hub import AsyncInferenceClient
from openai import AsyncAzureOpenAI, AsyncOpenAI
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


async def _azure(api: Recorder, request: Json) -> Any:
    async with AsyncOpenAI(base_url=api.url, api_key=KEY, max_retries=0, default_headers={"api-key": KEY}) as client:
        return await _create(client, request)


async def azure_deployment(api: Recorder, deployment: str, version: str, request: Json) -> Any:
    """Call the SDK at the URL of a deployment, which has a version."""
    async with AsyncAzureOpenAI(
        azure_endpoint=_root(api), azure_deployment=deployment, api_version=version, api_key=KEY, max_retries=0
    ) as client:
        return await _create(client, request)


async def _groq(api: Recorder, request: Json) -> Any:
    groq = pytest.importorskip("groq", reason="groq is not installed (extra dev)")
    # The SDK adds `/openai/v1` to the host, and its middle part is in the path of the recorder here.
    async with groq.AsyncGroq(base_url=_root(api), api_key=KEY, max_retries=0) as client:
        return await _create(client, request)


async def _mistral(api: Recorder, request: Json) -> Any:
    mistral = pytest.importorskip("mistralai.client", reason="mistralai is not installed (extra dev)")
    async with mistral.Mistral(server_url=_root(api), api_key=KEY) as client:
        return await client.chat.complete_async(**request)


# vLLM, SGLang, DeepSeek, Parasail, xAI, Nebius, Ollama, LM Studio and llama.cpp tell their users to use OpenAI's SDK.
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
    Engine.AZURE_OPENAI: _azure,
    Engine.MISTRAL: _mistral,
    Engine.GROQ: _groq,
    Engine.XAI: _openai,
    Engine.NEBIUS: _openai,
    Engine.OLLAMA: _openai,
    Engine.LM_STUDIO: _openai,
    Engine.REMOTE_LLAMACPP: _openai,
}
