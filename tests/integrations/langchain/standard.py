"""LangChain's standard integration tests for a chat model over an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.langchain import AsyncInferChatModel

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
PDF = b"%PDF-1.7\n%%EOF\n"


class EngineTests(ChatModelIntegrationTests):
    """A subclass has a fixture that sets `engine` for its tests.

    Skipped by the suite itself: `test_audio_inputs`, because asyncinfer has no audio, and `test_stream_time`, because it
    replays recorded traffic, and nothing is recorded here.
    """

    engine: BaseInferenceEngine

    @pytest.fixture(autouse=True)
    def _downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The suite downloads an image and a document. Here it gets them without the network."""
        files = {"png": PNG, "pdf": PDF}
        monkeypatch.setattr(httpx, "get", lambda url, **_: SimpleNamespace(content=files[url[-3:]]))

    @property
    def chat_model_class(self) -> type[AsyncInferChatModel]:
        return AsyncInferChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": self.engine}
