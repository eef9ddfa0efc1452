"""Amazon Bedrock's Converse: one form for all of its chat models. What is asked.

Written after the Bedrock API reference ("Converse"), the user guide's "Get validated JSON results from models", and
botocore 1.44's service model `bedrock-runtime` 2023-09-30, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from asyncinfer.config import GenerationParams, GuidedDecodingParams
from asyncinfer.dialects.bedrock_blocks import cache_point, system_blocks, turns, uses_tools
from asyncinfer.dialects.dialect import Call
from asyncinfer.dialects.http import HEADERS, HttpRequest
from asyncinfer.dialects.openai_chat import group
from asyncinfer.dialects.strict_schema import closed, strict
from asyncinfer.errors import ConfigError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.results import unanswerable
from asyncinfer.types.tools import ToolDefinition

SUPPORTED = frozenset(
    {
        "extra_body",
        "guided_decoding",
        "max_new_tokens",
        "stop_strings",
        "temperature",
        "tool_choice",
        "top_p",
    }
)
# Claude models that can be told how to sample: those up to 4.6. Later ones answer 400 to it.
_CLAUDE = re.compile(r"\bclaude-")
_SAMPLED_CLAUDE = re.compile(
    r"\bclaude-(?:v\d|instant|[23]\b|(?:opus|sonnet|haiku)-4(?:-[0-6])?(?!\d)(?!-\d\d?(?!\d)))"
)
_SAMPLING = frozenset({"temperature", "top_p"})


class ConverseEncoder:
    """Makes the requests of one call, below a URL without the model's path.

    Raises:
        ConfigError: nothing can be asked with these settings.
    """

    def __init__(self, call: Call) -> None:
        model, generation = call.model.model_name, call.generation
        refused = _SAMPLING if _CLAUDE.search(model) and not _SAMPLED_CLAUDE.search(model) else frozenset[str]()
        self.dropped = refused & generation.model_fields_set
        self._url, self._timeout = f"{call.url.rstrip('/')}/model/{quote(model, safe='')}", call.timeout
        self._extra = generation.extra_body
        self._shared: dict[str, Any] = {
            "inferenceConfig": _inference(generation, refused | _left_to_model(call)),
            **_format(generation.guided_decoding),
            **({"additionalModelRequestFields": call.model.model_kwargs} if call.model.model_kwargs else {}),
            **({"requestMetadata": {"user_id": call.user_id}} if call.user_id is not None else {}),
        }
        self._choice, self._no_tools = _choice(generation.tool_choice), generation.tool_choice == "none"

    def __call__(self, conversation: Conversation, *, stream: bool = False) -> HttpRequest:
        """The request. Files given by path must have been read before.

        Raises:
            RequestError: Bedrock cannot be asked this.
        """
        body: dict[str, Any] = {"messages": turns(conversation), **self._shared}
        if system := system_blocks(conversation):
            body["system"] = system
        if conversation.tools and not self._no_tools:
            body["toolConfig"] = {"tools": _tools(conversation.tools), **self._choice}
        elif self._no_tools and uses_tools(body["messages"]):
            raise unanswerable(
                "generation.tool_choice: Bedrock has no `none`, and wants the tools told where they were called before"
            )
        url = f"{self._url}/converse{'-stream' if stream else ''}"
        return HttpRequest(url, HEADERS, to_json(body | self._extra), timeout=self._timeout)


# What is asked


def _inference(generation: GenerationParams, left_out: Iterable[str]) -> dict[str, Any]:
    """Beside the token limit, our default for the temperature is sent; the others' is the server's."""
    fields: dict[str, Any] = {"maxTokens": generation.max_new_tokens}
    if "temperature" not in left_out:
        fields["temperature"] = generation.temperature
    if generation.top_p is not None and "top_p" not in left_out:
        fields["topP"] = generation.top_p
    if generation.stop_strings:
        fields["stopSequences"] = generation.stop_strings
    return fields


def _left_to_model(call: Call) -> frozenset[str]:
    """The temperature, where the user did not set it and Claude would refuse our default: it takes only 1 while it
    thinks, and none beside `top_p`.
    """
    generation = call.generation
    if "temperature" in generation.model_fields_set or not _CLAUDE.search(call.model.model_name):
        return frozenset()
    own = group(generation.extra_body, "additionalModelRequestFields") or call.model.model_kwargs
    thinking = group(own, "thinking") or group(own, "reasoning_config")
    thinks = thinking.get("type", "disabled") != "disabled"
    return frozenset({"temperature"}) if thinks or generation.top_p is not None else frozenset()


def _format(guided: GuidedDecodingParams | None) -> dict[str, Any]:
    if guided is None:
        return {}
    for name in ("regex", "choice"):
        if getattr(guided, name) is not None:
            raise ConfigError(f"generation.guided_decoding.{name}: Bedrock follows only json")
    schema = guided.schema_dict()
    if schema is None:
        return {}
    shape = {"schema": to_json(strict(schema) if guided.strict else closed(schema)).decode()}
    if isinstance(guided.json, type):
        shape["name"] = guided.json.__name__
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": shape}}}}


def _tools(tools: Iterable[ToolDefinition]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for tool in tools:
        function = tool.function
        spec: dict[str, Any] = {"name": function.name}
        if function.description:
            spec["description"] = function.description
        spec["inputSchema"] = {"json": function.parameters or {"type": "object", "properties": {}}}
        if function.strict is not None:
            spec["strict"] = function.strict
        made += [{"toolSpec": spec}, *cache_point(tool)]
    return made


def _choice(choice: str | dict[str, Any] | None) -> dict[str, Any]:
    """What is said of the choice, where there are tools. A mapping may also be in Bedrock's own form.

    Raises:
        ConfigError: it is none that Bedrock has.
    """
    if choice is None or choice == "none":
        return {}
    if isinstance(choice, dict):
        function = choice.get("function")
        return {"toolChoice": {"tool": {"name": function["name"]}} if isinstance(function, dict) else choice}
    known = {"auto": "auto", "required": "any", "any": "any"}
    if choice not in known:
        raise ConfigError(f"generation.tool_choice: should be none, auto, required or a function (found {choice!r})")
    return {"toolChoice": {known[choice]: {}}}
