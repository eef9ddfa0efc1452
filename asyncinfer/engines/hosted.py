"""The engine classes of the providers in the catalog, one class per row of `asyncinfer/providers/catalog.py`.

`.github/CONTRIBUTING.md` says how to add a provider. Every class that is defined here is exported by `asyncinfer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from asyncinfer.aio.clock import Clock
from asyncinfer.config import GenerationParams, InferenceEngineType, ModelParams, RemoteParams
from asyncinfer.engines.remote import RemoteInferenceEngine

if TYPE_CHECKING:
    from aiohttp import ClientSession


class GoogleGeminiInferenceEngine(RemoteInferenceEngine):
    """Google's Gemini API. The key comes from `GEMINI_API_KEY`."""

    engine_type: ClassVar[str] = InferenceEngineType.GOOGLE_GEMINI


class GoogleVertexInferenceEngine(RemoteInferenceEngine):
    """Google's Vertex AI. Access tokens come from the application default credentials.

    Args:
        project_id: The project; by default, the environment variable `PROJECT_ID`.
        region: The region; by default, the environment variable `REGION`.
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
            remote = remote.model_copy(update={"api_url": provider.resolve_url(provider.url, given=given)})
        super().__init__(
            model_params, generation_params=generation_params, remote_params=remote, session=session, clock=clock
        )


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
