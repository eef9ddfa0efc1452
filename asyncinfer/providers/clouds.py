"""The rows of Mistral, Groq, xAI and Nebius.

Sources, November 2026: mistralai 3.7 and Mistral's "Reasoning", for its content parts and parameters; groq 1.7 and
Groq's "OpenAI Compatibility", "Responses API", "Reasoning" and "Vision"; xAI's REST API reference ("Chat completions",
"Responses"), "Reasoning" and "Image understanding"; LiteLLM 1.110, for the models that only
xAI's Responses API has, and for those that do not reason; pydantic-ai 2.68, for the retired models that xAI redirects;
the API reference of Nebius Token Factory. Lambda has no row: it closed its inference API in September 2025.
"""

from __future__ import annotations

import re

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import DocumentForm, Files, Quirks
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.provider import Provider
from asyncinfer.types.conversation import Role

_NO_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})
_NO_PENALTIES_NOR_STOPS = _NO_PENALTIES | {"stop_strings"}

MISTRAL = Provider(
    InferenceEngineType.MISTRAL,
    "https://api.mistral.ai/v1/chat/completions",
    Key("MISTRAL_API_KEY"),
    # The API refuses fields that it does not know.
    openai_chat(
        Quirks(
            unsupported=frozenset({"logit_bias"}),
            seed="random_seed",
            user=None,
            stream_usage=False,
            needs_parameters=True,
            call_id_length=9,
            strict_subset=False,
            documents=Files.ALL,
            document_form=DocumentForm.URL,
            reasoning_part=True,
            name_roles=frozenset({Role.TOOL}),
        )
    ),
    chat_types=frozenset({"base", "fine-tuned"}),
    model_prefixes=("codestral-", "devstral-", "magistral-", "ministral-", "mistral-", "open-mistral-", "pixtral-"),
)
GROQ = Provider(
    InferenceEngineType.GROQ,
    "https://api.groq.com/openai/v1/chat/completions",
    Key("GROQ_API_KEY"),
    openai_chat(
        Quirks(
            token_limit="max_completion_tokens",
            unsupported=_NO_PENALTIES | {"logit_bias", "logprobs", "top_logprobs"},
            documents=Files.NONE,
            reasoning="reasoning",
            name_roles=frozenset(),
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    non_chat_prefixes=(
        "canopylabs/orpheus-",
        "distil-whisper-",
        "meta-llama/llama-prompt-guard-",
        "playai-tts",
        "whisper-",
    ),
)
XAI = Provider(
    InferenceEngineType.XAI,
    "https://api.x.ai/v1/chat/completions",
    Key("XAI_API_KEY"),
    openai_chat(
        Quirks(
            token_limit="max_completion_tokens",
            unsupported=frozenset({"logit_bias"}),
            # Reasoning models answer 400 to these parameters. Only the non-reasoning models of Grok 4.20 do not reason:
            # xAI redirects older names, such as grok-4-fast-non-reasoning, to Grok 4.3, which reasons.
            unsupported_by_prefix={
                "grok-": _NO_PENALTIES_NOR_STOPS,
                "grok-4.20-0309-non-reasoning": frozenset(),
                "grok-4.20-beta-0309-non-reasoning": frozenset(),
                "grok-4.20-beta-latest-non-reasoning": frozenset(),
                "grok-4.20-beta-non-reasoning": frozenset(),
                "grok-4.20-experimental-beta-0304-non-reasoning": frozenset(),
                "grok-4.20-experimental-beta-non-reasoning-latest": frozenset(),
                "grok-4.20-non-reasoning": frozenset(),
            },
            image_types=frozenset({"image/jpeg", "image/png"}),
            documents=Files.NONE,
            name_roles=frozenset({Role.USER}),
        ),
        responses=ResponsesQuirks(),
    ),
    non_chat_prefixes=("grok-2-image", "grok-imagine-", "grok-stt", "grok-tts", "grok-voice-"),
    class_name="XAIInferenceEngine",
    model_prefixes=("grok-",),
    responses_models=re.compile(r"grok-[\d.]+-multi-agent\b"),
)
NEBIUS = Provider(
    InferenceEngineType.NEBIUS,
    "https://api.tokenfactory.nebius.com/v1/chat/completions",
    Key("NEBIUS_API_KEY"),
    openai_chat(Quirks(documents=Files.NONE)),
    non_chat_prefixes=("BAAI/bge-", "Qwen/Qwen3-Embedding-", "black-forest-labs/", "intfloat/e5-", "stability-ai/"),
)
