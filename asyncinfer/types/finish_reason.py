"""The reasons why a model stops."""

from __future__ import annotations

from enum import StrEnum

from asyncinfer.types.conversation import Conversation


class FinishReason(StrEnum):
    """The reason why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"
    UNKNOWN = "unknown"


def finish_reason_of(answered: Conversation) -> FinishReason:
    """The finish reason in the metadata of an answered conversation; UNKNOWN if the value is not a finish reason."""
    reason = answered.metadata.get("finish_reason")
    return FinishReason(reason) if reason in tuple(FinishReason) else FinishReason.UNKNOWN
