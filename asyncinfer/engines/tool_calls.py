"""Tool calls as local models write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from typing import Any, cast

from asyncinfer.config import GenerationParams
from asyncinfer.types.tools import FunctionCall, ToolCall

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_CALL = re.compile(rf"{OPENING}\s*(.*?)\s*(?:{CLOSING}|\Z)", re.DOTALL)


def parse(text: str) -> tuple[str, list[ToolCall]]:
    """The text before the first call, and the calls. Without a well-formed call, all of it is text."""
    calls = [call for body in _CALL.findall(text) if (call := _call(body)) is not None]
    return (text.partition(OPENING)[0], calls) if calls else (text, [])


def stops(generation: GenerationParams, tools: Sequence[dict[str, Any]]) -> list[str]:
    """The strings that end an answer which may call `tools`: where one call is all that it may hold, its end too."""
    asked = [stop for stop in generation.stop_strings or () if stop]
    return asked if generation.parallel_tool_calls or not tools else [*asked, CLOSING]


def schema(tools: list[dict[str, Any]], name: str | None = None) -> dict[str, Any]:
    """The JSON schema of a call of `tools`, or of the one called `name`. Raises KeyError without such."""
    functions = [tool["function"] for tool in tools if name in (None, tool["function"]["name"])]
    if not functions:
        raise KeyError(name)
    return {"oneOf": [_one(function) for function in functions]}


def _one(function: dict[str, Any]) -> dict[str, Any]:
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
    except (ValueError, RecursionError):  # A model may open brackets for ever.
        return None
    if not isinstance(parsed, dict):
        return None
    fields = cast(dict[str, Any], parsed)
    name, arguments = fields.get("name"), fields.get("arguments", fields.get("parameters", {}))
    if not isinstance(name, str) or not isinstance(arguments, str | dict):
        return None
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=new_id(), function=FunctionCall(name=name, arguments=written))


def new_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"
