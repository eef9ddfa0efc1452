"""The parts of tool choice and tool calls that all dialects share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

from asyncinfer.dialects.fields import as_id, as_object, checked_depth, object_at
from asyncinfer.dialects.http import as_json
from asyncinfer.errors import invalid_request
from asyncinfer.types.tools import ToolCall

T = TypeVar("T")

# The most calls in a whole answer. Each is read only once, so more of them are allowed than in a stream.
_MOST_CALLS = 10_000
# The characters that some API refuses in the id of a call.
_NOT_PORTABLE = re.compile("[^a-zA-Z0-9_-]")


def chosen_function(choice: str | Mapping[str, Any]) -> str | None:
    """Return the name of the function in a `tool_choice`; None if it names no function."""
    name = object_at(as_object(choice), "function").get("name")
    return name if isinstance(name, str) else None


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments of an earlier call, for APIs that require an object.

    Raises:
        RequestError: The arguments are not an object, or cannot be written as JSON.
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


def portable_id(given: str, accepted: re.Pattern[str]) -> str:
    """Return an id of a tool call that an API accepts. The ids of some servers have characters that other APIs refuse.

    Different ids stay different, and an id is always changed in the same way.
    """
    if accepted.fullmatch(given):
        return given
    digest = sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_NOT_PORTABLE.sub('_', given)[:40]}_{digest[:16]}"


def short_id(given: str, length: int) -> str:
    """Return an id of a tool call with this number of letters and digits, as Mistral's models require.

    Different ids very probably stay different, and an id is always changed in the same way.
    """
    if len(given) == length and given.isascii() and given.isalnum():
        return given
    return sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def read_calls(read: Callable[[T], ToolCall], calls: Sequence[T]) -> list[ToolCall]:
    """Return the tool calls of one answer. `read` makes each of them.

    Raises:
        ValueError: There are more calls than any model makes. Reading them would block the event loop.
    """
    if len(calls) > _MOST_CALLS:
        raise ValueError(f"more than {_MOST_CALLS} tool calls")
    return [read(call) for call in calls]


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """Return a tool call. It gets a new id if the server sent none.

    Raises:
        TypeError, ValueError: The call names no function, or cannot be read.
    """
    function = object_at(checked_depth(call), "function")
    if not function:  # Some servers leave out the inner object.
        function, call = _split(call)
    if not function.get("name"):
        raise ValueError("a tool call without a name")
    given = {"id": as_id(call.get("id")) or f"call_{uuid4().hex[:24]}", "type": "function"}
    arguments = function.get("arguments")
    return ToolCall.model_validate(
        {**call, **given, "function": {**function, "arguments": "" if arguments is None else arguments}}
    )


def _split(call: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the function and the other fields, for a call that has them side by side."""
    function = {key: value for key, value in call.items() if key in ("name", "arguments")}
    return function, {key: value for key, value in call.items() if key not in function}
