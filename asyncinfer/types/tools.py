"""Tools and tool calls, in OpenAI's function-calling format. Unknown keys are kept."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, PydanticUserError, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from asyncinfer.types.short_repr import short_fields


class ToolType(StrEnum):
    """The kind of a tool. Functions are the only kind."""

    FUNCTION = "function"


def _as_json(arguments: Any) -> Any:
    return json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict | list) else arguments


class FunctionCall(BaseModel):
    """The function and the arguments of a tool call.

    `arguments` is JSON text, exactly as the model wrote it. It may be malformed.
    """

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    name: str
    arguments: Annotated[str, BeforeValidator(_as_json)]

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())

    def get_arguments_dict(self) -> dict[str, Any]:
        """Return the parsed arguments.

        Raises:
            ValueError: The arguments are not a JSON object.
        """
        if not self.arguments:
            return {}
        try:
            parsed = json.loads(self.arguments)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"function {self.name!r}: its arguments are not JSON: {error}") from error
        if not isinstance(parsed, dict):
            kind = type(parsed).__name__
            raise ValueError(f"function {self.name!r}: its arguments are a {kind}, not an object")
        return cast(dict[str, Any], parsed)


class ToolCall(BaseModel):
    """A call of a tool by the assistant. The tool message with the result refers to its `id` as `tool_call_id`."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    id: str
    type: ToolType = ToolType.FUNCTION
    function: FunctionCall

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())


def additional_keys(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the additional keys of a tool call, given as a dict. `ToolCall.model_extra` has those of a `ToolCall`."""
    return {name: value for name, value in call.items() if name not in ToolCall.model_fields}


class FunctionDefinition(BaseModel):
    """A function that the model may call. `parameters` is a JSON Schema object."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())


class ToolDefinition(BaseModel):
    """A tool that the model may use."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="constants")

    type: ToolType = ToolType.FUNCTION
    function: FunctionDefinition

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return short_fields(self, super().__repr_args__())

    @classmethod
    def from_callable(cls, function: Callable[..., Any]) -> ToolDefinition:
        """Return the definition of a Python function, from its name, type hints and Google-style docstring.

        Raises:
            ValueError: An argument has no type hint, is variadic (`*args`), or has a type or default that JSON cannot
                represent.
        """
        name = getattr(function, "__name__", type(function).__name__)
        try:
            summary, about = _docstring(inspect.getdoc(function) or "")
            parameters = _json_schema(_arguments(function), about)
        except (ValueError, NameError, TypeError, PydanticUserError) as error:
            raise ValueError(f"tool {name!r}: {error}") from error
        described = FunctionDefinition(name=name, description=summary or None, parameters=parameters)
        return cls(function=described)


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"{str(parameter)!r} accepts any arguments; list each argument by name")
        if parameter.annotation is parameter.empty:
            raise ValueError(f"argument {parameter.name!r} has no type hint")
    return parameters


_MODE: JsonSchemaMode = "validation"


def _json_schema(arguments: list[inspect.Parameter], about: dict[str, str]) -> dict[str, Any]:
    adapters = {argument.name: TypeAdapter[Any](argument.annotation) for argument in arguments}
    # One call for all arguments, so that a type of several arguments has one definition at the root.
    schemas, shared = TypeAdapter.json_schemas((name, _MODE, adapter) for name, adapter in adapters.items())
    properties: dict[str, Any] = {}
    for argument in arguments:
        schema = properties[argument.name] = dict(schemas[argument.name, _MODE])
        if argument.name in about:
            schema["description"] = about[argument.name]
        if argument.default is not argument.empty:
            dump = adapters[argument.name].dump_python
            schema["default"] = dump(argument.default, mode="json", warnings=False)
    required = [argument.name for argument in arguments if argument.default is argument.empty]
    return {"type": "object", "properties": properties, "required": required, **shared}


_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?|Notes?):[ \t]*$", re.MULTILINE)


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the text of a Google-style docstring before its sections, and the description of each argument."""
    summary, *sections = _SECTION.split(text)
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title in ("Args", "Arguments", "Parameters"):
            return summary.strip(), _described(inspect.cleandoc(body))
    return summary.strip(), {}


def _described(section: str) -> dict[str, str]:
    """Read the entries `name (type): text`. Indented lines continue the text of the entry above."""
    entries = re.findall(r"^(\w+)\s*(?:\(.*?\))?:(.*(?:\n(?:[ \t]+.*)?)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
