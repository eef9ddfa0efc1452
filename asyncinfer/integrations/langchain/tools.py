"""Turns LangChain's tools, tool choices and output schemas into OpenAI's format.

Source: `langchain_core.utils.function_calling` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from asyncinfer.errors import ConfigError

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = str | bool | Mapping[str, Any]
_FORMATS = frozenset({"json_schema", "json_object", "text", "regex"})
_SAME = frozenset({"auto", "none", "required"})


def tools_of(tools: Iterable[Tool], strict: bool | None = None) -> list[dict[str, Any]]:
    """Return the definitions of tools.

    Raises:
        ConfigError: A tool is not a function: it is one that a provider runs itself.
    """
    return [_tool(tool, strict) for tool in tools]


def _tool(tool: Tool, strict: bool | None) -> dict[str, Any]:
    definition = convert_to_openai_tool(tool, strict=strict)
    if definition.get("type") != "function" or "function" not in definition:
        raise ConfigError(
            f"tools: a tool of type {definition.get('type')!r} is not a function. Put the tools that a provider runs "
            "itself into extra_body={'tools': [...]}"
        )
    if isinstance(tool, dict) and "cache_control" in (given := cast(dict[str, Any], tool)):
        return {**definition, "cache_control": given["cache_control"]}
    return definition


def choice_of(choice: ToolChoice | None, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    """Return the tool choice; None if it is left to the engine.

    Args:
        choice: `any`, `required` or True: one of the tools. `auto`, `none`, or the name of a tool. Or a dict in the
            format of OpenAI or Anthropic.
        tools: The definitions of the tools.

    Raises:
        ConfigError: There is no such tool.
    """
    if isinstance(choice, Mapping):
        return _choice_of_dict(choice, tools)
    if choice is None or choice is False:
        return None
    if choice is True or choice == "any":
        return "required"
    if choice in _SAME:
        return choice
    names = [str(tool["function"]["name"]) for tool in tools]
    if choice not in names:
        raise ConfigError(f"tool_choice: there is no tool {choice!r}; the tools are {', '.join(names) or 'none'}")
    return {"type": "function", "function": {"name": choice}}


def _choice_of_dict(choice: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    match choice.get("type"):
        case "tool":
            return choice_of(cast(str, choice.get("name")), tools)
        case "any" | "auto" | "none" as name:
            return choice_of(name, tools)
        case _:
            return dict(choice)


def response_format_of(schema: dict[str, Any] | type, strict: bool | None = None) -> dict[str, Any]:
    """Return OpenAI's `response_format` for an output schema. One in this format is returned as it is."""
    if isinstance(schema, dict) and schema.get("type") in _FORMATS:
        return schema
    plain = convert_to_json_schema(schema, strict=strict)
    described: dict[str, Any] = {"name": plain["title"], "schema": plain}
    return {"type": "json_schema", "json_schema": described if strict is None else {**described, "strict": strict}}
