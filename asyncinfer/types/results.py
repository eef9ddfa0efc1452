"""What comes back: one answer, one failure, and the account of a whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from asyncinfer.errors import EngineDeadError, InferenceErrorType, InputError, RequestError, error_str
from asyncinfer.types.conversation import Conversation, Message
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.tools import ToolCall


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens spent. `cached_tokens` and `cache_creation_tokens` are parts of `prompt_tokens`,
    `reasoning_tokens` of `completion_tokens`; None where the engine does not say.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None

    def to_dict(self) -> dict[str, int]:
        """The known counts, as `metadata["usage"]` holds them."""
        counts = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.cached_tokens is not None:
            counts["cached_tokens"] = self.cached_tokens
        if self.cache_creation_tokens is not None:
            counts["cache_creation_tokens"] = self.cache_creation_tokens
        if self.reasoning_tokens is not None:
            counts["reasoning_tokens"] = self.reasoning_tokens
        return counts


class UsageSum:
    """Usages added up; a count that no engine tells stays None."""

    def __init__(self) -> None:
        self._prompt = self._completion = self._total = 0
        self._others: dict[str, int] = {}

    def add(self, usage: Usage) -> None:
        self._prompt += usage.prompt_tokens
        self._completion += usage.completion_tokens
        self._total += usage.total_tokens
        if usage.cached_tokens is usage.cache_creation_tokens is usage.reasoning_tokens is None:
            return
        for name, count in usage.to_dict().items():
            if name in _MAY_BE_UNKNOWN:
                self._others[name] = self._others.get(name, 0) + count

    def total(self) -> Usage:
        return Usage(self._prompt, self._completion, self._total, **self._others)


_MAY_BE_UNKNOWN = frozenset({"cached_tokens", "cache_creation_tokens", "reasoning_tokens"})


@dataclass(frozen=True, slots=True)
class StreamDelta:
    """What one step of a stream adds. The last delta has `finish_reason`, `usage`, and in `metadata` all other metadata
    of the answer, such as `raw_finish_reason`.
    """

    content: str = ""
    reasoning_content: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def last(
        cls,
        calls: Sequence[ToolCall] | None,
        reason: FinishReason,
        usage: Usage | None,
        content: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> StreamDelta:
        """The end of a stream: the tool calls, why it ended and what it took, after `content`."""
        plain = tuple(call.model_dump(mode="json") for call in calls or ())
        return cls(content, tool_calls=plain, finish_reason=reason, usage=usage, metadata=metadata)


@dataclass(slots=True)
class Completion:
    """The model's whole answer to one conversation. Not frozen, which would double what it costs to make.

    Attributes:
        limits: The endpoint's rate limits, as the response shows them.
        first_byte: Seconds from the request to the first byte of the response; None if it is unknown.
    """

    message: Message
    finish_reason: FinishReason = FinishReason.UNKNOWN
    usage: Usage | None = None
    metadata: dict[str, Any] | None = None
    limits: Mapping[str, LimitObservation] | None = field(default=None, compare=False)
    first_byte: float | None = field(default=None, compare=False)

    def as_delta(self, content: str = "") -> StreamDelta:
        """As the end of a stream, after `content`."""
        return StreamDelta.last(self.message.tool_calls, self.finish_reason, self.usage, content, self.metadata)

    def answer(self, conversation: Conversation) -> Conversation:
        """`conversation` with this answer appended, as a new object."""
        metadata = {**conversation.metadata}
        if metadata:
            for name in _OF_ONE_ANSWER:  # They may be from an earlier answer.
                metadata.pop(name, None)
        metadata.update(self.metadata or {})
        if self.usage is not None:
            metadata["usage"] = self.usage.to_dict()
        metadata["finish_reason"] = self.finish_reason.value
        return conversation.answered(self.message, metadata)


# Metadata that only some answers have.
_OF_ONE_ANSWER = ("raw_finish_reason", "block_reason")


@dataclass(frozen=True, slots=True)
class FailureDetail:
    """Why a row has no answer. `is_retryable`: trying the same row again may succeed."""

    error_message: str
    error_type: InferenceErrorType = InferenceErrorType.UNKNOWN
    status_code: int | None = None
    is_retryable: bool = True


def failure_of(error: Exception | None) -> FailureDetail:
    """What `error` means for the row that it ended."""
    match error:
        case RequestError():
            return FailureDetail(str(error), error.error_type, error.status_code, error.is_retryable)
        case EngineDeadError():  # A new engine may well answer the row.
            return FailureDetail(str(error), error.error_type, error.status_code, is_retryable=True)
        case InputError():
            return FailureDetail(str(error), InferenceErrorType.PARSE_ERROR, is_retryable=False)
        case _:
            text = f"{type(error).__name__}: {error_str(error)}" if error is not None else "no answer"
            return FailureDetail(text, InferenceErrorType.RUNTIME, is_retryable=False)


@dataclass(frozen=True)
class InferenceResult:
    """The rows of a run that succeeded, in input order, and the reasons of those that did not."""

    successful: list[tuple[int, Conversation]]
    failures: dict[int, FailureDetail]

    @property
    def failed_indices(self) -> list[int]:
        return sorted(self.failures)

    @property
    def error_messages(self) -> dict[int, str]:
        return {index: detail.error_message for index, detail in self.failures.items()}

    @property
    def has_failures(self) -> bool:
        return bool(self.failures)


@dataclass(frozen=True)
class Progress:
    """How far a run is. `completed` includes `resumed`; `usage` counts this run's answers only. `waiting`: why nothing
    has been sent for 10 s or more, and until when; None while requests are sent.
    """

    total: int | None = None
    completed: int = 0
    failed: int = 0
    resumed: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    waiting: str | None = None


@dataclass(frozen=True)
class RunSummary:
    """The account of a run. `failure_samples` holds at most 20 `(index, reason)`.

    `attempts` counts what the engine was asked, `refused` how often the endpoint was too busy for it, and
    `retried` how often a row was put off to be tried again.
    """

    total: int
    completed: int
    failed: int
    resumed: int
    usage: Usage
    seconds: float
    failure_samples: list[tuple[int, FailureDetail]]
    attempts: int = 0
    refused: int = 0
    retried: int = 0
