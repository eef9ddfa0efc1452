"""Decodes responses of OpenAI's chat completions, and of the many servers that speak them.

Sources: OpenAI's API reference ("Create chat completion", response) and openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from pydantic_core import to_json

from asyncinfer.dialects.answer_text import (
    images_in,
    json_of_unread,
    reasoning_in,
    refusal_in,
    text_of,
    thoughts_of,
    transcript_in,
)
from asyncinfer.dialects.fields import as_count, as_object, checked_depth, count_at, counted, object_at
from asyncinfer.dialects.finish_reasons import Finish, ended_well, finish_in, reason_of, without_cut_call
from asyncinfer.dialects.google.thoughts import END_OF_THOUGHT, THOUGHT, of_google, signed
from asyncinfer.dialects.http import error_within, json_object, missing_answer
from asyncinfer.dialects.json_text import read_json
from asyncinfer.dialects.openai.logprobs import logprobs_in
from asyncinfer.dialects.provider_fields import provider_fields
from asyncinfer.dialects.reported_cost import cost_in_usage
from asyncinfer.dialects.response_metadata import NAMES, description, logprobs_metadata, metadata_of
from asyncinfer.dialects.tools import read_calls, tool_call
from asyncinfer.errors import RequestError
from asyncinfer.types.answer import CHOICES, REFUSAL, Completion, choice_fields
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.message import Message, Role
from asyncinfer.types.usage import Usage


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response.

    Raises:
        RequestError: The response has no answer.
    """
    data = json_object(response)
    if error := error_of(data, response.body):
        raise error
    try:
        choices = choices_in(data)
        choice = _first_choice(choices)
        finish = finish_in(choice.get("finish_reason"))
        message = _answer(message_in(choice), finish)
        reason = reason_of(finish, message.tool_calls)
        usage = usage_in(data.get("usage")) or usage_in(choice.get("usage"))
        described = description(data, NAMES) | logprobs_metadata(logprobs_in(choice)) | _all_choices(choices)
        described |= provider_fields((data, OF_RESPONSE), (choice, OF_CHOICE), (message_in(choice), OF_MESSAGE))
        return Completion(message, reason, usage, metadata_of(finish, reason, described))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None


# Keys of an answer that are kept unchanged, to be sent back: OpenRouter's signed parts of the reasoning.
_PASSTHROUGH = frozenset({"reasoning_details"})
_CHOICE = frozenset({"message", "delta", "text"})
# What is kept besides the answer. Sources, November 2026: openai-python 3.57 (`annotations`, `audio`), groq 1.7
# (`executed_tools`), pydantic-ai 2.68 for OpenRouter (`provider`, `native_finish_reason`), Azure's "Content filtering",
# the schema of Perplexity's chat completions, and vLLM's `ChatCompletionResponseChoice` (`stop_reason`).
OF_RESPONSE = frozenset(
    {"citations", "images", "prompt_filter_results", "provider", "related_questions", "search_results"}
)
OF_CHOICE = frozenset({"content_filter_results", "native_finish_reason", "stop_reason"})
OF_MESSAGE = frozenset({"annotations", "audio", "executed_tools"})


