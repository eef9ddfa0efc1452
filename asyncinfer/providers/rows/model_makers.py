"""APIs of the companies that made the models: Anthropic, OpenAI, DeepSeek, Mistral and xAI.

Sources, November 2026: openai 3.57 and OpenAI's API reference; Anthropic's API reference; DeepSeek's pages "Create Chat
Completion", "Thinking Mode", "JSON Output" and "Responses API", as it has no SDK; mistralai 3.7 and Mistral's
"Reasoning", for its content parts and parameters; xAI's REST API reference ("Chat completions", "Responses"),
"Reasoning" and "Image understanding". Secondary sources, for what xAI's pages do not say: LiteLLM 1.110, for the models
that only its Responses API has, and for those that do not reason; pydantic-ai 2.68, for the retired models that it
redirects; @ai-sdk/xai 4.0.8, for the models that refuse `reasoning_effort`.
"""

from __future__ import annotations

import re

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.anthropic.batches import ANTHROPIC_BATCHES
from asyncinfer.dialects.anthropic.dialect import ANTHROPIC_MESSAGES
from asyncinfer.dialects.openai.batches.dialect import openai_batches
from asyncinfer.dialects.openai.batches.mistral import MISTRAL as MISTRAL_BATCHES
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import (
    OPENAI_REASONING_MODELS,
    DocumentForm,
    Files,
    Quirks,
    Schemas,
    effort_or_no_thinking,
)
from asyncinfer.dialects.openai.responses.request import OPENAI_RESPONSES_MODELS, ResponsesQuirks
from asyncinfer.providers.auth import Key
from asyncinfer.providers.provider import Provider
from asyncinfer.types.message import Role

_NO_PENALTIES_NOR_STOPS = frozenset({"frequency_penalty", "presence_penalty", "stop_strings"})
_NO_EFFORT = frozenset({"reasoning_effort"})

ANTHROPIC = Provider(
    InferenceEngineType.ANTHROPIC,
    "https://api.anthropic.com/v1/messages",
    Key("ANTHROPIC_API_KEY", header="x-api-key", scheme=""),
    ANTHROPIC_MESSAGES,
    batch=ANTHROPIC_BATCHES,
    chat_types=frozenset({"model"}),
    model_prefixes=("claude-",),
    prices="anthropic",
)
OPENAI = Provider(
    InferenceEngineType.OPENAI,
    "https://api.openai.com/v1/chat/completions",
    Key("OPENAI_API_KEY"),
    # System messages keep their role: reasoning models treat them as developer messages.
    openai_chat(
        Quirks(
            object_root=True,
            guides_with_tools=True,
            token_limit="max_completion_tokens",
            user="safety_identifier",  # replaces `user`, which is deprecated
            reasoning_models=OPENAI_REASONING_MODELS,
        ),
        responses=ResponsesQuirks(),
    ),
    batch=openai_batches(),
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
    prices="openai",
)
DEEPSEEK = Provider(
    InferenceEngineType.DEEPSEEK,
    "https://api.deepseek.com/v1/chat/completions",
    Key("DEEPSEEK_API_KEY"),
    openai_chat(
        Quirks(
            # The API accepts the penalties and ignores them. It ignores the temperature while thinking is on.
            unsupported=frozenset(
                {"frequency_penalty", "logit_bias", "n", "parallel_tool_calls", "presence_penalty", "seed"}
            ),
            effort=effort_or_no_thinking,
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
    prices="deepseek",
)
MISTRAL = Provider(
    InferenceEngineType.MISTRAL,
    "https://api.mistral.ai/v1/chat/completions",
    Key("MISTRAL_API_KEY"),
    # The API refuses fields that it does not know.
    openai_chat(
        Quirks(
            extensions=frozenset({"repetition_penalty", "top_k"}),
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
    batch=openai_batches(MISTRAL_BATCHES),
    chat_types=frozenset({"base", "fine-tuned"}),
    model_prefixes=("codestral-", "devstral-", "magistral-", "ministral-", "mistral-", "open-mistral-", "pixtral-"),
    prices="mistral",
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
                "grok-4.20": _NO_PENALTIES_NOR_STOPS | _NO_EFFORT,
                "grok-4.20-multi-agent": _NO_PENALTIES_NOR_STOPS,
                "grok-4.20-0309-non-reasoning": _NO_EFFORT,
                "grok-4.20-beta-0309-non-reasoning": _NO_EFFORT,
                "grok-4.20-beta-latest-non-reasoning": _NO_EFFORT,
                "grok-4.20-beta-non-reasoning": _NO_EFFORT,
                "grok-4.20-experimental-beta-0304-non-reasoning": _NO_EFFORT,
                "grok-4.20-experimental-beta-non-reasoning-latest": _NO_EFFORT,
                "grok-4.20-non-reasoning": _NO_EFFORT,
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
    prices="x-ai",
)
