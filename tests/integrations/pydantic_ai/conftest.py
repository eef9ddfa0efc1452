"""Fixtures of the PydanticAI adapter: models over a scripted server, and over an API with Anthropic's format."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncinfer import AnthropicInferenceEngine, ModelParams, RemoteInferenceEngine, RemoteParams
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from tests.integrations.scripted_chat import ScriptedChat
from tests.recorder import Recorder


@pytest.fixture
async def chat() -> AsyncIterator[ScriptedChat]:
    async with ScriptedChat() as chat:
        yield chat


@pytest.fixture
async def model(chat: ScriptedChat) -> AsyncIterator[AsyncInferModel]:
    async with RemoteInferenceEngine(ModelParams("m"), remote_params=RemoteParams(chat.url)) as engine:
        yield AsyncInferModel(engine)


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


@pytest.fixture
async def claude(api: Recorder) -> AsyncIterator[AsyncInferModel]:
    remote = RemoteParams(f"{api.url}/messages", api_key="k")
    async with AnthropicInferenceEngine(ModelParams("claude-sonnet-4-6"), remote_params=remote) as engine:
        yield AsyncInferModel(engine)
