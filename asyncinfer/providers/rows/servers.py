"""Servers that users run themselves: any server with OpenAI's API, vLLM, SGLang, Ollama, LM Studio and llama.cpp's.

They need no key unless the user has set one on the server. Sources, November 2026: the requests that vllm 0.32 and
sglang 0.5.23 define, and SGLang's `serving_responses.py`; Ollama's "OpenAI compatibility" and the code of its server,
for the fields that it reads and its images; ollama 0.6, for `OLLAMA_HOST` and `OLLAMA_API_KEY`; LM Studio's "Chat
Completions", "Structured Output", "Tool Use", "Authentication" and API changelog; the README of llama.cpp's server,
whose default port changed from 8080 to 9931 in autumn 2026.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from asyncinfer.config import InferenceEngineType
from asyncinfer.dialects.media import IMAGES
from asyncinfer.dialects.openai.batches.dialect import openai_batches
from asyncinfer.dialects.openai.batches.quirks import CHAT, RESPONSES, BatchQuirks, Windows
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.dialects.openai.quirks import Files, Patterns, Quirks, effort_as_variable
from asyncinfer.dialects.openai.responses.request import ResponsesQuirks
from asyncinfer.providers.auth import OptionalKey
from asyncinfer.providers.provider import Provider

# Such a server answers a few requests at a time. The others would only wait in its queue, until they time out.
_WORKERS = 8
_OLLAMA_PORT = 11434
_UNSPECIFIED = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_SAMPLING = frozenset({"repetition_penalty", "top_k"})
_VLLM = frozenset({"min_p", "skip_special_tokens", "stop_token_ids"}) | _SAMPLING
_PILLOW_IMAGES = IMAGES | {"image/bmp", "image/tiff"}  # vLLM and SGLang read images with Pillow.
# Beyond OpenAI's: the parameters of vLLM's Responses API.
_VLLM_RESPONSES = _VLLM | {"frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop_strings"}


def ollama_url(url: str) -> str:
    """Return the URL for a value of `OLLAMA_HOST`, as Ollama's own clients read it.

    The value may lack the scheme, the host or the port. A server that listens on all addresses is reached at the
    loopback address.
    """
    has_scheme = "://" in url
    parts = urlsplit(url if has_scheme else f"http://{url}")
    host, port = _UNSPECIFIED.get(parts.hostname or "", parts.hostname or ""), parts.port
    if not has_scheme and host == "ollama.com":
        parts = parts._replace(scheme="https")
    elif not has_scheme and port is None:
        port = _OLLAMA_PORT
    netloc = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=user + at + netloc, path=re.sub("/+", "/", parts.path)))


REMOTE = Provider(
    InferenceEngineType.REMOTE,
    dialect=openai_chat(
        Quirks(extensions=frozenset({"min_p", "stop_token_ids"}) | _SAMPLING, may_lack_json_schema=True),
        responses=ResponsesQuirks(),
    ),
    # A server of the user's may have any window.
    batch=openai_batches(BatchQuirks("REMOTE", windows=Windows(1, 9999), paths=frozenset({CHAT, RESPONSES}))),
)
REMOTE_VLLM = Provider(
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
    prices=None,
)
# The OpenAI endpoint, not `/generate`. `/generate` supports no tools, does not separate reasoning from the
# answer, and needs the chat template to be applied here. Both support `regex` and `lora_path`.
SGLANG = Provider(
    InferenceEngineType.SGLANG,
    class_name="SGLangInferenceEngine",
    dialect=openai_chat(
        Quirks(
            extensions=_VLLM,
            no_top_k=-1,
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
    prices=None,
)
OLLAMA = Provider(
    InferenceEngineType.OLLAMA,
    "{OLLAMA_HOST}/v1/chat/completions",
    OptionalKey("OLLAMA_API_KEY"),
    openai_chat(
        Quirks(
            unsupported=frozenset({"logit_bias", "n", "parallel_tool_calls", "tool_choice"}),
            user=None,
            strict_subset=False,
            images=Files.INLINE,
            image_types=frozenset({"image/jpeg", "image/png", "image/webp"}),
            documents=Files.NONE,
            reasoning="reasoning",
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    workers=_WORKERS,
    non_chat_prefixes=(
        "all-minilm",
        "bge-",
        "embeddinggemma",
        "granite-embedding",
        "mxbai-embed-",
        "nomic-embed-",
        "paraphrase-multilingual",
        "qwen3-embedding",
        "snowflake-arctic-embed",
    ),
    variable_defaults={"OLLAMA_HOST": f"http://127.0.0.1:{_OLLAMA_PORT}"},
    url_transform=ollama_url,
    start_hint="Start Ollama with `ollama serve`, or set OLLAMA_HOST or remote_params.api_url to its address",
    prices=None,
)
LM_STUDIO = Provider(
    InferenceEngineType.LM_STUDIO,
    "http://localhost:1234/v1/chat/completions",
    OptionalKey("LM_API_TOKEN"),
    openai_chat(
        Quirks(
            extensions=_SAMPLING,
            unsupported=frozenset({"logprobs", "n", "parallel_tool_calls", "reasoning_effort", "top_logprobs"}),
            repetition_penalty="repeat_penalty",
            user=None,
            named_tool_choice=False,
            strict_subset=False,
            images=Files.INLINE,
            image_types=frozenset({"image/jpeg", "image/png", "image/webp"}),
            documents=Files.NONE,
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    workers=_WORKERS,
    non_chat_prefixes=("text-embedding-",),
    class_name="LMStudioInferenceEngine",
    start_hint="Start the server of LM Studio with `lms server start`, or set remote_params.api_url to its address",
    prices=None,
)
REMOTE_LLAMACPP = Provider(
    InferenceEngineType.REMOTE_LLAMACPP,
    "http://localhost:9931/v1/chat/completions",
    OptionalKey("LLAMA_API_KEY"),
    openai_chat(
        Quirks(
            extensions=frozenset({"min_p"}) | _SAMPLING,
            repetition_penalty="repeat_penalty",
            effort=effort_as_variable,
            user=None,
            named_tool_choice=False,
            template_kwargs=True,
            patterns=Patterns.LLAMACPP,
            strict_subset=False,
            image_types=frozenset({"image/bmp", "image/gif", "image/jpeg", "image/png"}),  # read by stb_image
            merges_messages=True,  # the chat templates of many models require that roles alternate
            documents=Files.NONE,
            reasoning="reasoning_content",
        ),
        responses=ResponsesQuirks(encrypted_reasoning=False),
    ),
    workers=_WORKERS,
    class_name="RemoteLlamaCppInferenceEngine",
    start_hint=(
        "Start the server with `llama-server -m MODEL.gguf --port 9931`, or set remote_params.api_url to its address; "
        "older versions listen at http://localhost:8080"
    ),
    prices=None,
)
