"""The engines of the catalog's providers, a class each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from asyncinfer.aio.clock import Clock
from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.engines.remote import RemoteInferenceEngine

if TYPE_CHECKING:
    from aiohttp import ClientSession


class GoogleGeminiInferenceEngine(RemoteInferenceEngine):
    """Google's Gemini API; the key comes from `GEMINI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.GOOGLE_GEMINI


class GoogleVertexInferenceEngine(RemoteInferenceEngine):
    """Google's Vertex AI, in a project and a region: those given, or `PROJECT_ID` and `REGION` of the environment.

    The access tokens come from the application default credentials.
    """

    engine_type: ClassVar[str] = InferenceEngineType.GOOGLE_VERTEX

    def __init__(
        self,
        model_params: ModelParams,
        *,
        generation_params: GenerationParams | None = None,
        remote_params: RemoteParams | None = None,
        project_id: str | None = None,
        region: str | None = None,
        session: ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        remote, provider = remote_params or RemoteParams(), self.provider()
        given = {name: value for name, value in (("PROJECT_ID", project_id), ("REGION", region)) if value}
        if given and remote.api_url is None:
            remote = remote.model_copy(update={"api_url": provider.filled(provider.url, given=given)})
        super().__init__(
            model_params, generation_params=generation_params, remote_params=remote, session=session, clock=clock
        )


class AnthropicInferenceEngine(RemoteInferenceEngine):
    """Anthropic's own API; the key comes from `ANTHROPIC_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.ANTHROPIC


class BedrockInferenceEngine(RemoteInferenceEngine):
    """Amazon Bedrock's Converse, in the region of `AWS_REGION`, by AWS credentials or the API key in
    `AWS_BEARER_TOKEN_BEDROCK`.

    A `remote_params.api_url` of one's own is the host alone, such as
    `https://bedrock-runtime-fips.us-east-1.amazonaws.com`: the model's path is added. `model.model_kwargs` are sent as
    `additionalModelRequestFields`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.BEDROCK


class OpenAIInferenceEngine(RemoteInferenceEngine):
    """OpenAI's own API; the key comes from `OPENAI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.OPENAI


class RemoteVLLMInferenceEngine(RemoteInferenceEngine):
    """A vLLM server that someone else started, at `remote_params.api_url`."""

    engine_type: ClassVar[str] = InferenceEngineType.REMOTE_VLLM


class SGLangInferenceEngine(RemoteInferenceEngine):
    """An SGLang server that someone else started, at `remote_params.api_url`."""

    engine_type: ClassVar[str] = InferenceEngineType.SGLANG


class DeepSeekInferenceEngine(RemoteInferenceEngine):
    """DeepSeek's API; the key comes from `DEEPSEEK_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.DEEPSEEK


class FireworksInferenceEngine(RemoteInferenceEngine):
    """Fireworks AI; the key comes from `FIREWORKS_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.FIREWORKS


class ParasailInferenceEngine(RemoteInferenceEngine):
    """Parasail; the key comes from `PARASAIL_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.PARASAIL


class TogetherInferenceEngine(RemoteInferenceEngine):
    """Together AI; the key comes from `TOGETHER_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.TOGETHER


class OpenRouterInferenceEngine(RemoteInferenceEngine):
    """OpenRouter, which asks other providers; the key comes from `OPENROUTER_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.OPENROUTER


class SambanovaInferenceEngine(RemoteInferenceEngine):
    """SambaNova Cloud; the key comes from `SAMBANOVA_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.SAMBANOVA


class CerebrasInferenceEngine(RemoteInferenceEngine):
    """Cerebras Inference; the key comes from `CEREBRAS_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.CEREBRAS


class HuggingFaceRouterInferenceEngine(RemoteInferenceEngine):
    """Hugging Face's router to its inference providers, which `model_name` may name after a colon; the key comes from
    `HF_TOKEN`.
    """

    engine_type: ClassVar[str] = InferenceEngineType.HUGGING_FACE_ROUTER
