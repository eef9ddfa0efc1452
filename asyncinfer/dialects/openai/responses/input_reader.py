"""Reads the input of a request to the Responses API as messages. A server needs this.

Adjacent items of the assistant (reasoning, a message, function calls) become one message, as chat models expect it:
the results of calls directly follow the message with the calls.

Source: `ResponseInputItemParam` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.openai.responses.answer_items import check_parts, is_of_answer
from asyncinfer.dialects.openai.responses.carried_fields import CarriedReader, is_carrier, with_carried
from asyncinfer.dialects.openai.responses.content import read_content
from asyncinfer.dialects.openai.responses.output_reader import CALL, MESSAGE, REASONING, answer_message, messages_in
from asyncinfer.types.message import Message, Role

Item = Mapping[str, Any]
_ROLES = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.SYSTEM}
_OUTPUT = "function_call_output"


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


class _Placed(NamedTuple):
    """An item, and its place in the input, from 0."""

    place: int
    item: Item


def _messages(items: list[Any]) -> Iterator[LocatedMessage]:
    carried = CarriedReader()
    answers: list[_Placed] = []  # Adjacent items of the assistant.
    for index, value in enumerate(items):
        item = as_object(value)
        if (kind := _kind_in_answer(item)) is not None:
            answers.append(_Placed(index, {**item, "type": kind}))
            continue
        yield from _read_answers(answers, carried)
        answers = []
        yield _read_item(item, index)
    yield from _read_answers(answers, carried)


def _read_answers(items: Sequence[_Placed], carried: CarriedReader) -> Iterator[LocatedMessage]:
    """Yield the messages that adjacent items of the assistant make.

    An item that only carries fields ends its answer. Otherwise, a text, or reasoning, begins another answer if it comes
    after a text without calls.
    """
    left = sum(is_carrier(placed.item) for placed in items)
    answer: list[_Placed] = []
    kinds: set[str] = set()
    for placed in items:
        kind = placed.item["type"]
        if not left and kind in (MESSAGE, REASONING) and MESSAGE in kinds and CALL not in kinds:
            yield _read_answer(answer, carried)
            answer, kinds = [], set()
        answer.append(placed)
        kinds.add(kind)
        if left and is_carrier(placed.item):
            left -= 1
            yield _read_answer(answer, carried)
            answer, kinds = [], set()
    if answer:
        yield _read_answer(answer, carried)


def _read_answer(answer: Sequence[_Placed], carried: CarriedReader) -> LocatedMessage:
    try:
        items, fields = carried.read([placed.item for placed in answer])
        for message in messages_in(items):
            check_parts(message)
        return LocatedMessage(with_carried(answer_message(items), fields), f"input[{answer[0].place}].content")
    except (TypeError, ValueError) as problem:
        raise InvalidInputError(f"input[{answer[0].place}]", problem_of(problem)) from None


def _kind_in_answer(item: Item) -> str | None:
    """Return the type of an item of an earlier answer; None for an item of the user, or the result of a call."""
    kind = item.get("type", MESSAGE)
    if kind == MESSAGE:
        return MESSAGE if item.get("role") == Role.ASSISTANT else None
    return kind if is_of_answer(kind) else None


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
