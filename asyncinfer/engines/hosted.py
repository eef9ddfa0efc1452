"""The engine classes of the providers in the catalog, one class per row of `asyncinfer/providers/catalog.py`.

`.github/CONTRIBUTING.md` says how to add a provider. Every class that is defined here is exported by `asyncinfer`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from asyncinfer.aio.clock import Clock
from asyncinfer.config import GenerationParams, InferenceConfig, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.engines.remote import RemoteInferenceEngine
from asyncinfer.errors import ConfigError
from asyncinfer.run.bound_engine import CallSettings

if TYPE_CHECKING:
    from aiohttp import ClientSession


class GoogleGeminiInferenceEngine(RemoteInferenceEngine):
    """Google's Gemini API. The key comes from `GEMINI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.GOOGLE_GEMINI


# What a URL for Vertex may contain, and the variable of the catalog that replaces it.
_PLACEHOLDERS = {
    "{project_id}": "{PROJECT_ID}",
    "{region}": "{REGION}",
    "{PROJECT_ID}": "{PROJECT_ID}",
    "{REGION}": "{REGION}",
}


class GoogleVertexInferenceEngine(RemoteInferenceEngine):
    """Google's Vertex AI. Access tokens come from the application default credentials.

    Args:
        project_id_env_key: The environment variable that holds the project; by default, `PROJECT_ID`.
        region_env_key: The environment variable that holds the region; by default, `REGION`.
        project_id: The project.
        region: The region.

    A `remote_params.api_url` may contain `{project_id}` and `{region}`, which are then filled in.
    """

    engine_type: ClassVar[str] = InferenceEngineType.GOOGLE_VERTEX

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        project_id_env_key: str | None = None,
        region_env_key: str | None = None,
        project_id: str | None = None,
        region: str | None = None,
        session: ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._given = {
            "PROJECT_ID": _value("project_id", project_id, project_id_env_key),
            "REGION": _value("region", region, region_env_key),
        }
        super().__init__(
            model_params,
            generation_params=generation_params,
            remote_params=remote_params,
            session=session,
            clock=clock,
        )

    async def _settings_of(self, config: InferenceConfig) -> CallSettings:
        settings = await super()._settings_of(config)
        return settings._replace(remote=self._located(settings.remote))

    def _with_url(self, remote: RemoteParams) -> RemoteParams:
        provider = self.provider()
        if remote.api_url is None and any(self._given.values()):
            remote = remote.model_copy(update={"api_url": provider.resolve_url(provider.url, given=self._given)})
        return super()._with_url(self._located(remote))

    def _located(self, remote: RemoteParams) -> RemoteParams:
        """The parameters with the project and the region in their URL; unchanged if one of them is unknown."""
        url = remote.api_url
        if url is None or not any(name in url for name in _PLACEHOLDERS):
            return remote
        for name, variable in _PLACEHOLDERS.items():
            url = url.replace(name, variable)
        located = self.provider().resolve_url(url, given=self._given)
        return remote if located is None else remote.model_copy(update={"api_url": located})

    def _chat_url(self, remote: RemoteParams) -> str:
        unknown = [name for name in _PLACEHOLDERS if remote.api_url is not None and name in remote.api_url]
        if unknown:
            raise ConfigError(
                f"remote_params.api_url: {' and '.join(unknown)} cannot be filled in; give project_id and region to "
                "the engine, or set the environment variables PROJECT_ID and REGION"
            )
        return super()._chat_url(remote)


def _value(name: str, given: str | None, variable: str | None) -> str:
    """The value that is given, or that of the environment variable; an empty text if there is neither.

    Raises:
        ConfigError: Both are given, or the variable is not set.
    """
    if given and variable:
        raise ConfigError(f"{name} and {name}_env_key exclude each other")
    if variable and not os.environ.get(variable):
        raise ConfigError(f"{name}_env_key: the environment variable {variable} is not set")
    return os.environ[variable] if variable else given or ""


class RemoteVLLMInferenceEngine(RemoteInferenceEngine):
    """A running vLLM server, at `remote_params.api_url`."""

    engine_type: ClassVar[str] = InferenceEngineType.REMOTE_VLLM


class SGLangInferenceEngine(RemoteInferenceEngine):
    """A running SGLang server, at `remote_params.api_url`."""

    engine_type: ClassVar[str] = InferenceEngineType.SGLANG


