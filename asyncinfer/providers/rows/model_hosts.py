"""APIs of services that run the open models of others: Fireworks, Parasail, Together, OpenRouter, SambaNova, Cerebras,
Hugging Face's router, Groq and Nebius.

Sources, November 2026: together 3.1, fireworks-ai 1.2, cerebras-cloud-sdk 1.91, sambanova 1.13, openrouter 1.3,
huggingface-hub 2.4, and the pages "Responses API" of Fireworks and Hugging Face; groq 1.7 and Groq's "OpenAI
Compatibility", "Responses API", "Reasoning" and "Vision"; the API reference of Nebius Token Factory. Parasail documents
OpenAI's format, and nothing more. Lambda has no row: it closed its inference API in September 2025.
"""

from __future__ import annotations

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.batch import BatchLimits
from asyncinfer.dialects.openai.batches.dialect import openai_batches
from asyncinfer.dialects.openai.batches.fireworks import FIREWORKS_BATCHES
from asyncinfer.dialects.openai.batches.quirks import BatchQuirks, Paging, Windows
from asyncinfer.dialects.openai.batches.together import TOGETHER as TOGETHER_BATCHES
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Files, Patterns, Quirks
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.provider import Provider

_SAMPLING = frozenset({"repetition_penalty", "top_k"})
_OPEN_MODELS = _SAMPLING | {"min_p"}

FIREWORKS = Provider(
    InferenceEngineType.FIREWORKS,
    "https://api.fireworks.ai/inference/v1/chat/completions",
    Key("FIREWORKS_API_KEY"),
    openai_chat(
        Quirks(
            extensions=_OPEN_MODELS,
            patterns=Patterns.FIREWORKS,
            documents=Files.NONE,
            reasoning="reasoning_content",
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    prices="fireworks",
    batch=FIREWORKS_BATCHES,
)
PARASAIL = Provider(
    InferenceEngineType.PARASAIL,
    "https://api.parasail.io/v1/chat/completions",
    Key("PARASAIL_API_KEY"),
    openai_chat(Quirks(documents=Files.NONE)),
    batch=openai_batches(
        BatchQuirks(
            "PARASAIL",
            limits=BatchLimits(rows=50_000, bytes=100 * 10**6),
            docs="https://docs.parasail.io/parasail-docs/batch",
        )
    ),
)
TOGETHER = Provider(
    InferenceEngineType.TOGETHER,
    "https://api.together.ai/v1/chat/completions",
    Key("TOGETHER_API_KEY"),
    openai_chat(
        Quirks(
            extensions=_OPEN_MODELS,
            unsupported=frozenset({"parallel_tool_calls"}),
            counts_logprobs=True,
            user=None,
            template_kwargs=True,
            patterns=Patterns.TOGETHER,
            documents=Files.NONE,
            reasoning="reasoning",
        )
    ),
    batch=openai_batches(TOGETHER_BATCHES),
    chat_types=frozenset({"chat"}),
    prices="together",
)
OPENROUTER = Provider(
    InferenceEngineType.OPENROUTER,
    "https://openrouter.ai/api/v1/chat/completions",
    Key("OPENROUTER_API_KEY"),
    openai_chat(
        Quirks(
            token_limit="max_completion_tokens",
            extensions=_OPEN_MODELS,
            unsupported=frozenset({"n"}),
            documents=Files.ALL,
            reasoning="reasoning",
            passthrough=frozenset({"reasoning_details"}),
        ),
        responses=ResponsesQuirks(),
    ),
    class_name="OpenRouterInferenceEngine",
    prices="openrouter",
)
SAMBANOVA = Provider(
    InferenceEngineType.SAMBANOVA,
    "https://api.sambanova.ai/v1/chat/completions",
    Key("SAMBANOVA_API_KEY"),
    openai_chat(
        Quirks(
            extensions=_SAMPLING,
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
)
CEREBRAS = Provider(
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
    prices="cerebras",
)
HUGGING_FACE_ROUTER = Provider(
    InferenceEngineType.HUGGING_FACE_ROUTER,
    "https://router.huggingface.co/v1/chat/completions",
    Key("HF_TOKEN"),
    openai_chat(
        Quirks(
            unsupported=frozenset({"logit_bias", "parallel_tool_calls", "reasoning_effort"}),
            user=None,
            documents=Files.NONE,
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    workers=20,
)
GROQ = Provider(
    InferenceEngineType.GROQ,
    "https://api.groq.com/openai/v1/chat/completions",
    Key("GROQ_API_KEY"),
    openai_chat(
        Quirks(
            token_limit="max_completion_tokens",
            unsupported=frozenset(
                {"frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "top_logprobs"}
            ),
            documents=Files.NONE,
            reasoning="reasoning",
            name_roles=frozenset(),
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    batch=openai_batches(
        BatchQuirks(
            "GROQ",
            limits=BatchLimits(rows=50_000, bytes=100 * 10**6),
            windows=Windows(24, 168),
            job_pages=Paging.CURSOR,
            file_pages=Paging.NONE,
            docs="https://console.groq.com/docs/batch",
        )
    ),
    non_chat_prefixes=(
        "canopylabs/orpheus-",
        "distil-whisper-",
        "meta-llama/llama-prompt-guard-",
        "playai-tts",
        "whisper-",
    ),
    prices="groq",
)
NEBIUS = Provider(
    InferenceEngineType.NEBIUS,
    "https://api.tokenfactory.nebius.com/v1/chat/completions",
    Key("NEBIUS_API_KEY"),
    openai_chat(Quirks(documents=Files.NONE)),
    non_chat_prefixes=("BAAI/bge-", "Qwen/Qwen3-Embedding-", "black-forest-labs/", "intfloat/e5-", "stability-ai/"),
)
