"""Tool calls in the text of local models: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from typing import Any, cast

from asyncinfer.config import GenerationParams
from asyncinfer.dialects.tools import chosen_function
from asyncinfer.errors import invalid_request
from asyncinfer.types.tools import FunctionCall, ToolCall

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_CALL = re.compile(rf"{OPENING}\s*(.*?)\s*(?:{CLOSING}|\Z)", re.DOTALL)


def parse(text: str) -> tuple[str, list[ToolCall]]:
    """Split an answer into the text before the first call, and the calls. Without a valid call, all of it is text."""
    calls = [call for body in _CALL.findall(text) if (call := _call(body)) is not None]
    return (text.partition(OPENING)[0], calls) if calls else (text, [])


def stop_strings(generation: GenerationParams, tools: Sequence[dict[str, Any]]) -> list[str]:
    """The strings that end an answer which may call `tools`. Without parallel calls, the end of a call is one too."""
    stop_strings = [stop for stop in generation.stop_strings or () if stop]
    return stop_strings if generation.parallel_tool_calls or not tools else [*stop_strings, CLOSING]


def forced_call_schema(choice: str | dict[str, Any] | None, tools: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The JSON schema of the call that `generation.tool_choice` requires. None if no call is required.

    Raises:
        RequestError: There is no such tool.
    """
    if not tools or choice in (None, "auto", "none"):
        return None
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    if choice != "required":
        name = chosen_function(choice)
        functions = [function for function in functions if function["name"] == name]
    if not functions:
        names = ", ".join(tool["function"]["name"] for tool in tools)
        raise invalid_request(f"generation.tool_choice: {choice!r} names none of the tools: {names}")
    return {"oneOf": [_schema(function) for function in functions]}


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _call(body: str) -> ToolCall | None:
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):  # A model may keep opening brackets.
        return None
    if not isinstance(parsed, dict):
        return None
    fields = cast(dict[str, Any], parsed)
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if not isinstance(name, str) or not isinstance(arguments, str | dict):
        return None
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=new_id(), function=FunctionCall(name=name, arguments=text))


def new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
