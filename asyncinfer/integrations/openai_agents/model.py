"""The model: one engine that any number of agents share.

Source: `agents.models.interface` and `agents.models.openai_chatcompletions` of openai-agents 0.24, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from agents import (
    GenerationSpanData,
    Handoff,
    ModelResponse,
    ModelSettings,
    Span,
    Tool,
    TResponseInputItem,
    generation_span,
)
from agents.agent_output import AgentOutputSchemaBase
from agents.exceptions import UserError
from agents.items import TResponseStreamEvent
from agents.models.chatcmpl_stream_handler import ChatCmplStreamHandler
from agents.models.interface import Model, ModelTracing
from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
from openai.types.responses.response_prompt_param import ResponsePromptParam

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.call_configs import CallConfigs
from asyncinfer.integrations.openai_agents.answer import chunks, empty_response, output_items, usage_of
from asyncinfer.integrations.openai_agents.request import call_settings, messages_of, tools_of

_Span = Span[GenerationSpanData]


class _Call(NamedTuple):
    """The arguments of a call of the engine."""

    conversation: dict[str, Any]
    config: InferenceConfig | None


class AsyncInferModel(Model):
    """A model of the OpenAI Agents SDK that answers with an engine. All agents share the engine's permits and limits.

    The engine's own settings are in effect where the agent sets none. The engine retries requests, and its errors are
    raised unchanged. The caller closes the engine.

    Args:
        engine: The engine. It may be used elsewhere at the same time.
        model: The name of another model at the API of the engine.
    """

    def __init__(self, engine: BaseInferenceEngine, *, model: str | None = None) -> None:
        self.engine = engine
        self._other_model = model
        self._configs = CallConfigs()

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._other_model or self.engine.model_name

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> ModelResponse:
        """Answer with `engine.agenerate`. Raises as that method does.

        Raises:
            UserError: A tool, an item or an argument has no counterpart in a chat.
        """
        _check_stateless(previous_response_id, conversation_id, prompt)
        with self._span(model_settings, tracing) as span:
            call = self._call(system_instructions, input, model_settings, tools, output_schema, handoffs)
            _note_input(span, call, tracing)
            answered = await self.engine.agenerate(call.conversation, call.config)
            usage = usage_of(answered.metadata.get("usage"))
            span.span_data.usage = _span_usage(usage.input_tokens, usage.output_tokens)
            items = output_items(answered, self.model)
            if tracing.include_data():
                span.span_data.output = [item.model_dump() for item in items]
            return ModelResponse(output=items, usage=usage, response_id=None)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: ResponsePromptParam | None = None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Answer with `engine.astream`. Closing the iterator cancels the request. Raises as `get_response` does."""
        _check_stateless(previous_response_id, conversation_id, prompt)
        with self._span(model_settings, tracing) as span:
            call = self._call(system_instructions, input, model_settings, tools, output_schema, handoffs)
            _note_input(span, call, tracing)
            async with self.engine.astream(call.conversation, call.config) as deltas:
                # The handler only iterates over the stream.
                stream = cast(AsyncStream[ChatCompletionChunk], chunks(deltas, self.model))
                events = ChatCmplStreamHandler.handle_stream(
                    empty_response(self.model, model_settings),
                    stream,
                    model=self.model,
                    raise_on_length_truncation=True,
                )
                async for event in events:
                    if event.type == "response.completed":
                        _note_response(span, event.response, tracing)
                    yield event

    def _call(
        self,
        instructions: str | None,
        items: str | list[TResponseInputItem],
        settings: ModelSettings,
        tools: list[Tool],
        output: AgentOutputSchemaBase | None,
        handoffs: list[Handoff],
    ) -> _Call:
        conversation: dict[str, Any] = {"messages": messages_of(instructions, items, self.model)}
        if definitions := tools_of(tools, handoffs):
            conversation["tools"] = definitions
        fields = call_settings(settings, self.engine.settings, output, has_tools=bool(definitions))
        if self._other_model is not None:
            fields["model"] = self._other_model
        return _Call(conversation, self._configs.find(fields))

    @contextmanager
    def _span(self, settings: ModelSettings, tracing: ModelTracing) -> Generator[_Span]:
        """Trace one request. The text of an error is traced only if data may be traced."""
        config = settings.to_traceable_dict()
        if not tracing.include_data():
            config.pop("metadata", None)
        with generation_span(model=self.model, model_config=config, disabled=tracing.is_disabled()) as span:
            try:
                yield span
            except Exception as error:
                data = {"error": str(error) if tracing.include_data() else type(error).__name__}
                span.set_error({"message": "The engine did not answer", "data": data})
                raise


def _check_stateless(response_id: str | None, conversation_id: str | None, prompt: object) -> None:
    given = {"previous_response_id": response_id, "conversation_id": conversation_id, "prompt": prompt}
    if names := [name for name, value in given.items() if value is not None]:
        raise UserError(
            f"asyncinfer: {', '.join(names)} needs state that OpenAI's Responses API keeps. Pass the whole "
            "conversation instead, for example with a session"
        )


def _note_input(span: _Span, call: _Call, tracing: ModelTracing) -> None:
    if tracing.include_data():
        span.span_data.input = call.conversation["messages"]


def _note_response(span: _Span, response: Response, tracing: ModelTracing) -> None:
    if tracing.include_data():
        span.span_data.output = [item.model_dump() for item in response.output]
    if response.usage is not None:
        span.span_data.usage = _span_usage(response.usage.input_tokens, response.usage.output_tokens)


def _span_usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    total = input_tokens + output_tokens
    return {"requests": 1, "input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total}
