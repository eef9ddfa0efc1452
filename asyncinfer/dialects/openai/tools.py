"""Encodes tools, and the choice of a tool, for servers that speak OpenAI's chat completions.

Sources, November 2026: as of `request`; mistralai 3.7, whose functions must have a schema; LM Studio's "Tool Use" and
API changelog (0.3.15), and llama.cpp's server, where `tool_choice` is one of three words; the list of request fields in
Ollama's "OpenAI compatibility", which has no `tool_choice`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.json_schema.growth import schema_of_tool
from asyncinfer.dialects.json_schema.inline_refs import inline_refs
from asyncinfer.dialects.json_schema.strict import to_openai_strict
from asyncinfer.dialects.json_schema.tool_schema import object_schema
from asyncinfer.dialects.openai.quirks import Quirks
from asyncinfer.dialects.tools import chosen_function
from asyncinfer.errors import invalid_request
from asyncinfer.types.tools import FunctionDefinition, ToolDefinition

Json = dict[str, Any]
# The fields of a tool without additional keys.
_TOOL_FIELDS: Json = {"type": True, "function": set(FunctionDefinition.model_fields)}
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


class ToolOffer(NamedTuple):
    """How the settings about tools are sent to a server: as fields of the request, and by the tools that are offered.

    If the server does not support a choice of tools, only the chosen tools are offered.

    Args:
        fields: The fields `tool_choice` and `parallel_tool_calls`, if they are sent.
        only: The only function that is offered to the model, so that it can call no other tool.
        none: No tool is offered.
    """

    fields: Json
    only: str | None = None
    none: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether only some of the tools, or none, are offered."""
        return self.none or self.only is not None

    def offered(self, tools: Iterable[ToolDefinition] | None) -> list[ToolDefinition]:
        """Return the tools that are offered."""
        return [] if self.none else [tool for tool in tools or () if self.only in (None, tool.function.name)]


def tool_offer(generation: GenerationParams, quirks: Quirks, unsupported: frozenset[str]) -> ToolOffer:
    """Return how the settings about tools are sent to a server.

    Args:
        unsupported: The parameters that the server or the model does not support.
    """
    offer = _choice(generation.tool_choice, quirks, "tool_choice" not in unsupported)
    if not generation.parallel_tool_calls and "parallel_tool_calls" not in unsupported:
        return offer._replace(fields={**offer.fields, "parallel_tool_calls": False})
    return offer


def _choice(choice: str | Json | None, quirks: Quirks, is_supported: bool) -> ToolOffer:
    if choice is None:
        return ToolOffer({})
    if not is_supported:
        return ToolOffer({}, chosen_function(choice), none=choice == "none")
    if not quirks.named_tool_choice and (name := chosen_function(choice)) is not None:
        return ToolOffer({"tool_choice": "required"}, name)
    return ToolOffer({"tool_choice": choice})


def tool_fields(tools: Iterable[ToolDefinition] | None, offer: ToolOffer, quirks: Quirks) -> Json:
    """Return the fields of a request with these tools.

    Raises:
        RequestError: The server does not accept the schema of a tool.
    """
    offered = offer.offered(tools)
    return {"tools": [_tool(tool, quirks) for tool in offered], **offer.fields} if offered else {}


def _tool(tool: ToolDefinition, quirks: Quirks) -> Json:
    known = None if quirks.extra_keys else _TOOL_FIELDS
    plain = tool.model_dump(mode="json", exclude_none=True, include=known)
    if tool.function.parameters is not None:
        with schema_of_tool(tool.function.name):
            plain["function"]["parameters"] = accepted_parameters(tool, tool.function.parameters, quirks)
    elif quirks.needs_parameters:
        plain["function"]["parameters"] = _NO_PARAMETERS
    return plain


def accepted_parameters(tool: ToolDefinition, schema: Json, quirks: Quirks) -> Json:
    """Return the schema of a tool's arguments as the server accepts it."""
    if quirks.strict_subset:
        schema = object_schema(schema)
        schema = to_openai_strict(schema) if tool.function.strict else schema
    schema = quirks.schema_transform(schema)
    inlined = inline_refs(schema) if quirks.inline_refs else schema
    if inlined is None:
        raise invalid_request(f"tool {tool.function.name!r}: this API does not accept a schema that contains itself")
    return inlined
