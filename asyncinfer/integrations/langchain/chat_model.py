"""The chat model of LangChain that an engine answers.

Source: `langchain_core.language_models.chat_models` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr

from asyncinfer.config import InferenceConfig
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.features import engine_features
from asyncinfer.integrations.langchain.answers import chunk_of, result_of
from asyncinfer.integrations.langchain.description import built, described, explicit_key, secret_name
from asyncinfer.integrations.langchain.errors import mapped_errors
from asyncinfer.integrations.langchain.messages import messages_of
from asyncinfer.integrations.langchain.settings import CallConfigs
from asyncinfer.integrations.langchain.structured import Method, structured
from asyncinfer.integrations.langchain.tools import Tool, ToolChoice, choice_of, response_format_of, tools_of
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.field_types import NONE, Accepts

if TYPE_CHECKING:
    _Engine = Accepts[BaseInferenceEngine, BaseInferenceEngine | Mapping[str, Any]]
    _Key = Accepts[SecretStr | None, SecretStr | str | None]
else:
    _Engine, _Key = Annotated[BaseInferenceEngine, BeforeValidator(built)], SecretStr | None
# The fields that are settings of each call.
_SETTINGS = (
    "model",
    "temperature",
    "max_tokens",
    "top_p",
    "seed",
    "logprobs",
    "top_logprobs",
    "timeout",
    "max_retries",
)
# What LangChain itself passes to a call.
_NOT_SETTINGS = frozenset({"stream", "ls_structured_output_format", "structured_output_format"})


class _Call(NamedTuple):
    """One call: the conversation, its settings, and the name of the model that answers."""

    conversation: Conversation
    config: InferenceConfig | None
    model_name: str


class AsyncInferChatModel(BaseChatModel):
    """A chat model that an engine answers. All calls share the engine's batches, permits, limits and retries.

    The settings below may also be passed to a call: `model.invoke(messages, temperature=1)`, or to `model.bind`. A call
    accepts all settings by OpenAI's names, those of `GenerationParams` by their own names, and `extra_body` for fields
    that only one API knows. Settings that are not set are those of the engine.

    Closing the engine is up to its owner: `await model.engine.aclose()`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    engine: _Engine
    """The engine, or its description: the dict of a configuration, such as `{"engine": "OPENAI", "model": {...}}`."""
    model: str | None = None
    """The name of another model of the same API."""
    temperature: float | None = None
    max_tokens: int | None = None
    """The most tokens in an answer."""
    top_p: float | None = None
    seed: int | None = None
    stop: list[str] | None = None
    """Texts that end the answer."""
    logprobs: bool | None = None
    """Return the log probabilities of the tokens, in `response_metadata["logprobs"]`."""
    top_logprobs: int | None = None
    timeout: float | None = None
    """Seconds for a whole request; for a stream, until it begins."""
    max_retries: int | None = None
    api_key: _Key = NONE
    """The key of the API, if it is not that of the engine."""
    streaming: bool = False
    """Stream answers within the engine even if the caller does not."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """More settings of each call, by OpenAI's names."""
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

    def _settings(self) -> dict[str, Any]:
        """The settings that this model sets in each call, by OpenAI's names."""
        own = {name: getattr(self, name) for name in (*_SETTINGS, "api_key")}
        return {**self.model_kwargs, **{name: value for name, value in own.items() if value is not None}}

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

    # What LangChain and its tracing show

    @property
    def model_name(self) -> str:
        """The name of the model that answers."""
        return self.model or self.engine.settings.model.model_name or str(self.engine.engine_type)

    @property
    def _llm_type(self) -> str:
        return "asyncinfer"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        settings = {name: value for name, value in self._settings().items() if name not in ("api_key", "model")}
        stop = {} if not self.stop else {"stop": self.stop}
        return {"engine": str(self.engine.engine_type), "model_name": self.model_name, **settings, **stop}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """Return what LangSmith shows of a call: the provider, the model and the settings in effect."""
        generation = self.engine.settings.generation
        own = {"temperature": generation.temperature, "max_tokens": generation.max_new_tokens}
        shown = {**own, "model": self.model_name, **self._settings(), **kwargs}
        params = super()._get_ls_params(stop=stop or self.stop, **shown)
        params["ls_provider"] = str(self.engine.engine_type).lower()
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        """Return what is certain: what the API supports as a whole, and what it cannot do with any model."""
        found = engine_features(type(self.engine))
        profile = ModelProfile(
            tool_calling="tools" in found,
            tool_choice="tools" in found,
            structured_output="JSON schema" in found,
            audio_inputs=False,
            video_inputs=False,
        )
        if "images" not in found:
            profile["image_inputs"] = False
        if "image URLs" not in found:
            profile["image_url_inputs"] = False
        if "PDF" not in found:
            profile["pdf_inputs"] = False
        if (longest := self.engine.settings.model.model_max_length) is not None:
            profile["max_input_tokens"] = longest
        return profile

    # Serialisation

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Return where the class is imported from, which does not depend on the file that it is in."""
        return ["asyncinfer", "integrations", "langchain"]

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": secret_name(self.engine)}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        key = self.api_key or explicit_key(self.engine)
        return {"engine": described(self.engine), **({} if key is None else {"api_key": key})}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return the constructor call that makes an equal model. The API key is a reference to a secret.

        A model whose engine cannot be described in JSON is marked as not serialisable, as LangChain does it.
        """
        return super().to_json() if described(self.engine) is not None else self.to_json_not_implemented()
