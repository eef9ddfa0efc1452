"""Reads a request to `/v1/responses`.

Source: OpenAI's API reference ("Create a model response") and `ResponseCreateParams` of openai-python 3.57, November
2026. The server stores nothing: `store` is ignored, and a request that refers to something stored is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from asyncinfer.dialects.fields import as_object
from asyncinfer.dialects.openai.responses.input_reader import InvalidInputError, LocatedMessage, problem_of, read_input
from asyncinfer.dialects.openai.responses.logprobs import INCLUDE_LOGPROBS
from asyncinfer.dialects.openai.responses.tools import read_tool_choice, read_tools
from asyncinfer.serve.answer_settings import AnswerSettings, SettingsReader
from asyncinfer.serve.api_errors import ApiError, bad_request
from asyncinfer.serve.conversation_policy import check_content
from asyncinfer.serve.request_fields import boolean_field, list_field, string_field
from asyncinfer.serve.settings import ServerSettings
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.tools import ToolDefinition

_STORED = ("background", "conversation", "previous_response_id", "prompt")
# Fields with the same name and meaning as in chat completions.
_SHARED = frozenset(
    {
        *("chat_template_kwargs", "min_p", "parallel_tool_calls", "repetition_penalty", "seed", "stop"),
        *("temperature", "top_k", "top_p"),
    }
)
# The names of fields in chat completions, and those here.
_NAMES = {"max_completion_tokens": "max_output_tokens", "response_format": "text.format"}


class ResponsesRequest(NamedTuple):
    """A request to `/v1/responses`.

    Args:
        model: The name of the model; None if the request names none.
        conversation: The messages and the tools.
        settings: The settings of the answer.
        stream: Whether the answer is streamed.
        echoed: The fields that the response repeats.
    """

    model: str | None
    conversation: Conversation
    settings: AnswerSettings
    stream: bool
    echoed: dict[str, Any]


async def read_responses_request(
    fields: Mapping[str, Any], server: ServerSettings, read_settings: SettingsReader
) -> ResponsesRequest:
    """Return the request that the fields describe.

    Raises:
        ApiError: A field has a wrong value, or one that requests may not set.
    """
    for name in _STORED:
        if fields.get(name):
            raise bad_request(f"{name}: this server stores no responses; send the whole input.", name)
    messages = _messages(fields)
    conversation = Conversation(messages=[item.message for item in messages], tools=_tools(fields))
    await check_content(conversation, server, [item.location for item in messages])
    return ResponsesRequest(
        string_field(fields, "model"),
        conversation,
        _read_settings(fields, server.passed_fields, read_settings),
        boolean_field(fields, "stream"),
        _echoed(fields),
    )


def _messages(fields: Mapping[str, Any]) -> list[LocatedMessage]:
    try:
        messages = read_input(fields.get("input"), string_field(fields, "instructions"))
    except InvalidInputError as error:
        raise bad_request(f"{error}.", error.param) from None
    if not messages:
        raise bad_request("input: should have at least one item.", "input")
    return messages


def _tools(fields: Mapping[str, Any]) -> list[ToolDefinition] | None:
    given = list_field(fields, "tools")
    try:
        return read_tools(given) or None
    except ValueError as error:
        raise bad_request(f"tools: {problem_of(error)}.", "tools") from None


def _read_settings(fields: Mapping[str, Any], passed: Set[str], read_settings: SettingsReader) -> AnswerSettings:
    try:
        return read_settings(_as_chat_fields(fields, passed))
    except ApiError as error:
        name = _NAMES.get(error.param or "")
        if name is None:
            raise
        raise bad_request(error.message.replace(error.param or "", name, 1), name) from None


def _as_chat_fields(fields: Mapping[str, Any], passed: Set[str]) -> dict[str, Any]:
    """Return the settings under the names that they have in chat completions.

    Args:
        passed: The names of the fields that are passed unchanged to the API of the engine.
    """
    chat = {name: fields[name] for name in _SHARED | passed if name in fields}
    if fields.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = fields["max_output_tokens"]
    if effort := as_object(fields.get("reasoning")).get("effort"):
        chat["reasoning_effort"] = effort
    if INCLUDE_LOGPROBS in list_field(fields, "include"):
        chat |= {"logprobs": True, "top_logprobs": fields.get("top_logprobs")}
    if fields.get("tool_choice") is not None:
        try:
            chat["tool_choice"] = read_tool_choice(fields["tool_choice"])
        except ValueError as error:
            raise bad_request(f"{error}.", "tool_choice") from None
    written = as_object(fields.get("text"))
    if form := _response_format(written.get("format")):
        chat["response_format"] = form
    return chat | ({"verbosity": written["verbosity"]} if written.get("verbosity") else {})


def _response_format(given: Any) -> dict[str, Any] | None:
    """Return `text.format` as chat completions write it."""
    form = as_object(given)
    match form.get("type"):
        case None:
            return None
        case "json_schema":
            return {"type": "json_schema", "json_schema": {name: form[name] for name in form if name != "type"}}
        case _:
            return dict(form)


def _echoed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a response repeats, with their defaults."""
    defaults: dict[str, Any] = {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
    }
    return {name: default if fields.get(name) is None else fields[name] for name, default in defaults.items()}
