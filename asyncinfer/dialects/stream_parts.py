"""Distinguishes events that bring a part of an answer from events that only keep the connection open.

Keep-alives as of November 2026: comments (OpenRouter and others), `ping` events (Anthropic), chunks without a choice or
with an empty delta (OpenAI's format), deltas without text (Bedrock).
"""

from __future__ import annotations

from typing import Any, cast

from asyncinfer.dialects.fields import as_count
from asyncinfer.dialects.finish_reasons import finish_in
from asyncinfer.dialects.json_text import read_json

# The fields with content of an answer, in any dialect. The decoders do not read all of them.
_CONTENT = frozenset(
    [
        *("content", "text", "refusal", "reasoning", "reasoning_content", "reasoning_details", "reasoning_text"),
        *("thinking", "thinking_blocks", "thought", "tool_calls", "function_call", "functionCall", "toolUse"),
        *("content_block", "partial_json", "input_json", "audio", "image", "images", "reasoningContent"),
        *(
            "redactedContent",
            "citation",
            "citations",
            "citationsContent",
            "annotations",
            "signature",
            "thoughtSignature",
        ),
        *("executableCode", "codeExecutionResult", "inlineData", "fileData", "functionResponse"),
        "delta",  # A text in the events of OpenAI's Responses API.
    ]
)
_REASONS = frozenset({"finish_reason", "finishReason", "stop_reason", "stopReason"})
# The fields that contain content fields.
_STRUCTURE = frozenset({"choices", "candidates", "delta", "message", "content", "parts", "start"})
# Fields with several alternative answers. Only the first answer is read.
_ANSWERS = frozenset({"choices", "candidates"})
# Fields that a server may repeat in every event, even if it brings no part of the answer.
_ENVELOPE = frozenset(
    {
        "contentBlockIndex",
        "created",
        "createTime",
        "id",
        "index",
        "model",
        "modelVersion",
        "object",
        "obfuscation",
        "p",  # Bedrock's padding
        "provider",
        "responseId",
        "role",
        "service_tier",
        "system_fingerprint",
        "type",
        "usage",
    }
)


def is_part(data: str | bytes) -> bool:
    """Whether the data of an event contains a part of the answer.

    Undocumented fields do not count. Otherwise, a server could keep a stream open with them forever.
    """
    try:
        return _holds_part(read_json(data))
    except ValueError:
        return False


def _holds_part(value: Any) -> bool:
    if isinstance(value, dict):
        for name, inner in cast(dict[str, Any], value).items():
            if name in _ANSWERS and isinstance(inner, list):
                inner = [answer for answer in cast(list[Any], inner) if _is_first(answer)]
            if isinstance(inner, dict | list) and name in _STRUCTURE:
                if _holds_part(inner):
                    return True
            elif (name in _CONTENT and _holds_value(inner)) or (name in _REASONS and _is_reason(inner)):
                return True
        return False
    return isinstance(value, list) and any(map(_holds_part, cast(list[Any], value)))


def _is_reason(value: Any) -> bool:
    finish = finish_in(value)
    return finish is not None and finish.is_known


def _is_first(answer: Any) -> bool:
    return not (isinstance(answer, dict) and as_count(cast(dict[str, Any], answer).get("index")))


def _holds_value(value: Any) -> bool:
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return any(name not in _ENVELOPE and _holds_value(inner) for name, inner in items)
    if isinstance(value, list):
        return any(map(_holds_value, cast(list[Any], value)))
    return bool(value)
