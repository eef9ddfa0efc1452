"""The providers, a row of data each."""

from __future__ import annotations

from dataclasses import replace

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.anthropic import ANTHROPIC_MESSAGES
from asyncinfer.dialects.bedrock import bedrock_converse
from asyncinfer.dialects.gemini import gemini
from asyncinfer.dialects.openai import openai_chat
from asyncinfer.dialects.openai_chat import Quirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.aws import Aws
from asyncinfer.providers.google import VERTEX_QUIRKS, GeminiKey, GoogleTokens, vertex_entries, vertex_more, vertex_url
from asyncinfer.providers.provider import Provider

_VERTEX = "https://{REGION}-aiplatform.googleapis.com/v1beta1"
_VLLM = frozenset({"min_p", "skip_special_tokens", "stop_token_ids"})

CATALOG: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            InferenceEngineType.REMOTE,
            dialect=openai_chat(Quirks(extensions=frozenset({"min_p", "stop_token_ids"}), schemas_may_be_old=True)),
        ),
        Provider(
            InferenceEngineType.REMOTE_VLLM,
            dialect=openai_chat(Quirks(extensions=_VLLM, structured_outputs=True, adapters=True)),
        ),
        Provider(
            InferenceEngineType.ANTHROPIC,
            "https://api.anthropic.com/v1/messages",
            Key("ANTHROPIC_API_KEY", header="x-api-key", scheme=""),
            ANTHROPIC_MESSAGES,
            chat_types=frozenset({"model"}),
        ),
        Provider(
            InferenceEngineType.OPENAI,
            "https://api.openai.com/v1/chat/completions",
            Key("OPENAI_API_KEY"),
            openai_chat(Quirks(token_limit="max_completion_tokens", reasoning_models=("o1", "o3", "o4", "gpt-5"))),
            not_chat=(
                "babbage-",
                "dall-e-",
                "davinci-",
                "gpt-image-",
                "omni-moderation-",
                "sora-",
                "text-embedding-",
                "tts-",
                "whisper-",
            ),
        ),
        Provider(
            InferenceEngineType.BEDROCK,
            "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
            Aws("bedrock", "AWS_BEARER_TOKEN_BEDROCK"),
            bedrock_converse(),
            not_chat=("amazon.rerank-", "cohere.rerank-"),
            chat_types=frozenset({"chat"}),
            places={"AWS_REGION": ("AWS_DEFAULT_REGION",)},
        ),
        Provider(
            InferenceEngineType.GOOGLE_GEMINI,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            GeminiKey(),
            gemini(),
            not_chat=("aqa", "embedding-", "gemini-embedding-", "imagen-", "lyria-", "text-embedding-", "veo-"),
        ),
        Provider(
            InferenceEngineType.GOOGLE_VERTEX,
            f"{_VERTEX}/projects/{{PROJECT_ID}}/locations/{{REGION}}/endpoints/openapi/chat/completions",
            GoogleTokens(),
            replace(openai_chat(VERTEX_QUIRKS), entries=vertex_entries, more_models=vertex_more),
            listing=f"{_VERTEX}/publishers/google/models",
            not_chat=(
                "google/chirp",
                "google/gemini-embedding-",
                "google/imagegeneration",
                "google/imagen-",
                "google/imagetext",
                "google/lyria-",
                "google/multimodalembedding",
                "google/text-embedding-",
                "google/text-multilingual-embedding-",
                "google/textembedding",
                "google/veo-",
            ),
            places={"PROJECT_ID": ("GOOGLE_CLOUD_PROJECT",), "REGION": ("GOOGLE_CLOUD_LOCATION",)},
            refined=vertex_url,
        ),
    )
}
