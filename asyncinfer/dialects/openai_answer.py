"""What OpenAI's chat completions answer, and those of the many servers that speak them.

Written after OpenAI's API reference ("Create chat completion", response) and openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import to_json

from asyncinfer.dialects.fields import as_group, count, group
from asyncinfer.dialects.google_thoughts import END_OF_THOUGHT, THOUGHT, of_google, signed
from asyncinfer.dialects.http import HttpResponse, error_within, json_object, no_answer
from asyncinfer.dialects.tools import tool_call
from asyncinfer.errors import RequestError
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import Completion, FinishReason, InferenceErrorType, Usage
from asyncinfer.types.tools import ToolCall


def decode(response: HttpResponse) -> Completion:
    """The answer in a response.

    Raises:
        RequestError: it holds none.
    """
    data = json_object(response)
    if error := error_of(data, response.body):
        raise error
    try:
        [choice, *_] = data["choices"]
        message = _answer(choice["message"])
        reason = ended(finish_reason(choice.get("finish_reason")), message.tool_calls)
        return Completion(message, reason, usage_in(data.get("usage")))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise no_answer(response) from None


# What of an answer is kept as it came, for it is to be sent back: OpenRouter's reasoning in parts, with signatures.
_KEPT = frozenset({"reasoning_details"})


def _answer(message: Mapping[str, Any]) -> Message:
    """The assistant's message. A refusal is its text; reasoning comes under either of two names."""
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not calls:
        content = message.get("refusal") or ""
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    google = of_google(message)
    if google.get("thought") is True and isinstance(content, str) and content.startswith(THOUGHT):
        reasoning, _, content = content.removeprefix(THOUGHT).partition(END_OF_THOUGHT)
    # Without its signature Google may not take a message back.
    signature = google.get("thought_signature")
    kept = (signed(signature) if signature else {}) | {key: message[key] for key in _KEPT if message.get(key)}
    if not calls and not kept and reasoning is None and isinstance(content, str):
        return Message(role=Role.ASSISTANT, content=content)
    return Message(
        role=Role.ASSISTANT,
        content=content,
        tool_calls=[tool_call(call) for call in calls] if calls else None,
        reasoning_content=reasoning if isinstance(reasoning, str) else None,
        **kept,
    )


_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "error": FinishReason.ERROR,
    # Names that other servers have for the same.
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "abort": FinishReason.ERROR,
}
# DeepSeek cuts an answer off for want of capacity; half an answer is none.
_CUT_OFF = "insufficient_system_resource"


def finish_reason(reason: str | None) -> FinishReason:
    """Why the model stopped.

    Raises:
        RequestError: it was stopped, and may answer when it is asked again.
    """
    if reason == _CUT_OFF:
        raise RequestError(
            f"the API cut the answer off ({_CUT_OFF})",
            error_type=InferenceErrorType.API_STATUS,
            is_retryable=True,
            is_overload=True,
        )
    return _FINISH.get(reason or "", FinishReason.UNKNOWN)


def ended(reason: FinishReason, calls: Sequence[ToolCall] | None) -> FinishReason:
    """Why the model stopped, of a whole answer: to have tools called, if it calls any. Gemini never says so; OpenAI and
    vLLM do not where the call was forced.
    """
    return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and calls else reason


_PLAIN_USAGE = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def usage_in(usage: Any) -> Usage | None:
    """The tokens that a response says it took; what it says in other ways than as numbers is not heeded."""
    if not isinstance(usage, dict) or not usage:
        return None
    told = cast(Mapping[str, Any], usage)
    prompt, completion = count(told, "prompt_tokens") or 0, count(told, "completion_tokens") or 0
    total = count(told, "total_tokens") or prompt + completion
    if total == prompt + completion and told.keys() <= _PLAIN_USAGE:
        return Usage(prompt, completion, total)
    of_prompt, of_completion = group(told, "prompt_tokens_details"), group(told, "completion_tokens_details")
    # Some tell of these beside the counts, not below them: DeepSeek and Together of the cache, SGLang of reasoning.
    cached = (count(of_prompt, "cached_tokens"), *(count(told, name) for name in _CACHED))
    reasoned = (count(of_completion, "reasoning_tokens"), count(told, "reasoning_tokens"))
    reasoning = next((one for one in reasoned if one is not None), None)
    # Google's servers count thoughts in the total alone.
    if (beyond := total - prompt - completion) > 0 and reasoning in (None, beyond):
        completion, reasoning = completion + beyond, beyond
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=next((one for one in cached if one is not None), None),
        cache_creation_tokens=count(of_prompt, "cache_write_tokens"),
        reasoning_tokens=reasoning,
    )


_CACHED = ("prompt_cache_hit_tokens", "cached_tokens")


def error_of(data: Mapping[str, Any], body: bytes) -> RequestError | None:
    """The error that a success tells of: in an answer's place, or beside one that it cut off."""
    told: Any = data.get("choices")
    choices = cast(list[Any], told) if isinstance(told, list) else []
    first = as_group(choices[0] if choices else None)
    failed = not told or first.get("finish_reason") == "error"
    error: Any = first.get("error") or (data.get("error") if failed else None)
    return error_in(error, body) if error else None


def error_in(error: Any, body: bytes) -> RequestError:
    """An error that came as a success, as routers send them when the server behind them fails."""
    return error_within(to_json({"error": error}) if isinstance(error, dict) else body)
