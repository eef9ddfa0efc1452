"""What dialects share of tools: which one must be called, and how calls of them come and go back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

from asyncinfer.dialects.fields import as_group, as_id, checked_depth, group
from asyncinfer.dialects.http import as_json
from asyncinfer.errors import invalid_request
from asyncinfer.types.tools import ToolCall

T = TypeVar("T")

_MOST_CALLS = 10_000
# The schema of a function without parameters, for APIs that require a schema.
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def function_named(choice: str | Mapping[str, Any]) -> str | None:
    """The function that a `tool_choice` wants called; None where it names none."""
    name = group(as_group(choice), "function").get("name")
    return name if isinstance(name, str) else None


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of an earlier call, for APIs that want an object.

    Raises:
        RequestError: they are none, or hold what JSON cannot.
    """
    try:
        arguments = call.function.get_arguments_dict()
    except ValueError as error:
        raise invalid_request(str(error)) from None
    try:
        as_json(arguments)
    except ValueError as error:
        name = call.function.name
        raise invalid_request(f"function {name!r}: its arguments cannot be written as JSON: {error}") from None
    return arguments


def read_calls(read: Callable[[T], ToolCall], calls: Sequence[T]) -> list[ToolCall]:
    """The tool calls of one answer, each made by `read`.

    Raises:
        ValueError: there are more than any model makes. Reading them would hold the event loop.
    """
    if len(calls) > _MOST_CALLS:
        raise ValueError(f"more than {_MOST_CALLS} tool calls")
    return [read(call) for call in calls]


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """A tool call, under an id of its own where the server gave it none.

    Raises:
        TypeError, ValueError: the call names no function, or cannot be read.
    """
    function = group(checked_depth(call), "function")
    if not function.get("name"):
        raise ValueError("a tool call without a name")
    given = {"id": as_id(call.get("id")) or f"call_{uuid4().hex[:24]}", "type": call.get("type") or "function"}
    arguments = function.get("arguments")
    return ToolCall.model_validate(
        {**call, **given, "function": {**function, "arguments": "" if arguments is None else arguments}}
    )
