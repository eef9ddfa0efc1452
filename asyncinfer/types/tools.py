"""Tools a model may call, and its calls, in the OpenAI function-calling shape. Unknown keys are kept."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, cast, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter


class ToolType(StrEnum):
    FUNCTION = "function"


def _as_json(arguments: Any) -> Any:
    return json.dumps(arguments) if isinstance(arguments, dict | list) else arguments


class FunctionCall(BaseModel):
    """What the model calls. `arguments` is JSON text, as the model wrote it, and may be malformed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    arguments: Annotated[str, BeforeValidator(_as_json)]

    def get_arguments_dict(self) -> dict[str, Any]:
        """The arguments, parsed.

        Raises:
            ValueError: they are not a JSON object.
        """
        if not self.arguments:
            return {}
        try:
            parsed = json.loads(self.arguments)
        except json.JSONDecodeError as error:
            raise ValueError(f"function {self.name!r}: its arguments are not JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise ValueError(f"function {self.name!r}: its arguments are {type(parsed).__name__}, not an object")
        return cast(dict[str, Any], parsed)


class ToolCall(BaseModel):
    """One call by an assistant; a tool message answers it by `tool_call_id`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    type: ToolType = ToolType.FUNCTION
    function: FunctionCall


class FunctionDefinition(BaseModel):
    """A function the model may call. `parameters` is a JSON Schema object."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(BaseModel):
    """A tool the model may use."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: ToolType = ToolType.FUNCTION
    function: FunctionDefinition

    @classmethod
    def from_callable(cls, function: Callable[..., Any]) -> ToolDefinition:
        """The definition of a Python function: its name, type hints and Google-style docstring.

        Raises:
            ValueError: an argument has no type hint.
        """
        summary, arguments = _docstring(function)
        hints = get_type_hints(function, include_extras=True)
        properties: dict[str, Any] = {}
        required: list[str] = []
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in hints:
                raise ValueError(f"tool {function.__name__!r}: argument {name!r} has no type hint")
            properties[name] = TypeAdapter(hints[name]).json_schema()
            if name in arguments:
                properties[name]["description"] = arguments[name]
            if parameter.default is inspect.Parameter.empty:
                required.append(name)
            else:
                properties[name]["default"] = parameter.default
        schema = {"type": "object", "properties": properties, "required": required}
        return cls(function=FunctionDefinition(name=function.__name__, description=summary, parameters=schema))


def _docstring(function: Callable[..., Any]) -> tuple[str | None, dict[str, str]]:
    """The docstring's text before its sections, and what its `Args:` say of each argument."""
    text = inspect.getdoc(function)
    if not text:
        return None, {}
    summary, _, rest = text.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest)[0]
    found = re.findall(r"^ +(\w+)(?: \([^)]*\))?: (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    return summary.strip() or None, {name: " ".join(about.split()) for name, about in found}
