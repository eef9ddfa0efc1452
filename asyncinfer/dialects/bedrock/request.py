"""Encodes requests to Amazon Bedrock's Converse, which has one format for all chat models.

Sources: the Bedrock API reference ("Converse"), the user guide's "Get validated JSON results from models", and
botocore 1.44's service model `bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.anthropic.content import input_schema
from asyncinfer.dialects.anthropic.models import Sampling, output_schema, sampling
from asyncinfer.dialects.base import EncoderSettings
from asyncinfer.dialects.bedrock.blocks import SENT_KEYS, cache_point, system_blocks, turns, uses_tools
from asyncinfer.dialects.bedrock.models import model_fields
from asyncinfer.dialects.fields import object_at
from asyncinfer.dialects.http import HEADERS, json_body, merged_under
from asyncinfer.dialects.tools import chosen_function
from asyncinfer.errors import ConfigError, invalid_request
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.http import HttpRequest
from asyncinfer.types.tools import ToolDefinition

SUPPORTED = frozenset(
    {
        "extra_body",
        "guided_decoding",
        "max_new_tokens",
        "reasoning_effort",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_k",
        "top_p",
    }
)
_SAMPLING = {"temperature": "temperature", "top_p": "topP"}


class ConverseEncoder:
    """Makes the requests of one call.

    The URL in the settings ends before the path of the model. `outputConfig` in `generation.extra_body` is merged with
    the one of the request.

    Raises:
        ConfigError: Bedrock does not support these settings.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        model, generation = settings.model.model_name, settings.generation
        sampling_fields, dropped = _sampling(settings)
        own, unknown = model_fields(model, generation, sampling_fields.pop("top_k", None))
        self.dropped = dropped | unknown
        # What the user sets for the model takes precedence.
        own |= settings.model.model_kwargs
        self._url, self._timeout = f"{settings.url.rstrip('/')}/model/{quote(model, safe='')}", settings.timeout
        self._warn = settings.warn
        self._shared: dict[str, Any] = {
            "inferenceConfig": _inference(generation, sampling_fields),
            **_format(generation.guided_decoding, model),
            **({"additionalModelRequestFields": own} if own else {}),
            **({"requestMetadata": {"user_id": settings.user_id}} if settings.user_id is not None else {}),
        }
        self._extra = merged_under("outputConfig", self._shared, generation.extra_body)
        self._choice, self._no_tools = _choice(generation.tool_choice), generation.tool_choice == "none"

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """Return the request. Files given by path must have been read before.

        Raises:
            RequestError: Bedrock does not support this request.
        """
        SENT_KEYS.check(conversation, self._warn)
        body: dict[str, Any] = {"messages": turns(conversation), **self._shared}
        if system := system_blocks(conversation):
            body["system"] = system
        if conversation.tools and not self._no_tools:
            body["toolConfig"] = {"tools": _tools(conversation.tools), **self._choice}
        elif self._no_tools and uses_tools(body["messages"]):
            raise invalid_request(
                "generation.tool_choice: Bedrock has no `none`, and requires the tools if earlier messages called them"
            )
        url = f"{self._url}/converse{'-stream' if stream else ''}"
        return HttpRequest(url, HEADERS, json_body(body, self._extra), timeout=self._timeout)


def _inference(generation: GenerationParams, sampling_fields: Mapping[str, float]) -> dict[str, Any]:
    sampler = {_SAMPLING[name]: value for name, value in sampling_fields.items()}
    fields: dict[str, Any] = {**sampler}
    if generation.max_new_tokens is not None:
        fields["maxTokens"] = generation.max_new_tokens
    if generation.stop_strings:
        fields["stopSequences"] = generation.stop_strings
    return fields


def _sampling(settings: EncoderSettings) -> Sampling:
    """Return the sampling parameters that the model accepts. The default temperature is always sent."""
    own = object_at(settings.generation.extra_body, "additionalModelRequestFields") or settings.model.model_kwargs
    thinks = (object_at(own, "thinking") or object_at(own, "reasoning_config")).get("type", "disabled") != "disabled"
    return sampling(settings.model.model_name, settings.generation, thinks=thinks)


def _format(guided: GuidedDecodingParams | None, model: str) -> dict[str, Any]:
    schema = output_schema(model, guided)
    if schema is None:
        return {}
    shape = {"schema": to_json(schema).decode()}
    if guided is not None and isinstance(guided.json, type):
        shape["name"] = guided.json.__name__
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": shape}}}}


def _tools(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    for tool in tools:
        function = tool.function
        spec: dict[str, Any] = {"name": function.name}
        if function.description:
            spec["description"] = function.description
        spec["inputSchema"] = {"json": input_schema(function)}
        if function.strict is not None:
            spec["strict"] = function.strict
        result += [{"toolSpec": spec}, *cache_point(tool)]
    return result


def _choice(choice: str | dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields about the choice of tools, for requests with tools. A mapping may also be in Bedrock's format.

    Raises:
        ConfigError: Bedrock does not support this choice.
    """
    if choice is None or choice == "none":
        return {}
    if isinstance(choice, dict):
        name = chosen_function(choice)
        choice = {"tool": {"name": name}} if name is not None else choice
        if len(choice) == 1 and choice.keys() <= {"auto", "any", "tool"}:
            return {"toolChoice": choice}
    known = {"auto": "auto", "required": "any", "any": "any"}
    if not isinstance(choice, str) or choice not in known:
        raise ConfigError(f"generation.tool_choice: should be none, auto, required or a function (found {choice!r})")
    return {"toolChoice": {known[choice]: {}}}
