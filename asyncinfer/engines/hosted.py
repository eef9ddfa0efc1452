"""The engines of the catalog's providers, a class each."""

from __future__ import annotations

from typing import ClassVar

from asyncinfer.config import InferenceEngineType
from asyncinfer.engines.remote import RemoteInferenceEngine


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
