"""The catalog: one row of data per provider.

`.github/CONTRIBUTING.md` says how to add a provider. The registry of engines, the exports of `asyncinfer` and the table
in the README are made from the rows. The tests in `tests/providers/test_catalog.py` run for each row.

`clouds.py` and `local_servers.py` beside this file have further rows, with their sources.

The rows were written in November 2026, from each provider's API reference and the newest of its SDKs: openai 3.57,
together 3.1, fireworks-ai 1.2, cerebras-cloud-sdk 1.91, sambanova 1.13, openrouter 1.3, huggingface-hub 2.4. The rows
of vLLM and SGLang follow the requests that vllm 0.32 and sglang 0.5.23 define. DeepSeek has no SDK; its row follows its
pages "Create Chat Completion", "Thinking Mode" and "JSON Output". Parasail documents OpenAI's format, and nothing more.

The Responses API: the SDKs of OpenAI, OpenRouter and SambaNova, vllm 0.32, SGLang's `serving_responses.py`, and the
pages "Responses API" of DeepSeek, Fireworks and Hugging Face.
"""

from __future__ import annotations

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.bedrock.dialect import BEDROCK_CONVERSE
from asyncinfer.dialects.google.gemini import GEMINI
from asyncinfer.dialects.google.vertex import VERTEX
from asyncinfer.dialects.media import IMAGES
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import OPENAI_REASONING_MODELS, Files, Patterns, Quirks, Schemas
from asyncinfer.dialects.openai.responses.request import OPENAI_RESPONSES_MODELS, ResponsesQuirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.aws import Aws
from asyncinfer.providers.azure import AZURE_OPENAI
from asyncinfer.providers.clouds import GROQ, MISTRAL, NEBIUS, XAI
from asyncinfer.providers.google import GeminiKey, GoogleTokens, vertex_url
from asyncinfer.providers.local_servers import LM_STUDIO, OLLAMA, REMOTE_LLAMACPP
from asyncinfer.providers.provider import Provider

_VERTEX = "https://{REGION}-aiplatform.googleapis.com/v1beta1"
_VLLM = frozenset({"min_p", "skip_special_tokens", "stop_token_ids"})
_PILLOW_IMAGES = IMAGES | {"image/bmp", "image/tiff"}  # vLLM and SGLang read images with Pillow.
_MIN_P = frozenset({"min_p"})
# Beyond OpenAI's: the parameters of vLLM's Responses API.
_VLLM_RESPONSES = _VLLM | {"frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop_strings"}

