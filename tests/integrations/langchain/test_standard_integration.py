"""LangChain's standard integration tests, on a server that obeys requests, for both ways to structured output."""

from __future__ import annotations

from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage, BaseMessageChunk

from asyncinfer import RemoteInferenceEngine
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.integrations.langchain.standard import EngineTests


class TestWithSchemas(EngineTests):
    """Structured output with a schema, which is the default of engines that support it."""

    @pytest.fixture(autouse=True)
    def _engine(self, engine: RemoteInferenceEngine) -> None:
        type(self).engine = engine

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


class TestWithFunctionCalling(TestWithSchemas):
    """Structured output with a tool call."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}
