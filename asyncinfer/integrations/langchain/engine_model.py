"""The fields of the chat model, and how LangChain shows, caches and saves it.

Source: `langchain_core.language_models.chat_models` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, field_validator

from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.integrations.langchain.description import engine_from_dict, engine_to_dict, explicit_key, secret_name
from asyncinfer.integrations.langchain.profile import profile_of
from asyncinfer.types.field_types import NONE, Accepts

if TYPE_CHECKING:
    _Engine = Accepts[BaseInferenceEngine, BaseInferenceEngine | Mapping[str, Any]]
    _Key = Accepts[SecretStr | None, SecretStr | str | None]
else:
    _Engine, _Key = Annotated[BaseInferenceEngine, BeforeValidator(engine_from_dict)], SecretStr | None
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


class EngineChatModel(BaseChatModel):
    """The base of `AsyncInferChatModel`, which adds the answers."""

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
    """The API key, if it differs from the engine's."""
    streaming: bool = False
    """Stream answers within the engine even if the caller does not."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """More settings of each call, by OpenAI's names."""
    _unique_id: str = PrivateAttr(default_factory=lambda: uuid4().hex)

    @field_validator("model_kwargs")
    @classmethod
    def _refuse_fields(cls, given: dict[str, Any]) -> dict[str, Any]:
        if fields := sorted(given.keys() & cls.model_fields.keys()):
            raise ValueError(f"{', '.join(fields)}: pass it to the constructor itself")
        return given

    def _settings(self) -> dict[str, Any]:
        """The settings that this model sets in each call, by OpenAI's names."""
        fields = {name: getattr(self, name) for name in (*_SETTINGS, "api_key")}
        return {**self.model_kwargs, **{name: value for name, value in fields.items() if value is not None}}

    # What LangChain and its tracing show

    @property
    def model_name(self) -> str:
        """The name of the model that answers."""
        return self.model or self.engine.model_name

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
        defaults = {"temperature": generation.temperature, "max_tokens": generation.max_new_tokens}
        shown = {**defaults, "model": self.model_name, **self._settings(), **kwargs}
        params = super()._get_ls_params(stop=stop or self.stop, **shown)
        params["ls_provider"] = str(self.engine.engine_type).lower()
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return profile_of(self.engine)

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
        return {"engine": engine_to_dict(self.engine), **({} if key is None else {"api_key": key})}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return the constructor call that makes an equal model. The API key is a reference to a secret.

        A model whose engine cannot be described in JSON is marked as not serialisable, as LangChain does it.
        """
        return super().to_json() if engine_to_dict(self.engine) is not None else self.to_json_not_implemented()

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Return the key of this model in LangChain's caches.

        A model that is not serialisable has a unique key, because its description does not tell it from others.
        """
        key = super()._get_llm_string(stop=stop, **kwargs)
        return key if self._serialized["type"] == "constructor" else f"{key}---{self._unique_id}"
