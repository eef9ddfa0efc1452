"""Encodes tools, and the choice of a tool, for servers that speak OpenAI's chat completions.

Sources, November 2026: as of `request`; mistralai 3.7, whose functions must have a schema; LM Studio's "Tool Use" and
API changelog (0.3.15), and llama.cpp's server, where `tool_choice` is one of three words; the list of request fields in
Ollama's "OpenAI compatibility", which has no `tool_choice`.
"""

from __future__ import annotations

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


class ToolEncoder:
    """Makes the fields about tools, for the requests of one call."""

    def __init__(self, generation: GenerationParams, quirks: Quirks, unsupported: frozenset[str]) -> None:
        self._quirks, self._choice = quirks, _choice(generation, quirks, unsupported)
        self._fields = self._choice.field
        if not generation.parallel_tool_calls and "parallel_tool_calls" not in unsupported:
            self._fields = {**self._fields, "parallel_tool_calls": False}

    def fields(self, tools: list[ToolDefinition] | None) -> Json:
        """Return the fields for a request with these tools.

        Raises:
            RequestError: The server does not accept the schema of a tool.
        """
        offered = [tool for tool in tools or () if self._choice.offers(tool)]
        return {"tools": [_tool(tool, self._quirks) for tool in offered], **self._fields} if offered else {}


class _Choice(NamedTuple):
    """What a `tool_choice` becomes.

    Args:
        field: The field of the request.
        only: The only function that is offered to the model, so that it can call no other one.
        none: No tool is offered.
    """

    field: Json
    only: str | None = None
    none: bool = False

    def offers(self, tool: ToolDefinition) -> bool:
        return not self.none and self.only in (None, tool.function.name)


def _choice(generation: GenerationParams, quirks: Quirks, unsupported: frozenset[str]) -> _Choice:
    """Return what the choice becomes. The tools that are offered replace a choice that the server does not support."""
    choice = generation.tool_choice
    if choice is None:
        return _Choice({})
    if "tool_choice" in unsupported:
        return _Choice({}, chosen_function(choice), none=choice == "none")
    if not quirks.named_tool_choice and (name := chosen_function(choice)) is not None:
        return _Choice({"tool_choice": "required"}, name)
    return _Choice({"tool_choice": choice})


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