def message_in(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the message of a choice. It may be only a text; the older completions API sends that under `text`.

    Raises:
        KeyError: The choice has no message.
    """
    message = choice.get("message")
    if isinstance(message, dict):
        return cast(Mapping[str, Any], message)
    text = message or choice.get("text")
    return {"content": text} if isinstance(text, str | list) else choice["message"]


def choices_in(data: Mapping[str, Any]) -> list[Any]:
    """Return the choices of a response that are not null. A single one may come without a list.

    Raises:
        TypeError: There is an object that is not a choice.
    """
    given: Any = data["choices"]
    if isinstance(given, list):
        return [choice for choice in cast(list[Any], given) if choice is not None]
    if _CHOICE.isdisjoint(as_object(given)):
        raise TypeError("not a choice")
    return [given]


def calls_in(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tool calls of a message, or the pieces of calls in an event.

    Older servers send one call as `function_call`. A single call may come without a list.

    Raises:
        TypeError: The calls are neither a list nor an object, and there is no text either.
    """
    given: Any = message.get("tool_calls")
    if not given:
        single = message.get("function_call")
        return [{"index": 0, "function": single}] if isinstance(single, dict) and single else []
    if isinstance(given, dict):
        return [cast(Mapping[str, Any], given)]
    calls = [call for call in cast(list[Any], given) if call] if isinstance(given, list) else []
    if not calls and not message.get("content") and not (isinstance(given, list) and given[0] is None):
        raise TypeError("there are no tool calls in the field for them")
    return calls


def is_first(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is the answer, if there are several."""
    index = choice.get("index")
    return not index or as_count(index) == 0


def _first_choice(choices: Any) -> Mapping[str, Any]:
    """Return the choice with index 0, or the first one if no choice has this index."""
    [first, *others] = choices
    return first if not others or is_first(first) else next(filter(is_first, others), first)


def _all_choices(choices: Sequence[Any]) -> dict[str, Any]:
    """Return the metadata with all choices of a response; an empty dict if there is only one."""
    if len(choices) < 2:
        return {}
    return {CHOICES: [_choice_fields(index, choice) for index, choice in enumerate(choices)]}


def _choice_fields(index: int, choice: Any) -> dict[str, Any]:
    """Return one of several choices. One that cannot be read is kept as it came."""
    try:
        finish = finish_in(choice.get("finish_reason"))
        message = _answer(message_in(choice), finish)
    except (KeyError, TypeError, ValueError, AttributeError):
        return {"index": index, "unreadable": choice}
    number = as_count(choice.get("index"))
    reason = reason_of(finish, message.tool_calls)
    return choice_fields(index if number is None else number, message, reason, logprobs_in(choice))


def _answer(message: Mapping[str, Any], finish: Finish | None) -> Message:
    """Return the message of the assistant. A refusal becomes its text."""
    given = calls_in(message)
    calls = without_cut_call(finish, read_calls(tool_call, given)) if given else None
    content, reasoning = message.get("content"), reasoning_in(message)
    if not content or not isinstance(content, str):
        reasoning = reasoning or thoughts_of(content)
        content = _content(message, has_calls=bool(calls), is_read=bool(calls or reasoning))
    google = of_google(message)
    if google.get("thought") is True and isinstance(content, str) and content.startswith(THOUGHT):
        reasoning, _, content = content.removeprefix(THOUGHT).partition(END_OF_THOUGHT)
    # Google may not accept the message later without its signature.
    signature = google.get("thought_signature")
    passthrough = {key: message[key] for key in _PASSTHROUGH if message.get(key)}
    if not calls and content and content == refusal_in(message.get("content"), message.get("refusal")):
        passthrough[REFUSAL] = content
    if signature:
        passthrough = signed(signature) | passthrough
    if not calls and not passthrough and not reasoning and isinstance(content, str):
        return Message(role=Role.ASSISTANT, content=content)
    return Message(
        role=Role.ASSISTANT,
        content=checked_depth(content),
        tool_calls=calls or None,
        reasoning_content=reasoning or None,
        **checked_depth(passthrough),
    )


def _content(message: Mapping[str, Any], *, has_calls: bool, is_read: bool) -> Any:
    """Return the text of a message, or its texts and images. A message with calls may have no content."""
    content = message.get("content")
    if isinstance(content, list) and (items := images_in(content)):
        return items
    text = text_of(content)
    if not text and not has_calls:
        text = text_of(message.get("refusal")) or transcript_in(message)
        return text if text or is_read else json_of_unread(_without_hidden_thoughts(content))
    return None if not text and content != "" else text


def _without_hidden_thoughts(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [part for part in cast(list[Any], content) if as_object(part).get("type") != "redacted_thinking"]


_PLAIN_USAGE = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def usage_in(usage: Any) -> Usage | None:
    """Return the tokens that a response reports. Fields that are not counts are ignored."""
    if not isinstance(usage, dict) or not usage:
        return None
    counts = cast(Mapping[str, Any], usage)
    prompt = _count(counts, "prompt_tokens", "input_tokens")
    completion = _count(counts, "completion_tokens", "output_tokens")
    total = count_at(counts, "total_tokens") or prompt + completion
    if total == prompt + completion and counts.keys() <= _PLAIN_USAGE:
        return Usage(prompt, completion, total)
    of_prompt = object_at(counts, "prompt_tokens_details") or object_at(counts, "input_tokens_details")
    of_completion = object_at(counts, "completion_tokens_details") or object_at(counts, "output_tokens_details")
    # Some servers report these at the top level: DeepSeek and Together cached tokens, SGLang reasoning tokens.
    cached = (count_at(of_prompt, "cached_tokens"), *(count_at(counts, name) for name in _CACHED))
    reasoning_counts = (count_at(of_completion, "reasoning_tokens"), count_at(counts, "reasoning_tokens"))
    reasoning = next((one for one in reasoning_counts if one is not None), None)
    # Google's servers count thoughts only in the total.
    if (thoughts := total - prompt - completion) > 0 and reasoning in (None, thoughts):
        completion, reasoning = completion + thoughts, thoughts
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=next((one for one in cached if one is not None), None),
        cache_creation_tokens=count_at(of_prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        cost=cost_in_usage(counts),
        details=_details(of_prompt, of_completion),
    )


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a response reports, whether it has an answer or not."""
    return usage_in(data.get("usage"))


_CACHED = ("prompt_cache_hit_tokens", "cached_tokens")


def _details(of_prompt: Mapping[str, Any], of_completion: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the tokens of audio."""
    given, answered = count_at(of_prompt, "audio_tokens"), count_at(of_completion, "audio_tokens")
    return counted(input_audio_tokens=given, output_audio_tokens=answered)


def _count(counts: Mapping[str, Any], name: str, other_name: str) -> int:
    """Return a count that has one of two names: the one of chat completions, or the one of OpenAI's Responses API."""
    count = count_at(counts, name)
    return (count if count is not None else count_at(counts, other_name)) or 0


# Fields that mark an error within a successful response. `error_code`: FastChat; `detail`: FastAPI.
_ERRORS = ("error", "errors", "error_code", "error_message", "error_msg", "detail")


def error_of(data: Mapping[str, Any], body: bytes) -> RequestError | None:
    """Return the error in a successful response, alone or together with an incomplete answer; None without an error."""
    given: Any = data.get("choices")
    choices = cast(list[Any], given) if isinstance(given, list) else []
    first = as_object(choices[0] if choices else None)
    error: Any = first.get("error")
    if not given:
        error = error or data.get("error") or (data if _is_error(data) else None)
    elif not error and (top_level := data.get("error")):
        error = None if ended_well(finish_in(first.get("finish_reason"))) else top_level
    return error_in(error, body) if error else None


def error_event(data: str) -> RequestError:
    """Return the error in the data of an event named `error`."""
    fields: Mapping[str, Any] = {}
    with suppress(ValueError):
        fields = as_object(read_json(data))
    return error_in(fields.get("error") or fields, data.encode())


def _is_error(data: Mapping[str, Any]) -> bool:
    """Whether an object without choices is an error, in the format of any server."""
    kinds = (data.get("object"), data.get("type"))
    return "error" in kinds or any(data.get(name) for name in _ERRORS)


def error_in(error: Any, body: bytes) -> RequestError:
    """Return an error within a successful response. Routers send it when the server behind them fails."""
    return error_within(to_json({"error": error}) if as_object(error) else body)
