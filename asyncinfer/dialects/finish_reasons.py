"""The finish reasons of all APIs.

All dialects share one table, because routers pass on the reasons of the API behind them. Sources, November 2026:
OpenAI's "Create chat completion", Anthropic's "Stop reasons and fallback", Google's
`GenerateContentResponse.FinishReason`, Bedrock's `StopReason` (botocore 1.44), Text Generation Inference's
`FinishReason`, SGLang's, Together's and llama.cpp's servers, Cohere's `ChatFinishReason`, Mistral's
`CompletionResponseStreamChoice`, Z.AI's "Chat completion", watsonx's `stop_reason`, and Titan's `completionReason`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.tools import ToolCall

_MEANINGS: Mapping[FinishReason, Sequence[str]] = {
    FinishReason.STOP: (
        "stop",
        "complete",
        "completed",
        "end_turn",
        "eos",
        "eos_token",
        "finished",
        "normal",
        "stop_criteria_met",
        "stop_sequence",
        "stop_token",
        "word",
    ),
    FinishReason.LENGTH: (
        "length",
        "limit",
        "max_length",
        "max_output_tokens",
        "max_tokens",
        "model_length",
        "token_limit",
        "model_context_window_exceeded",
        "pause_turn",  # Anthropic's own tools reached their limit.
    ),
    FinishReason.TOOL_CALLS: ("tool_calls", "tool_call", "tool_use", "function_call", "function_calls"),
    FinishReason.CONTENT_FILTER: (
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "refusal",
        "sensitive",
        "error_toxic",
        "safety",
        "recitation",
        "language",
        "blocklist",
        "prohibited_content",
        "spii",
        "model_armor",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
    ),
    FinishReason.ERROR: (
        "error",
        "abort",
        "aborted",
        "cancelled",
        "error_limit",
        "network_error",
        "time_limit",
        "timeout",
        "user_cancel",
        "malformed_function_call",
        "malformed_model_output",
        "malformed_response",
        "malformed_tool_use",
        "missing_thought_signature",
        "too_many_tool_calls",
        "unexpected_tool_call",
    ),
}
_MEANING = {word: reason for reason, words in _MEANINGS.items() for word in words}
# Values that mean "no reason yet". Some servers send them with every part of a stream.
_ABSENT = frozenset({"", "none", "null", "not_finished", "unspecified"})
# Words before a reason, from the names of enumerations: `FINISH_REASON_STOP`, `FinishReason.STOP`.
_PREFIXES = ("finish_reason_", "stop_reason_")
# DeepSeek ends an answer early with this reason when it lacks capacity.
_CUT_OFF = "insufficient_system_resource"
_LONGEST = 200
_CAMEL, _SEPARATOR = re.compile(r"(?<=[a-z])(?=[A-Z])"), re.compile(r"[\s.-]+")


class Finish(NamedTuple):
    """A finish reason. `text`: the value that the API sent."""

    reason: FinishReason
    text: str

    @property
    def is_known(self) -> bool:
        return self.reason is not FinishReason.UNKNOWN

    @property
    def is_cut(self) -> bool:
        """Whether the answer was cut off, possibly in the middle of a tool call."""
        return self.reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.ERROR)


_KNOWN = {word: Finish(reason, word) for word, reason in _MEANING.items()}


def finish_in(value: Any) -> Finish | None:
    """Read the finish reason in a response. None if it has no reason.

    Raises:
        RequestError: The API lacked the capacity to complete the answer. The request can be retried.
    """
    if value is None or value is False:
        return None
    if isinstance(value, str) and (known := _KNOWN.get(value)) is not None:
        return known
    text = value if isinstance(value, str) else to_json(value).decode()
    word = _word(text[:_LONGEST])
    if word in _ABSENT:
        return None
    if word == _CUT_OFF:
        raise RequestError(
            f"the API cut the answer off ({_CUT_OFF})",
            error_type=InferenceErrorType.API_STATUS,
            is_retryable=True,
            is_overload=True,
        )
    return Finish(_MEANING.get(word, FinishReason.UNKNOWN), text[:_LONGEST])


def _word(text: str) -> str:
    """Return a reason in the spelling of the table: `maxTokens`, `max-tokens` and `MAX_TOKENS` become `max_tokens`."""
    snake = _CAMEL.sub("_", text.strip())
    word = _SEPARATOR.sub("_", snake).lower()
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word


def ended_well(finish: Finish | None) -> bool:
    """Whether the reason is known and is not an error."""
    return finish is not None and finish.is_known and finish.reason is not FinishReason.ERROR


def reason_of(finish: Finish | None, calls: Sequence[ToolCall] | None) -> FinishReason:
    """Return the finish reason of a complete answer with these calls."""
    return with_calls(finish.reason, calls) if finish is not None else FinishReason.UNKNOWN


def with_calls(reason: FinishReason, calls: Sequence[ToolCall] | None) -> FinishReason:
    """Return TOOL_CALLS instead of STOP if there are calls; otherwise `reason`.

    Gemini reports STOP for every tool call. OpenAI and vLLM report it for forced calls.
    """
    return FinishReason.TOOL_CALLS if calls and reason is FinishReason.STOP else reason


def without_cut_call(finish: Finish | None, calls: list[ToolCall]) -> list[ToolCall]:
    """Return the calls of an answer, without a last call whose arguments were cut off entirely.

    Such a call would look like a call without arguments.
    """
    cut = finish is not None and finish.is_cut
    return calls[:-1] if cut and calls and lacks_arguments(calls[-1]) else calls


def lacks_arguments(call: ToolCall) -> bool:
    """Whether a call has no arguments. They may have been cut off."""
    return call.function.arguments.strip() in ("", "{}")
