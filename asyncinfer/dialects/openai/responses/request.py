"""Encodes requests to the Responses API.

Sources: `ResponseCreateParams` of openai-python 3.57 and OpenAI's guide "Migrate to the Responses API". The further
parameters of vLLM: `ResponsesRequest` of vLLM 0.32. All read in November 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.fields import as_object, members_of, object_at
from asyncinfer.dialects.http import HEADERS, json_body, merged_under
from asyncinfer.dialects.json_schema.growth import schema_of_tool
from asyncinfer.dialects.openai.guided import guided_fields
from asyncinfer.dialects.openai.quirks import Files, Quirks, Schemas
from asyncinfer.dialects.openai.request import (
    LOGPROBS,
    explicit_parameters,
    refused_parameters,
    sampling_fields,
    server_fields,
)
from asyncinfer.dialects.openai.responses.input_writer import SENT_KEYS, input_items
from asyncinfer.dialects.openai.responses.logprobs import INCLUDE_LOGPROBS
from asyncinfer.dialects.openai.responses.tools import written_tool, written_tool_choice
from asyncinfer.dialects.openai.tools import accepted_parameters, tool_offer
from asyncinfer.errors import ConfigError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.tools import ToolDefinition

Json = dict[str, Any]
_SAMPLING = frozenset({"temperature", "top_p"})
SUPPORTED = _SAMPLING | {
    "extra_body",
    "guided_decoding",
    *LOGPROBS,
    "max_new_tokens",
    "parallel_tool_calls",
    "reasoning_effort",
    "tool_choice",
}
# Fields of chat completions, and the object and the field that have the same meaning here.
_MOVED = {"reasoning_effort": ("reasoning", "effort"), "verbosity": ("text", "verbosity")}
_ENCRYPTED_REASONING = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class ResponsesQuirks:
    """How the Responses API of a server differs from OpenAI's, in addition to the quirks of its chat completions.

    Args:
        extensions: The parameters of this package that it supports beyond OpenAI's.
        encrypted_reasoning: It sends reasoning as encrypted content on request. Otherwise, it sends the text.
        schemas: How it accepts a JSON schema; None: as its chat completions.
        documents: How it accepts documents; None: as its chat completions.
    """

    extensions: frozenset[str] = frozenset()
    encrypted_reasoning: bool = True
    schemas: Schemas | None = None
    documents: Files | None = None


OPENAI_RESPONSES = ResponsesQuirks()
# Models that OpenAI lists only for this API: `ResponsesModel` of its SDK, and LiteLLM 1.110 (secondary).
OPENAI_RESPONSES_MODELS = re.compile(
    r"(?:o\d+-pro|gpt-[\d.]+-pro|.*-deep-research|.*\bcodex|computer-use|gpt-daybreak|gpt-[\d.]+-cyber"
    r"|gpt-(?:[\d.]+-)?rosalind|gpt-[\d.]+-astra-law)\b"
)


class ResponsesEncoder:
    """Makes the requests of one call.

    Raises:
        ConfigError: The API does not support these settings.
    """

    def __init__(self, settings: EncoderSettings, quirks: Quirks, responses: ResponsesQuirks) -> None:
        model, generation = settings.model, settings.generation
        self._url, self._timeout, self._quirks, self._warn = settings.url, settings.timeout, quirks, settings.warn
        extra = _extra_body(generation.extra_body)
        if generation.reasoning_effort is not None:
            extra["reasoning"] = {"effort": generation.reasoning_effort, **object_at(extra, "reasoning")}
        effort = object_at(extra, "reasoning").get("effort")
        refused = refused_parameters(model.model_name, quirks, effort=effort)
        unsupported = quirks.unsupported | refused
        self.dropped = refused & explicit_parameters(generation)
        self._shared: Json = {
            "model": model.model_name,
            **({} if generation.max_new_tokens is None else {"max_output_tokens": generation.max_new_tokens}),
            **sampling_fields(generation, (_SAMPLING | responses.extensions) - unsupported),
            **_format_fields(generation, quirks),
            "store": False,
            **_included(generation, responses, unsupported),
            **server_fields(settings, quirks),
        }
        self._offer = tool_offer(generation, quirks, unsupported)
        # Tools that the API runs itself come in addition to the functions of a conversation.
        self._built_in_tools = [] if self._offer.is_limited else members_of(extra.get("tools"))
        others = {name: value for name, value in extra.items() if name != "tools"}
        self._extra = merged_under("text", self._shared, others)
        self._stored = extra.get("store", False) is not False

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: The server does not support this request.
        """
        SENT_KEYS.check(conversation, self._warn)
        body = {**self._shared, "input": input_items(conversation.messages, self._quirks, stored=self._stored)}
        if tools := [*map(self._tool, self._offer.offered(conversation.tools)), *self._built_in_tools]:
            body |= {"tools": tools, **_written_fields(self._offer.fields)}
        if stream:
            body["stream"] = True
        return HttpRequest(self._url, HEADERS, json_body(body, self._extra), timeout=self._timeout)

    def _tool(self, tool: ToolDefinition) -> Json:
        if (schema := tool.function.parameters) is None:
            return written_tool(tool, None)
        with schema_of_tool(tool.function.name):
            return written_tool(tool, accepted_parameters(tool, schema, self._quirks))


def _written_fields(fields: Json) -> Json:
    """Return the fields about the choice of tools in the form of this API."""
    if "tool_choice" not in fields:
        return fields
    return {**fields, "tool_choice": written_tool_choice(fields["tool_choice"])}


def _extra_body(given: Json) -> Json:
    """Return the user's fields. Fields of chat completions are moved into the objects to which they belong here.

    Raises:
        ConfigError: The API would answer before the answer is complete.
    """
    if given.get("background"):
        raise ConfigError(
            "generation.extra_body.background: a response in the background has no answer; remove this field, and set "
            "remote_params.connection_timeout to the longest time that an answer may take"
        )
    fields = {name: value for name, value in given.items() if name not in _MOVED}
    for name, (outer, inner) in _MOVED.items():
        if name in given:
            fields[outer] = {inner: given[name], **object_at(fields, outer)}
    return fields


def _format_fields(generation: GenerationParams, quirks: Quirks) -> Json:
    """Return the fields for guided decoding: a schema as `text.format`, and others as vLLM accepts them."""
    fields = guided_fields(generation.guided_decoding, quirks)
    given = as_object(fields.pop("response_format", None))
    if not given:
        return fields
    shape = {key: value for key, value in given.items() if key != "json_schema"}
    return {**fields, "text": {"format": {**shape, **object_at(given, "json_schema")}}}


def _included(generation: GenerationParams, responses: ResponsesQuirks, refused: frozenset[str]) -> Json:
    """Return the fields that ask for further parts of the answer."""
    wants_logprobs = generation.wants_logprobs and refused.isdisjoint(LOGPROBS)
    names = [_ENCRYPTED_REASONING] if responses.encrypted_reasoning else []
    names += [INCLUDE_LOGPROBS] if wants_logprobs else []
    fields: Json = {"include": names} if names else {}
    if wants_logprobs and generation.top_logprobs is not None:
        fields["top_logprobs"] = generation.top_logprobs
    return fields
