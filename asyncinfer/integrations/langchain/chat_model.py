"""The chat model of LangChain that an engine answers.

Source: `langchain_core.language_models.chat_models` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from asyncinfer.config import InferenceConfig
from asyncinfer.integrations.call_configs import CallConfigs
from asyncinfer.integrations.langchain.answers import chunk_of, result_of
from asyncinfer.integrations.langchain.engine_model import EngineChatModel
from asyncinfer.integrations.langchain.errors import mapped_errors
from asyncinfer.integrations.langchain.messages import messages_of
from asyncinfer.integrations.langchain.structured import Method, structured
from asyncinfer.integrations.langchain.tools import Tool, ToolChoice, choice_of, response_format_of, tools_of
from asyncinfer.types.conversation import Conversation

# What LangChain itself passes to a call.
_NOT_SETTINGS = frozenset({"stream", "ls_structured_output_format", "structured_output_format"})


class _Call(NamedTuple):
    """One call: the conversation, its settings, and the name of the model that answers."""

    conversation: Conversation
    config: InferenceConfig | None
    model_name: str


class AsyncInferChatModel(EngineChatModel):
    """A chat model that an engine answers. All calls share the engine's batches, permits, limits and retries.

    The settings below may also be passed to a call: `model.invoke(messages, temperature=1)`, or to `model.bind`. A call
    accepts all settings by OpenAI's names or by the names of `GenerationParams`, and `extra_body` for fields that only
    one API knows. The engine's own settings are in effect where neither the model nor the call sets one.

    The caller closes the engine: `await model.engine.aclose()`.
    """

    _configs: CallConfigs = PrivateAttr(default_factory=CallConfigs)

    # Answers

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs)
        with mapped_errors():
            return result_of(self.engine.generate(call.conversation, call.config), call.model_name)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call(messages, stop, kwargs)
        with mapped_errors():
            return result_of(await self.engine.agenerate(call.conversation, call.config), call.model_name)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        with mapped_errors():
            for delta in self.engine.stream(call.conversation, call.config):
                yield chunk_of(delta, call.model_name)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._call(messages, stop, kwargs)
        with mapped_errors():
            async with self.engine.astream(call.conversation, call.config) as stream:
                async for delta in stream:
                    yield chunk_of(delta, call.model_name)

    def _call(self, messages: Sequence[BaseMessage], stop: list[str] | None, given: Mapping[str, Any]) -> _Call:
        tools = tools_of(given.get("tools") or ())
        settings: dict[str, Any] = {**self._settings(), **given, "stop": stop or self.stop or None}
        settings["tool_choice"] = choice_of(given.get("tool_choice"), tools)
        if given.get("response_format") is not None:
            settings["response_format"] = response_format_of(given["response_format"])
        if settings.get("extra_body"):
            settings["extra_body"] = {**self.engine.settings.generation.extra_body, **settings["extra_body"]}
        for name in ("tools", *_NOT_SETTINGS):
            settings.pop(name, None)
        conversation = Conversation(messages=messages_of(messages), tools=tools or None)
        return _Call(conversation, self._configs.find(settings), settings.get("model") or self.model_name)

    # Tools and structured output

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: ToolChoice | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools that it may call.

        Args:
            tools: Functions, `BaseTool`s, pydantic models, typed dicts, or definitions in the format of OpenAI,
                Anthropic or Bedrock.
            tool_choice: `auto`, `none`, `any` or `required` (one of the tools), or the name of a tool.
            strict: Whether the arguments must follow the schema strictly, if the API has such a mode.
            kwargs: More settings of each call, such as `parallel_tool_calls`.

        Raises:
            ConfigError: A tool is not a function, or there is no tool of the chosen name.
        """
        definitions = tools_of(tools, strict)
        choice = choice_of(tool_choice, definitions)
        chosen = {} if choice is None else {"tool_choice": choice}
        return self.bind(tools=definitions, **chosen, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a chain that answers in a structure.

        Args:
            schema: A pydantic model: the chain returns its instances. Or a JSON schema, a typed dict, or a tool in
                OpenAI's format: the chain returns dicts. It may be missing for `json_mode`.
            method: `json_schema`: the answer is constrained to the schema. `function_calling`: the model calls a tool
                with this schema. `json_mode`: the answer is any JSON object; describe it in the prompt. By default,
                `json_schema` if the engine supports it, and `function_calling` otherwise.
            include_raw: Return a dict with `raw` (the answer), `parsed`, and `parsing_error` instead of raising it.
            strict: Whether the API should follow the schema strictly, if it has such a mode.

        Raises:
            ValueError: An argument is unknown, or the schema is missing.
        """
        if kwargs:
            raise ValueError(f"with_structured_output has no argument {', '.join(kwargs)}")
        has_schemas = "guided_decoding" in self.engine.get_supported_params()
        default: Method = "json_schema" if has_schemas else "function_calling"
        return structured(self, schema, method or default, strict, include_raw)
