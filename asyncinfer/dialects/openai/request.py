"""Encodes requests to OpenAI's chat completions, and to the many servers that speak them with quirks.

Sources: OpenAI's API reference ("Create chat completion") and openai-python 3.57, November 2026. For the differences of
other providers, see the catalog.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.http import HEADERS, json_body
from asyncinfer.dialects.json_schema.growth import schema_of_tool
from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.json_schema.strict import to_openai_strict
from asyncinfer.dialects.json_schema.tool_schema import object_schema
from asyncinfer.dialects.openai.guided import guided_fields
from asyncinfer.dialects.openai.messages import SENT_KEYS, encoded_messages
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.errors import invalid_request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.tools import FunctionDefinition, ToolDefinition

# The sampling parameters of this package and their request fields. Some exist only in servers other than OpenAI's.
SAMPLING_FIELDS = {
    "temperature": "temperature",
    "logit_bias": "logit_bias",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop_strings": "stop",
    "min_p": "min_p",
    "skip_special_tokens": "skip_special_tokens",
    "stop_token_ids": "stop_token_ids",
}
_OPENAI_SAMPLING = frozenset(SAMPLING_FIELDS) - {"min_p", "skip_special_tokens", "stop_token_ids"}
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
SUPPORTED = _OPENAI_SAMPLING | {
    *_LOGPROBS,
    "extra_body",
    "guided_decoding",
    "max_new_tokens",
    "parallel_tool_calls",
    "tool_choice",
}
# Parameters that a reasoning model refuses with an error, and those of them that it accepts without reasoning.
_REFUSED_WITH_REASONING = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "stop_strings", *_LOGPROBS}
)
_ACCEPTED_WITHOUT_REASONING = frozenset({"temperature", "top_p", *_LOGPROBS})
# The fields of a tool without additional keys.
_TOOL_FIELDS: dict[str, Any] = {"type": True, "function": set(FunctionDefinition.model_fields)}


class ChatEncoder:
    """Makes the requests of one call.

    Raises:
        ConfigError: The API does not support these settings.
    """

    def __init__(self, settings: EncoderSettings, quirks: Quirks) -> None:
        model, generation = settings.model, settings.generation
        effort = generation.extra_body.get("reasoning_effort")
        refused = refused_parameters(model.model_name, quirks, effort=effort)
        given = {name for name in generation.model_fields_set if getattr(generation, name) is not None}
        self.dropped = refused & given
        self._url, self._timeout, self._quirks, self._warn = settings.url, settings.timeout, quirks, settings.warn
        self._shared: dict[str, Any] = {
            "model": model.model_name,
            **({} if generation.max_new_tokens is None else {quirks.token_limit: generation.max_new_tokens}),
            **sampling_fields(generation, (_OPENAI_SAMPLING | quirks.extensions) - quirks.unsupported - refused),
            **({} if _LOGPROBS & (quirks.unsupported | refused) else _logprobs(generation, quirks)),
            **guided_fields(generation.guided_decoding, quirks),
        }
        if quirks.user is not None and settings.user_id is not None:
            self._shared[quirks.user] = settings.user_id
        if quirks.adapter is not None and model.adapter_model:
            self._shared[quirks.adapter] = model.adapter_model
        if quirks.template_kwargs and model.chat_template_kwargs:
            self._shared["chat_template_kwargs"] = model.chat_template_kwargs
        self._tool_fields, self._extra = _tool_fields(generation, quirks.unsupported | refused), generation.extra_body

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The server does not support this request.
        """
        if not self._quirks.extra_keys:
            SENT_KEYS.check(conversation, self._warn)
        body = {**self._shared, "messages": encoded_messages(conversation, self._quirks)}
        if conversation.tools:
            body |= {"tools": [_tool(tool, self._quirks) for tool in conversation.tools]}
            body |= self._tool_fields
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return HttpRequest(self._url, HEADERS, json_body(body, self._extra), timeout=self._timeout)


def _tool(tool: ToolDefinition, quirks: Quirks) -> dict[str, Any]:
    known = None if quirks.extra_keys else _TOOL_FIELDS
    plain = tool.model_dump(mode="json", exclude_none=True, include=known)
    if tool.function.parameters is not None:
        with schema_of_tool(tool.function.name):
            plain["function"]["parameters"] = accepted_parameters(tool, tool.function.parameters, quirks)
    return plain


def accepted_parameters(tool: ToolDefinition, schema: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    """Return the schema of a tool's arguments as the server accepts it."""
    if quirks.strict_subset:
        schema = object_schema(schema)
        schema = to_openai_strict(schema) if tool.function.strict else schema
    schema = quirks.schema_transform(schema)
    inlined = inline_refs(schema) if quirks.inline_refs else schema
    if inlined is None:
        raise invalid_request(f"tool {tool.function.name!r}: this API does not accept a schema that contains itself")
    return inlined


def refused_parameters(model: str, quirks: Quirks, *, effort: Any = None) -> frozenset[str]:
    """Return the parameters that this model refuses. The name of a fine-tuned model contains the name of its base.

    Args:
        effort: The effort for reasoning that the request sets.
    """
    unsupported = (names for prefix, names in quirks.unsupported_by_prefix.items() if model.startswith(prefix))
    refused = frozenset[str]().union(*unsupported)
    if not model.removeprefix("ft:").startswith(quirks.reasoning_models):
        return refused
    reasons = effort != "none"
    return refused | (_REFUSED_WITH_REASONING if reasons else _REFUSED_WITH_REASONING - _ACCEPTED_WITHOUT_REASONING)


def sampling_fields(generation: GenerationParams, supported: frozenset[str]) -> dict[str, Any]:
    """Return the sampling fields. Defaults are left out, except that of the temperature."""
    fields: dict[str, Any] = {}
    for name, field in SAMPLING_FIELDS.items():
        value = getattr(generation, name)
        at_default = value == GenerationParams.model_fields[name].default or value in ([], {})
        if name in supported and value is not None and (name == "temperature" or not at_default):
            fields[field] = value
    return fields


def _logprobs(generation: GenerationParams, quirks: Quirks) -> dict[str, Any]:
    """Return the fields that request log probabilities."""
    count = generation.top_logprobs
    if not generation.wants_logprobs:
        return {}
    if quirks.counts_logprobs:
        return {"logprobs": count or 1}
    return {"logprobs": True, **({} if count is None else {"top_logprobs": count})}


def _tool_fields(generation: GenerationParams, unsupported: frozenset[str]) -> dict[str, Any]:
    """Return the fields about the choice of tools, for requests with tools."""
    fields: dict[str, Any] = {}
    if generation.tool_choice is not None:
        fields["tool_choice"] = generation.tool_choice
    if not generation.parallel_tool_calls and "parallel_tool_calls" not in unsupported:
        fields["parallel_tool_calls"] = False
    return fields
