"""LangChain's standard integration tests, on a server that obeys requests, for each way to structured output."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from langchain_core.messages import AIMessage, BaseMessageChunk
from langchain_tests.integration_tests import ChatModelIntegrationTests

from asyncinfer import RemoteInferenceEngine
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.integrations.langchain.conftest import engine_for
from tests.integrations.obedient_chat import ObedientChat

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
PDF = b"%PDF-1.7\n%%EOF\n"


class _OnServer(ChatModelIntegrationTests):
    engine: RemoteInferenceEngine

    @pytest.fixture(autouse=True)
    def _served(self, chat: ObedientChat, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The suite downloads an image and a document. Here it gets them without the network."""
        type(self).engine = engine_for(chat.url)
        files = {"png": PNG, "pdf": PDF}
        monkeypatch.setattr(httpx, "get", lambda url, **_: SimpleNamespace(content=files[url[-3:]]))
        yield
        self.engine.close()

    @property
    def chat_model_class(self) -> type[AsyncInferChatModel]:
        return AsyncInferChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": self.engine}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "another-model"

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["reasoning_output", "cache_read_input", "cache_creation_input"]
        return {"invoke": details, "stream": details}

    # Skipped by the suite itself: test_audio_inputs, because asyncinfer has no audio; test_stream_time, because it
    # replays recorded traffic, and nothing is recorded here.

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._answer(stream, reasoning_effort="low")

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._answer(stream)

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._answer(stream)

    def _answer(self, stream: bool, **extra_body: Any) -> AIMessage:
        model = AsyncInferChatModel(engine=self.engine)
        if not stream:
            return model.invoke("Hello", extra_body=extra_body)
        full: BaseMessageChunk | None = None
        for chunk in model.stream("Hello", extra_body=extra_body):
            full = chunk if full is None else full + chunk
        return cast(AIMessage, full)


class TestWithSchemas(_OnServer):
    """Structured output with a schema, which is the default of engines that support it."""


class TestWithFunctionCalling(_OnServer):
    """Structured output with a tool call."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}
