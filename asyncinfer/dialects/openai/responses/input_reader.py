"""Reads the input of a request to the Responses API as messages. A server needs this.

Adjacent items of the assistant (reasoning, a message, function calls) become one message, as chat models expect it:
the results of calls directly follow the message with the calls.

Source: `ResponseInputItemParam` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.openai.responses.content import read_content
from asyncinfer.dialects.openai.responses.output_reader import CALL, MESSAGE, REASONING, answer_message
from asyncinfer.types.conversation import Message, Role

Item = Mapping[str, Any]
_ROLES = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.SYSTEM}
_OUTPUT = "function_call_output"
# Items that earlier answers of built-in tools leave. Only the API that sent them can read them.
_OF_BUILT_IN_TOOLS = ("_call", "mcp_list_tools", "mcp_approval_request")


class InvalidInputError(ValueError):
    """An input item cannot be read. `param`: its location in the request, such as `input[2]`."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}")
        self.param = param


class LocatedMessage(NamedTuple):
    """A message, and where the request has its content, such as `input[2].content`."""

    message: Message
    location: str


def read_input(given: Any, instructions: str | None = None) -> list[LocatedMessage]:
    """Return the messages of a request.

    Args:
        given: The field `input`: a string or a list of items.
        instructions: The field `instructions`, which becomes the first system message.

    Raises:
        InvalidInputError: An item is not valid, or needs data that is stored at the API.
    """
    system = [LocatedMessage(Message(role=Role.SYSTEM, content=instructions), "instructions")] if instructions else []
    if isinstance(given, str):
        return [*system, LocatedMessage(Message(role=Role.USER, content=given), "input")]
    if not isinstance(given, list):
        raise InvalidInputError("input", "should be a string or a list of items")
    return [*system, *_messages(cast(list[Any], given))]


def _messages(items: list[Any]) -> Iterator[LocatedMessage]:
    answer: list[Item] = []  # The items of the answer that is being read.
    first = 0  # The index of the first of these items.
    for index, value in enumerate(items):
        item = as_object(value)
        if _is_of_assistant(item):
            if _begins_answer(item, answer):
                yield _read_answer(answer, first)
                answer = []
            first = first if answer else index
            answer.append(item if "type" in item else {**item, "type": MESSAGE})
            continue
        if answer:
            yield _read_answer(answer, first)
            answer = []
        yield _read_item(item, index)
    if answer:
        yield _read_answer(answer, first)


def _is_of_assistant(item: Item) -> bool:
    type_ = item.get("type", MESSAGE)
    if type_ == MESSAGE:
        return item.get("role") == Role.ASSISTANT
    return isinstance(type_, str) and (type_ in (CALL, REASONING) or type_.endswith(_OF_BUILT_IN_TOOLS))


def _begins_answer(item: Item, answer: list[Item]) -> bool:
    """Whether an item of the assistant begins another answer: a text, or reasoning, after a text without calls."""
    types = {earlier["type"] for earlier in answer}
    return item.get("type", MESSAGE) in (MESSAGE, REASONING) and MESSAGE in types and CALL not in types


def _read_answer(items: list[Item], index: int) -> LocatedMessage:
    try:
        return LocatedMessage(answer_message(items), f"input[{index}].content")
    except (TypeError, ValueError) as problem:
        raise InvalidInputError(f"input[{index}]", problem_of(problem)) from None


def _read_item(item: Item, index: int) -> LocatedMessage:
    type_, role = item.get("type", MESSAGE), item.get("role")
    try:
        if type_ == _OUTPUT:
            content = read_content(item.get("output"))
            result = Message(role=Role.TOOL, tool_call_id=item.get("call_id"), content=content)
            return LocatedMessage(result, f"input[{index}].output")
        if type_ != MESSAGE:
            raise ValueError(f"an item of the type {type_!r} is not supported")
        if role not in _ROLES:
            raise ValueError("`role` should be user, assistant, system or developer")
        message = Message(role=_ROLES[role], content=read_content(item.get("content")))
        return LocatedMessage(message, f"input[{index}].content")
    except (TypeError, ValueError) as problem:
        raise InvalidInputError(f"input[{index}]", problem_of(problem)) from None


def problem_of(error: Exception) -> str:
    """Return the message of an error, without the values that pydantic shows."""
    return str(error).splitlines()[0] if type(error) is ValueError else "is not valid"
