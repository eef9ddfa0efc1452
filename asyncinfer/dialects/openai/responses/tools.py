"""Tools and tool choice in the form of the Responses API, whose fields are not within an object `function`.

Sources: `FunctionToolParam` and `ToolChoice` of openai-python 3.57, and OpenAI's guide "Migrate to the Responses API":
a function is strict unless its tool says otherwise. November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from asyncinfer.dialects.fields import as_object, given_fields, object_at
from asyncinfer.types.tools import ToolDefinition

Json = dict[str, Any]
# The additional keys of tools that the API has a field for.
TOOL_KEYS = frozenset({"allowed_callers", "async", "defer_loading", "output_schema"})
_OPTIONS = ("none", "auto", "required")


def written_tool(tool: ToolDefinition, parameters: Mapping[str, Any] | None) -> Json:
    """Return a tool as the API accepts it.

    Args:
        parameters: The schema of the arguments, in the form that the server accepts.
    """
    function = tool.function
    extra = {**(tool.model_extra or {}), **(function.model_extra or {})}
    return {
        "type": "function",
        "name": function.name,
        **({} if function.description is None else {"description": function.description}),
        "parameters": parameters,
        "strict": bool(function.strict),
        **given_fields(extra, TOOL_KEYS),
    }


def read_tools(tools: Iterable[Any]) -> list[ToolDefinition]:
    """Return the tools in a request.

    A function without `strict` is not strict here, because not every engine has a strict mode.

    Raises:
        ValueError: A tool is not a function, or is not valid.
    """
    return [_read_tool(as_object(tool)) for tool in tools]


def _read_tool(tool: Mapping[str, Any]) -> ToolDefinition:
    if (kind := tool.get("type")) != "function":
        raise ValueError(f"a tool of the type {kind!r} is not supported; only functions are")
    function = given_fields(tool, ("name", "description", "parameters"))
    strict = {"strict": True} if tool.get("strict") is True else {}
    extra = given_fields(tool, TOOL_KEYS)
    return ToolDefinition.model_validate({"type": "function", "function": function | strict, **extra})


def written_tool_choice(choice: str | Mapping[str, Any]) -> Any:
    """Return a `tool_choice` as the API accepts it. One that is already in this form stays unchanged."""
    if isinstance(choice, str):
        return choice
    if name := object_at(choice, "function").get("name"):
        return {"type": "function", "name": name}
    if allowed := object_at(choice, "allowed_tools"):
        listed = cast(list[Any], allowed.get("tools") or [])
        return {"type": "allowed_tools", **allowed, "tools": [written_tool_choice(as_object(tool)) for tool in listed]}
    return dict(choice)


def read_tool_choice(choice: Any) -> str | Json:
    """Return a `tool_choice` in a request, in the form of `GenerationParams.tool_choice`.

    Raises:
        ValueError: The choice is not an option, a function or a list of allowed functions.
    """
    if choice in _OPTIONS:
        return choice
    fields = as_object(choice)
    match fields.get("type"), fields.get("name"), fields.get("tools"):
        case "function", str(name), _:
            return {"type": "function", "function": {"name": name}}
        case "allowed_tools", _, list():
            listed = [read_tool_choice(tool) for tool in cast(list[Any], fields["tools"])]
            return {"type": "allowed_tools", "allowed_tools": {"mode": fields.get("mode") or "auto", "tools": listed}}
        case _:
            raise ValueError("`tool_choice` should be none, auto, required, a function or a list of allowed functions")
