"""The providers, a row of data each.

The rows were written in November 2026, after each provider's API reference and the newest of its SDKs: openai 3.57,
together 3.1, fireworks-ai 1.2, cerebras-cloud-sdk 1.91, sambanova 1.13, openrouter 1.3, huggingface-hub 2.4. vLLM's
and SGLang's: after the requests that vllm 0.32 and sglang 0.5.23 define. DeepSeek has no SDK; its row is after its
pages "Create Chat Completion", "Thinking Mode" and "JSON Output". Parasail promises OpenAI's format, and no more.
"""

from __future__ import annotations

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Files, Patterns, Quirks, Schemas
from asyncinfer.providers.auth import Key
from asyncinfer.providers.aws import Aws
from asyncinfer.providers.google import GeminiKey, GoogleTokens, vertex_url
from asyncinfer.providers.provider import Provider

_VERTEX = "https://{REGION}-aiplatform.googleapis.com/v1beta1"
_VLLM = frozenset({"min_p", "skip_special_tokens", "stop_token_ids"})
_MIN_P = frozenset({"min_p"})

CATALOG: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            InferenceEngineType.REMOTE,
            dialect=openai_chat(Quirks(extensions=frozenset({"min_p", "stop_token_ids"}), schemas_may_be_old=True)),
        ),
        Provider(
            InferenceEngineType.REMOTE_VLLM,
            dialect=openai_chat(
                Quirks(
                    extensions=_VLLM,
                    adapter="model",  # each adapter is a model of the server's listing
                    template_kwargs=True,
                    patterns=Patterns.VLLM,
                    documents=Files.NONE,
                    reasoning="reasoning",
                )
            ),
        ),
        # Its OpenAI endpoint, not `/generate`: that one knows neither tools nor which model's reasoning to part from
        # the answer, and wants the chat template here; what only it took once, `regex` and `lora_path`, both take.
        Provider(
            InferenceEngineType.SGLANG,
            dialect=openai_chat(
                Quirks(
                    extensions=_VLLM,
                    adapter="lora_path",  # as `model:adapter` too, which a model's name with a colon could be
                    template_kwargs=True,
                    patterns=Patterns.SGLANG,
                    documents=Files.NONE,
                    reasoning="reasoning_content",
                )
            ),
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
            # System messages stay what they are: reasoning models take them as the developer's.
            openai_chat(
                Quirks(
                    token_limit="max_completion_tokens",
                    user="safety_identifier",  # which `user` is deprecated for
                    reasoning_models=("o1", "o3", "o4", "gpt-5", "gpt-6"),
                )
            ),
            not_chat=(
                "babbage-",
                "chatgpt-image-",
                "computer-use-",
                "dall-e-",
                "davinci-",
                "gpt-4o-mini-realtime-",
                "gpt-4o-mini-transcribe",
                "gpt-4o-mini-tts",
                "gpt-4o-realtime-",
                "gpt-4o-transcribe",
                "gpt-image-",
                "gpt-realtime",
                "omni-moderation-",
                "sora-",
                "text-embedding-",
                "text-moderation-",
                "tts-",
                "whisper-",
            ),
        ),
        Provider(
            InferenceEngineType.DEEPSEEK,
            "https://api.deepseek.com/v1/chat/completions",
            Key("DEEPSEEK_API_KEY"),
            openai_chat(
                Quirks(
                    # The penalties are taken and not heeded; so is the temperature, but where thinking is off.
                    unsupported=frozenset(
                        {"frequency_penalty", "logit_bias", "parallel_tool_calls", "presence_penalty", "seed"}
                    ),
                    user="user_id",
                    schemas=Schemas.NONE,
                    documents=Files.NONE,
                    # Answers 400 to tools' results without the reasoning that led to the calls; else ignores it.
                    reasoning="reasoning_content",
                )
            ),
        ),
        Provider(
            InferenceEngineType.FIREWORKS,
            "https://api.fireworks.ai/inference/v1/chat/completions",
            Key("FIREWORKS_API_KEY"),
            openai_chat(
                Quirks(
                    extensions=_MIN_P,
                    patterns=Patterns.FIREWORKS,
                    documents=Files.NONE,
                    reasoning="reasoning_content",
                )
            ),
        ),
        Provider(
            InferenceEngineType.PARASAIL,
            "https://api.parasail.io/v1/chat/completions",
            Key("PARASAIL_API_KEY"),
            openai_chat(Quirks(documents=Files.NONE)),
        ),
        Provider(
            InferenceEngineType.TOGETHER,
            "https://api.together.ai/v1/chat/completions",
            Key("TOGETHER_API_KEY"),
            openai_chat(
                Quirks(
                    extensions=_MIN_P,
                    unsupported=frozenset({"parallel_tool_calls"}),
                    user=None,
                    template_kwargs=True,
                    patterns=Patterns.TOGETHER,
                    documents=Files.NONE,
                    reasoning="reasoning",
                )
            ),
            chat_types=frozenset({"chat"}),
        ),
        Provider(
            InferenceEngineType.OPENROUTER,
            "https://openrouter.ai/api/v1/chat/completions",
            Key("OPENROUTER_API_KEY"),
            openai_chat(
                Quirks(
                    token_limit="max_completion_tokens",
                    extensions=_MIN_P,
                    documents=Files.ALL,
                    reasoning="reasoning",
                    passthrough=frozenset({"reasoning_details"}),
                )
            ),
        ),
        Provider(
            InferenceEngineType.SAMBANOVA,
            "https://api.sambanova.ai/v1/chat/completions",
            Key("SAMBANOVA_API_KEY"),
            openai_chat(
                Quirks(
                    unsupported=frozenset({"frequency_penalty", "presence_penalty"}),  # taken, and not implemented
                    user=None,
                    template_kwargs=True,
                    images=Files.INLINE,
                    documents=Files.NONE,
                    reasoning="reasoning",
                )
            ),
            not_chat=("E5-", "Whisper-"),
        ),
        Provider(
            InferenceEngineType.CEREBRAS,
            "https://api.cerebras.ai/v1/chat/completions",
            Key("CEREBRAS_API_KEY"),
            openai_chat(
                Quirks(
                    token_limit="max_completion_tokens",
                    images=Files.INLINE,
                    documents=Files.NONE,
                    reasoning="reasoning",
                )
            ),
        ),
        Provider(
            InferenceEngineType.HUGGING_FACE_ROUTER,
            "https://router.huggingface.co/v1/chat/completions",
            Key("HF_TOKEN"),
            openai_chat(
                Quirks(
                    unsupported=frozenset({"logit_bias", "parallel_tool_calls"}),
                    user=None,
                    documents=Files.NONE,
                )
            ),
            workers=20,
        ),
        Provider(
            InferenceEngineType.BEDROCK,
            "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
            Aws("bedrock", "AWS_BEARER_TOKEN_BEDROCK"),
            BEDROCK_CONVERSE,
            not_chat=("amazon.rerank-", "cohere.rerank-"),
            chat_types=frozenset({"chat"}),
            places={"AWS_REGION": ("AWS_DEFAULT_REGION",)},
        ),
        Provider(
            InferenceEngineType.GOOGLE_GEMINI,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            GeminiKey(),
            GEMINI,
            not_chat=("aqa", "embedding-", "gemini-embedding-", "imagen-", "lyria-", "text-embedding-", "veo-"),
        ),
        Provider(
            InferenceEngineType.GOOGLE_VERTEX,
            f"{_VERTEX}/projects/{{PROJECT_ID}}/locations/{{REGION}}/endpoints/openapi/chat/completions",
            GoogleTokens(),
            VERTEX,
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
            url_transform=vertex_url,
        ),
    )
}