CATALOG: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            InferenceEngineType.REMOTE,
            dialect=openai_chat(
                Quirks(extensions=frozenset({"min_p", "stop_token_ids"}), may_lack_json_schema=True),
                responses=ResponsesQuirks(),
            ),
        ),
        Provider(
            InferenceEngineType.REMOTE_VLLM,
            class_name="RemoteVLLMInferenceEngine",
            dialect=openai_chat(
                Quirks(
                    extensions=_VLLM,
                    adapter="model",  # the server lists each adapter as a model
                    template_kwargs=True,
                    patterns=Patterns.VLLM,
                    strict_subset=False,
                    image_types=_PILLOW_IMAGES,
                    merges_messages=True,  # the chat templates of many models require that roles alternate
                    documents=Files.NONE,
                    reasoning="reasoning",
                ),
                responses=ResponsesQuirks(_VLLM_RESPONSES, encrypted_reasoning=False),
            ),
        ),
        # The OpenAI endpoint, not `/generate`. `/generate` supports no tools, does not separate reasoning from the
        # answer, and needs the chat template to be applied here. Both support `regex` and `lora_path`.
        Provider(
            InferenceEngineType.SGLANG,
            class_name="SGLangInferenceEngine",
            dialect=openai_chat(
                Quirks(
                    extensions=_VLLM,
                    adapter="lora_path",  # `model:adapter` is ambiguous if the model's name contains a colon
                    template_kwargs=True,
                    patterns=Patterns.SGLANG,
                    strict_subset=False,
                    image_types=_PILLOW_IMAGES,
                    documents=Files.NONE,
                    reasoning="reasoning_content",
                ),
                responses=ResponsesQuirks(encrypted_reasoning=False),
            ),
            replaced_paths=("/generate",),  # as in configurations for Oumi
        ),
        Provider(
            InferenceEngineType.ANTHROPIC,
            "https://api.anthropic.com/v1/messages",
            Key("ANTHROPIC_API_KEY", header="x-api-key", scheme=""),
            ANTHROPIC_MESSAGES,
            chat_types=frozenset({"model"}),
            model_prefixes=("claude-",),
        ),
        Provider(
            InferenceEngineType.OPENAI,
            "https://api.openai.com/v1/chat/completions",
            Key("OPENAI_API_KEY"),
            # System messages keep their role: reasoning models treat them as developer messages.
            openai_chat(
                Quirks(
                    object_root=True,
                    token_limit="max_completion_tokens",
                    user="safety_identifier",  # replaces `user`, which is deprecated
                    reasoning_models=OPENAI_REASONING_MODELS,
                ),
                responses=ResponsesQuirks(),
            ),
            non_chat_prefixes=(
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
            class_name="OpenAIInferenceEngine",
            model_prefixes=("chatgpt-", "gpt-3", "gpt-4", "gpt-5", "gpt-6", "o1", "o3", "o4"),
            responses_models=OPENAI_RESPONSES_MODELS,
        ),
        Provider(
            InferenceEngineType.DEEPSEEK,
            "https://api.deepseek.com/v1/chat/completions",
            Key("DEEPSEEK_API_KEY"),
            openai_chat(
                Quirks(
                    # The API accepts the penalties and ignores them. It ignores the temperature while thinking is on.
                    unsupported=frozenset(
                        {"frequency_penalty", "logit_bias", "parallel_tool_calls", "presence_penalty", "seed"}
                    ),
                    user="user_id",
                    schemas=Schemas.NONE,
                    documents=Files.NONE,
                    # The API answers 400 to results of tools if the reasoning before the calls is missing.
                    reasoning="reasoning_content",
                ),
                responses=ResponsesQuirks(encrypted_reasoning=False, schemas=Schemas.NAMED),
            ),
            class_name="DeepSeekInferenceEngine",
            model_prefixes=("deepseek-",),
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
                ),
                responses=ResponsesQuirks(encrypted_reasoning=False),
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
                    counts_logprobs=True,
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
                ),
                responses=ResponsesQuirks(),
            ),
            class_name="OpenRouterInferenceEngine",
        ),
        Provider(
            InferenceEngineType.SAMBANOVA,
            "https://api.sambanova.ai/v1/chat/completions",
            Key("SAMBANOVA_API_KEY"),
            openai_chat(
                Quirks(
                    unsupported=frozenset({"frequency_penalty", "presence_penalty"}),  # accepted, but not implemented
                    user=None,
                    template_kwargs=True,
                    images=Files.INLINE,
                    documents=Files.NONE,
                    reasoning="reasoning",
                ),
                responses=ResponsesQuirks(encrypted_reasoning=False),
            ),
            non_chat_prefixes=("E5-", "Whisper-"),
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
                ),
                responses=ResponsesQuirks(encrypted_reasoning=False),
            ),
            workers=20,
        ),
        AZURE_OPENAI,
        MISTRAL,
        GROQ,
        XAI,
        NEBIUS,
        OLLAMA,
        LM_STUDIO,
        REMOTE_LLAMACPP,
        Provider(
            InferenceEngineType.BEDROCK,
            "https://bedrock-runtime.{AWS_REGION}.amazonaws.com",
            Aws("bedrock", "AWS_BEARER_TOKEN_BEDROCK"),
            BEDROCK_CONVERSE,
            non_chat_prefixes=("amazon.rerank-", "cohere.rerank-"),
            chat_types=frozenset({"chat"}),
            variable_aliases={"AWS_REGION": ("AWS_DEFAULT_REGION",)},
            extra="bedrock",
            requires="botocore",
            model_prefixes=(
                "amazon.",
                "anthropic.",
                "arn:aws:bedrock:",
                "us.anthropic.",
                "eu.anthropic.",
                "global.anthropic.",
            ),
        ),
        Provider(
            InferenceEngineType.GOOGLE_GEMINI,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            GeminiKey(),
            GEMINI,
            non_chat_prefixes=(
                "aqa",
                "embedding-",
                "gemini-embedding-",
                "imagen-",
                "lyria-",
                "text-embedding-",
                "veo-",
            ),
            class_name="GoogleGeminiInferenceEngine",
            model_prefixes=("gemini-",),
        ),
        Provider(
            InferenceEngineType.GOOGLE_VERTEX,
            f"{_VERTEX}/projects/{{PROJECT_ID}}/locations/{{REGION}}/endpoints/openapi/chat/completions",
            GoogleTokens(),
            VERTEX,
            listing=f"{_VERTEX}/publishers/google/models",
            non_chat_prefixes=(
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
            variable_aliases={"PROJECT_ID": ("GOOGLE_CLOUD_PROJECT",), "REGION": ("GOOGLE_CLOUD_LOCATION",)},
            url_transform=vertex_url,
            extra="vertex",
            requires="google.auth",
        ),
    )
}
