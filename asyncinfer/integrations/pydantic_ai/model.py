"""The model: one engine that any number of agents share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, check_allow_model_requests
from pydantic_ai.profiles import DEFAULT_THINKING_TAGS, ModelProfile, ModelProfileSpec
from pydantic_ai.settings import ModelSettingName, ModelSettings
from pydantic_ai.tools import RunContext
from pydantic_ai.tools import ToolDefinition as AgentTool

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.integrations.features import engine_features
from asyncinfer.integrations.pydantic_ai.content import ContentEncoder
from asyncinfer.integrations.pydantic_ai.errors import mapped_errors
from asyncinfer.integrations.pydantic_ai.messages import MessageEncoder
from asyncinfer.integrations.pydantic_ai.profile import has_effort, marks_cache, profile_of, system_of
from asyncinfer.integrations.pydantic_ai.response import (
    finish_reason_to_agent,
    parts_of,
    provider_details,
    request_usage,
)
from asyncinfer.integrations.pydantic_ai.settings import REMOTE_SETTINGS, RequestFactory
from asyncinfer.integrations.pydantic_ai.stream import AsyncInferStreamedResponse
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import finish_reason_of
from asyncinfer.types.tools import FunctionDefinition, ToolDefinition


class AsyncInferModel(Model[Any]):
    """A model of pydantic-ai that answers with an engine. All agents share the engine's batches, permits and limits.

    The engine's own settings are in effect where neither the agent nor the run sets one. The caller closes the engine.

    Args:
        engine: The engine. It may be used elsewhere at the same time.
        settings: The default settings of the model.
        profile: Changes the profile that is derived from the engine.
    """

    # These settings of pydantic-ai have no counterpart, or only one in `extra_body`.
    unsupported_settings = frozenset({"service_tier", "top_k"})

    def __init__(
        self,
        engine: BaseInferenceEngine,
        *,
        settings: ModelSettings | None = None,
        profile: ModelProfileSpec | None = None,
    ) -> None:
        self.engine = engine
        super().__init__(settings=settings, profile=profile)
        self._system = system_of(engine)
        self._requests = RequestFactory(engine.settings, has_effort=has_effort(engine))

    @property
    def model_name(self) -> str:
        """The name of the engine's model."""
        return self.engine.model_name

    @property
    def system(self) -> str:
        """The name of the provider, such as `openai`; for other engines the name of the engine in lower case."""
        return self._system

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Answer with `engine.agenerate`.

        Raises:
            ModelAPIError: The engine did not answer, and no retry is left.
            UserError: A setting or a message is wrong.
        """
        check_allow_model_requests()
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        with mapped_errors(self.model_name):
            conversation, config = await self._request(messages, settings, parameters)
            answered = await self.engine.agenerate(conversation, config)
        return self._response(answered)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Answer with `engine.astream`. Leaving the context cancels the request. Raises as `request` does."""
        check_allow_model_requests()
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        with mapped_errors(self.model_name):
            conversation, config = await self._request(messages, settings, parameters)
            deltas = self.engine.astream(conversation, config)
        async with deltas:
            with mapped_errors(self.model_name):
                first = await anext(deltas)
            yield AsyncInferStreamedResponse(
                model_request_parameters=parameters,
                first=first,
                deltas=deltas,
                name=self.model_name,
                system=self._system,
                thinking_tags=self._thinking_tags,
                ignores_leading_space=self.profile.get("ignore_streamed_leading_whitespace", False),
            )

    @cached_property
    def _encoder(self) -> MessageEncoder:
        content = ContentEncoder(
            engine_features(type(self.engine)), marks_cache(self._system), self._format_inlined_text_file
        )
        return MessageEncoder(content, self.accepts_stateless_artifacts, self._thinking_tags)

    @property
    def _thinking_tags(self) -> tuple[str, str]:
        return self.profile.get("thinking_tags", DEFAULT_THINKING_TAGS)

    def _provider_model_profile(self) -> ModelProfile:
        return profile_of(self.engine)

    def _unsupported_settings(self) -> frozenset[ModelSettingName]:
        is_remote = isinstance(self.engine, RemoteInferenceEngine)
        return self.unsupported_settings if is_remote else self.unsupported_settings | REMOTE_SETTINGS

    async def _request(
        self, messages: list[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
    ) -> tuple[Conversation, InferenceConfig | None]:
        """Return the arguments of a call of the engine."""
        config, tools = self._requests.new(settings, parameters, self.profile)
        instructions = self._get_instruction_parts(messages, parameters) or ()
        encoded = await self._encoder.encode(messages, instructions)
        return Conversation(messages=encoded, tools=[_tool(tool) for tool in tools] or None), config

    def _response(self, answered: Conversation) -> ModelResponse:
        metadata = answered.metadata
        reason = finish_reason_of(answered)
        return ModelResponse(
            parts=parts_of(answered.messages[-1], self._system, self._thinking_tags),
            usage=request_usage(metadata.get("usage")),
            model_name=metadata.get("response_model") or self.model_name,
            provider_name=self._system,
            provider_response_id=metadata.get("response_id"),
            provider_details=provider_details(metadata, reason),
            finish_reason=finish_reason_to_agent(reason),
        )


def _tool(tool: AgentTool) -> ToolDefinition:
    function = FunctionDefinition(
        name=tool.name, description=tool.description, parameters=tool.parameters_json_schema, strict=tool.strict
    )
    return ToolDefinition(function=function)