class AnthropicInferenceEngine(RemoteInferenceEngine):
    """Anthropic's API. The key comes from `ANTHROPIC_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.ANTHROPIC


class OpenAIInferenceEngine(RemoteInferenceEngine):
    """OpenAI's API. The key comes from `OPENAI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.OPENAI


class DeepSeekInferenceEngine(RemoteInferenceEngine):
    """DeepSeek's API. The key comes from `DEEPSEEK_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.DEEPSEEK


class FireworksInferenceEngine(RemoteInferenceEngine):
    """Fireworks AI. The key comes from `FIREWORKS_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.FIREWORKS


class ParasailInferenceEngine(RemoteInferenceEngine):
    """Parasail. The key comes from `PARASAIL_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.PARASAIL


class TogetherInferenceEngine(RemoteInferenceEngine):
    """Together AI. The key comes from `TOGETHER_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.TOGETHER


class OpenRouterInferenceEngine(RemoteInferenceEngine):
    """OpenRouter, which passes requests on to other providers. The key comes from `OPENROUTER_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.OPENROUTER


class SambanovaInferenceEngine(RemoteInferenceEngine):
    """SambaNova Cloud. The key comes from `SAMBANOVA_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.SAMBANOVA


class CerebrasInferenceEngine(RemoteInferenceEngine):
    """Cerebras Inference. The key comes from `CEREBRAS_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.CEREBRAS


class HuggingFaceRouterInferenceEngine(RemoteInferenceEngine):
    """The router of Hugging Face to its inference providers. `model_name` may name one of them after a colon. The key
    comes from `HF_TOKEN`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.HUGGING_FACE_ROUTER


class BedrockInferenceEngine(RemoteInferenceEngine):
    """Converse of Amazon Bedrock, in the region that `AWS_REGION` names. Requests are authorised with AWS credentials,
    or with the API key in `AWS_BEARER_TOKEN_BEDROCK`.

    A `remote_params.api_url` of your own is the host only, such as
    `https://bedrock-runtime-fips.us-east-1.amazonaws.com`. The path of the model is added to it. `model.model_kwargs`
    are sent as `additionalModelRequestFields`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.BEDROCK


class AzureOpenAIInferenceEngine(RemoteInferenceEngine):
    """Azure OpenAI, at the endpoint in `AZURE_OPENAI_ENDPOINT`. `model.model_name` is the name of a deployment.

    The key comes from `AZURE_OPENAI_API_KEY`. Without a key, requests are authorised with Microsoft Entra ID: with the
    token in `AZURE_OPENAI_AD_TOKEN`, or with tokens that azure-identity gets.

    Requests use the API without versions (`/openai/v1`). For the API with versions, set `remote_params.api_url` to
    `https://RESOURCE.openai.azure.com/openai/deployments/NAME?api-version=VERSION`. Without a version in the URL, it
    comes from `OPENAI_API_VERSION`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.AZURE_OPENAI


class MistralInferenceEngine(RemoteInferenceEngine):
    """Mistral's API. The key comes from `MISTRAL_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.MISTRAL


class GroqInferenceEngine(RemoteInferenceEngine):
    """Groq's API. The key comes from `GROQ_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.GROQ


class XAIInferenceEngine(RemoteInferenceEngine):
    """xAI's API. The key comes from `XAI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.XAI


class NebiusInferenceEngine(RemoteInferenceEngine):
    """Nebius Token Factory. The key comes from `NEBIUS_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.NEBIUS


class OllamaInferenceEngine(RemoteInferenceEngine):
    """A running Ollama server, at the address in `OLLAMA_HOST`; by default, `http://127.0.0.1:11434`.

    No key is needed. For Ollama's cloud, set `OLLAMA_HOST` to `https://ollama.com`; the key comes from
    `OLLAMA_API_KEY`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.OLLAMA


class LMStudioInferenceEngine(RemoteInferenceEngine):
    """The server of a running LM Studio, at `http://localhost:1234` or `remote_params.api_url`.

    A key is needed only if the server requires one. It comes from `LM_API_TOKEN`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.LM_STUDIO


class RemoteLlamaCppInferenceEngine(RemoteInferenceEngine):
    """A running server of llama.cpp (`llama-server`), at `http://localhost:9931` or `remote_params.api_url`.

    A key is needed only if the server requires one. It comes from `LLAMA_API_KEY`, which the server reads too.
    """

    engine_type: ClassVar[str] = InferenceEngineType.REMOTE_LLAMACPP
