"""Encodes requests to OpenAI's chat completions, and to the many servers that speak them with quirks.

Sources: OpenAI's API reference ("Create chat completion") and openai-python 3.57, November 2026. For the differences of
other providers, see the catalog.
"""

from __future__ import annotations

from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.http import HEADERS, json_body
from asyncinfer.dialects.openai.guided import guided_fields
from asyncinfer.dialects.openai.messages import SENT_KEYS, encoded_messages
from asyncinfer.dialects.openai.quirks import NO_QUIRKS, Quirks
from asyncinfer.dialects.openai.tools import tool_fields, tool_offer
from asyncinfer.dialects.unsent_keys import warn_of_names
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest

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
    "n": "n",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
}
_OPENAI_SAMPLING = frozenset(SAMPLING_FIELDS) - {
    "min_p",
    "repetition_penalty",
    "skip_special_tokens",
    "stop_token_ids",
    "top_k",
}
# The parameters that ask for log probabilities.
LOGPROBS = frozenset({"logprobs", "top_logprobs"})
SUPPORTED = _OPENAI_SAMPLING | {
    *LOGPROBS,
    "extra_body",
    "guided_decoding",
    "max_new_tokens",
    "parallel_tool_calls",
    "reasoning_effort",
    "tool_choice",
}
# Parameters that a reasoning model refuses with an error, and those of them that it accepts without reasoning.
_REFUSED_WITH_REASONING = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias", "stop_strings", *LOGPROBS}
)
_ACCEPTED_WITHOUT_REASONING = frozenset({"temperature", "top_p", *LOGPROBS})
_STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class ChatEncoder:
    """Makes the requests of one call.

    Raises:
        ConfigError: The API does not support these settings.
    """

    def __init__(self, settings: EncoderSettings, quirks: Quirks) -> None:
        model, generation = settings.model, settings.generation
        effort = generation.extra_body.get("reasoning_effort", generation.reasoning_effort)
        refused = refused_parameters(model.model_name, quirks, effort=effort)
        unsupported = quirks.unsupported | refused
        self.dropped = refused & explicit_parameters(generation)
        self._url, self._timeout, self._quirks, self._warn = settings.url, settings.timeout, quirks, settings.warn
        self._shared: dict[str, Any] = {
            "model": model.model_name,
            **({} if generation.max_new_tokens is None else {quirks.token_limit: generation.max_new_tokens}),
            **sampling_fields(generation, (_OPENAI_SAMPLING | quirks.extensions) - unsupported, quirks),
            **({} if LOGPROBS & unsupported else _logprobs(generation, quirks)),
            **guided_fields(generation.guided_decoding, quirks),
            **server_fields(settings, quirks),
            **({} if "reasoning_effort" in unsupported else effort_fields(settings, quirks)),
        }
        self._offer, self._extra = tool_offer(generation, quirks, unsupported), generation.extra_body

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The server does not support this request.
        """
        if not self._quirks.extra_keys:
            SENT_KEYS.check(conversation, self._warn)
        if self._quirks.name_roles is not None:
            warn_of_names(conversation, self._quirks.name_roles, self._warn)
        body = {**self._shared, "messages": encoded_messages(conversation, self._quirks)}
        body |= tool_fields(conversation.tools, self._offer, self._quirks)
        if stream:
            body |= _STREAM if self._quirks.stream_usage else {"stream": True}
        return HttpRequest(self._url, HEADERS, json_body(body, self._extra), timeout=self._timeout)


def explicit_parameters(generation: GenerationParams) -> frozenset[str]:
    """Return the parameters that are set explicitly, and not to None."""
    return frozenset(name for name in generation.model_fields_set if getattr(generation, name) is not None)


def server_fields(settings: EncoderSettings, quirks: Quirks) -> dict[str, Any]:
    """Return the fields whose names differ between servers: end user, adapter and arguments of the chat template."""
    model, fields = settings.model, dict[str, Any]()
    if quirks.user is not None and settings.user_id is not None:
        fields[quirks.user] = settings.user_id
    if quirks.adapter is not None and model.adapter_model:
        fields[quirks.adapter] = model.adapter_model
    if quirks.template_kwargs and model.chat_template_kwargs:
        fields["chat_template_kwargs"] = model.chat_template_kwargs
    return fields


def effort_fields(settings: EncoderSettings, quirks: Quirks) -> dict[str, Any]:
    """Return the fields that say how much the model reasons."""
    effort = settings.generation.reasoning_effort
    if effort is None:
        return {}
    fields = quirks.effort(effort)
    # A variable of the chat template that the user sets takes precedence.
    variables: Any = fields.get("chat_template_kwargs")
    given = settings.model.chat_template_kwargs or {}
    return {**fields, "chat_template_kwargs": {**variables, **given}} if variables else fields


def refused_parameters(model: str, quirks: Quirks, *, effort: Any = None) -> frozenset[str]:
    """Return the parameters that this model refuses. The name of a fine-tuned model contains the name of its base.

    Args:
        effort: The effort for reasoning that the request sets.
    """
    prefix = max(filter(model.startswith, quirks.unsupported_by_prefix), key=len, default="")
    refused = quirks.unsupported_by_prefix.get(prefix, frozenset())
    if not model.removeprefix("ft:").startswith(quirks.reasoning_models):
        return refused
    reasons = effort != "none"
    return refused | (_REFUSED_WITH_REASONING if reasons else _REFUSED_WITH_REASONING - _ACCEPTED_WITHOUT_REASONING)


def sampling_fields(
    generation: GenerationParams, supported: frozenset[str], quirks: Quirks = NO_QUIRKS
) -> dict[str, Any]:
    """Return the sampling fields. Defaults are left out, except that of the temperature."""
    names = {"seed": quirks.seed, "repetition_penalty": quirks.repetition_penalty}
    fields: dict[str, Any] = {}
    for name, field in SAMPLING_FIELDS.items():
        value = getattr(generation, name)
        at_default = value == GenerationParams.model_fields[name].default or value in ([], {})
        if name in supported and value is not None and (name == "temperature" or not at_default):
            fields[names.get(name, field)] = value
    if fields.get("top_k", 1) < 1:
        fields["top_k"] = quirks.no_top_k
    return fields


def _logprobs(generation: GenerationParams, quirks: Quirks) -> dict[str, Any]:
    """Return the fields that request log probabilities."""
    count = generation.top_logprobs
    if not generation.wants_logprobs:
        return {}
    if quirks.counts_logprobs:
        return {"logprobs": count or 1}
    return {"logprobs": True, **({} if count is None else {"top_logprobs": count})}
