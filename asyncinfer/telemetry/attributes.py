"""The attributes of spans and metrics. `asyncinfer.telemetry` names the conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from asyncinfer.dialects.fields import as_object
from asyncinfer.errors import EngineDeadError, RequestError
from asyncinfer.run.access import EngineAccess
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.usage import Usage

Attributes = dict[str, Any]

OPERATION, PROVIDER, REQUEST_MODEL = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"
RESPONSE_ID, RESPONSE_MODEL = "gen_ai.response.id", "gen_ai.response.model"
FINISH_REASONS, FIRST_CHUNK = "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS, OUTPUT_TOKENS, TOKEN_TYPE = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.token.type",
)
STREAM, OUTPUT_TYPE = "gen_ai.request.stream", "gen_ai.output.type"
INPUT_MESSAGES, OUTPUT_MESSAGES = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS = "gen_ai.system_instructions", "gen_ai.tool.definitions"
CONVERSATION_ID = "gen_ai.conversation.id"
SERVER_ADDRESS, SERVER_PORT, ERROR_TYPE = "server.address", "server.port", "error.type"
CHOICES = "gen_ai.request.choice.count"
SYSTEM_FINGERPRINT, SERVICE_TIER = "openai.response.system_fingerprint", "openai.response.service_tier"
# Attributes of this package. A cost is in US dollars.
COST = "asyncinfer.cost"
ROW_INDEX, ATTEMPTS = "asyncinfer.row.index", "asyncinfer.attempts"

CHAT = "chat"
# The names of the conventions, where they differ from the name of the engine in lower case.
_PROVIDERS = {
    "AZURE_OPENAI": "azure.ai.openai",
    "BEDROCK": "aws.bedrock",
    "GEMINI": "gcp.gemini",
    "GOOGLE_VERTEX": "gcp.vertex_ai",
    "MISTRAL": "mistral_ai",
    "XAI": "x_ai",
}
_PARAMETERS = {
    "max_new_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop_strings": "gen_ai.request.stop_sequences",
}
# The names of the metadata of an answer.
_RESPONSE = {
    RESPONSE_ID: "response_id",
    RESPONSE_MODEL: "response_model",
    SYSTEM_FINGERPRINT: "system_fingerprint",
    SERVICE_TIER: "service_tier",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def call_attributes(engine_type: str, access: EngineAccess) -> Attributes:
    """The attributes that all calls with the same settings have, in spans and metrics."""
    model = access.settings.model.model_name
    return {
        OPERATION: CHAT,
        PROVIDER: _PROVIDERS.get(engine_type, engine_type.lower()),
        **({REQUEST_MODEL: model} if model else {}),
        **server_attributes(access.settings.remote.api_url),
    }


def server_attributes(url: str | None) -> Attributes:
    """The address and the port of a URL; empty if there are none."""
    try:
        parts = urlsplit(str(url or ""))
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return {}
    if host is None:
        return {}
    return {SERVER_ADDRESS: host, **({SERVER_PORT: port} if port is not None else {})}


def request_attributes(access: EngineAccess) -> Attributes:
    """The parameters of the requests, except those that are not sent."""
    generation = access.settings.generation
    values = {name: getattr(generation, name) for name in _PARAMETERS if name not in access.dropped}
    attributes = {_PARAMETERS[name]: value for name, value in values.items() if value not in (None, [])}
    if generation.n > 1 and "n" not in access.dropped:
        attributes[CHOICES] = generation.n
    guided = generation.guided_decoding
    if guided is not None and guided.json is not None:
        attributes[OUTPUT_TYPE] = "json"
    return attributes


def usage_attributes(usage: Usage | None) -> Attributes:
    """The tokens of an answer, and what they cost."""
    if usage is None:
        return {}
    counts: Attributes = {
        INPUT_TOKENS: usage.prompt_tokens,
        OUTPUT_TOKENS: usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        COST: usage.cost,
    }
    return {name: count for name, count in counts.items() if count is not None}


def response_attributes(metadata: Mapping[str, Any] | None) -> Attributes:
    """What a response says about itself: its id, the model that answered, and what OpenAI's API reports besides."""
    given = metadata or {}
    return {name: value for name, key in _RESPONSE.items() if isinstance(value := given.get(key), str)}


def finish_reasons(reason: FinishReason, metadata: Mapping[str, Any] | None) -> list[str]:
    """The finish reason of each answer to a request."""
    choices: Any = (metadata or {}).get("choices")
    if not isinstance(choices, list):
        return [reason.value]
    return [str(as_object(choice).get("finish_reason", "unknown")) for choice in cast(list[Any], choices)]


def error_type(error: BaseException) -> str:
    """The kind of an error: the status of the response, the kind of a failed request, or the class."""
    if isinstance(error, RequestError | EngineDeadError):
        return str(error.status_code) if error.status_code is not None else error.error_type.value
    return type(error).__qualname__
