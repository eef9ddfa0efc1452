"""Results: one answer, one failure, and the summary of a whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from asyncinfer.errors import (
    ConfigError,
    EngineConfigError,
    EngineDeadError,
    InferenceErrorType,
    InputError,
    RequestError,
    error_str,
)
from asyncinfer.types.conversation import Conversation, Message
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.short_repr import ShortRepr
from asyncinfer.types.tools import ToolCall


class FinishReason(StrEnum):
    """The reason why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, repr=False)
class Usage(ShortRepr):
    """The number of tokens of one answer.

    `cached_tokens` and `cache_creation_tokens` are included in `prompt_tokens`, `reasoning_tokens` is included in
    `completion_tokens`. They are None if the engine does not report them.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None

    def to_dict(self) -> dict[str, int]:
        """Return the known counts, in the form of `metadata["usage"]`."""
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
    """Adds up usages. A count that no engine reports stays None."""

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


@dataclass(frozen=True, slots=True, repr=False)
class StreamDelta(ShortRepr):
    """The part of an answer that one step of a stream adds.

    The last delta has `finish_reason`, `usage` and `metadata`. `metadata` contains all other metadata of the answer,
    such as `raw_finish_reason`.
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
        """Return the last delta of a stream, with the tool calls, the finish reason and the usage."""
        plain = tuple(call.model_dump(mode="json") for call in calls or ())
        return cls(content, tool_calls=plain, finish_reason=reason, usage=usage, metadata=metadata)


def joined(deltas: Iterable[StreamDelta]) -> StreamDelta:
    """Return one delta with the text and the reasoning of all `deltas`."""
    parts = list(deltas)
    text, reasoning = "".join(one.content for one in parts), "".join(one.reasoning_content for one in parts)
    return StreamDelta(text, reasoning)


@dataclass(slots=True, repr=False)
class Completion(ShortRepr):
    """The complete answer of the model to one conversation. Not frozen, because freezing doubles the time to create it.

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
        """Return the last delta of a stream, for this answer. `content`: text that no earlier delta contained."""
        return StreamDelta.last(self.message.tool_calls, self.finish_reason, self.usage, content, self.metadata)

    def as_deltas(self) -> list[StreamDelta]:
        """Return this answer as the deltas of a stream: the reasoning, and then the text with everything else."""
        reasoning = self.message.reasoning_content
        last = self.as_delta(self.message.compute_flattened_text_content())
        return [StreamDelta(reasoning_content=reasoning), last] if reasoning else [last]

    def append_to(self, conversation: Conversation) -> Conversation:
        """Return a new conversation: `conversation` with this answer appended."""
        metadata = {**conversation.metadata}
        if metadata:
            for name in _REPLACED:  # They may belong to an earlier answer.
                metadata.pop(name, None)
        metadata.update(self.metadata or {})
        if self.usage is not None:
            metadata["usage"] = self.usage.to_dict()
        metadata["finish_reason"] = self.finish_reason.value
        return conversation.with_answer(self.message, metadata)


# The metadata of a row in the file of failed rows: why it failed.
FAILURE = "failure"


def finish_reason_of(answered: Conversation) -> FinishReason:
    """The finish reason in the metadata of an answered conversation; UNKNOWN if the value is not a finish reason."""
    reason = answered.metadata.get("finish_reason")
    return FinishReason(reason) if reason in tuple(FinishReason) else FinishReason.UNKNOWN


# The metadata keys that an answer may add to its conversation. Only `finish_reason` is always added.
ANSWER_METADATA = (
    "usage",
    "finish_reason",
    "raw_finish_reason",
    "block_reason",
    "response_id",
    "response_model",
    "system_fingerprint",
    "service_tier",
    "dropped_parameters",
    "unsaved_metadata",
)
# The metadata keys that are removed from a conversation before those of its answer are added.
_REPLACED = (*ANSWER_METADATA, FAILURE)


@dataclass(frozen=True, slots=True, repr=False)
class FailureDetail(ShortRepr):
    """The reason why a row has no answer.

    Args:
        is_retryable: Whether a new attempt at the same row, with the same settings, may succeed. False for a wrong
            setting, a refused key and a row that the API rejects.
    """

    error_message: str
    status_code: int | None = None
    is_retryable: bool = True
    error_type: InferenceErrorType = InferenceErrorType.UNKNOWN


def failure_of(error: Exception | None) -> FailureDetail:
    """Return the failure of a row that ended with `error`."""
    match error:
        case RequestError():
            return FailureDetail(str(error), error.status_code, error.is_retryable, error.error_type)
        case EngineDeadError():
            retryable = error.is_retryable and not isinstance(error, EngineConfigError)
            return FailureDetail(str(error), error.status_code, retryable, error.error_type)
        case ConfigError():
            return FailureDetail(str(error), is_retryable=False, error_type=InferenceErrorType.CONFIG)
        case InputError():
            return FailureDetail(str(error), is_retryable=False, error_type=InferenceErrorType.PARSE_ERROR)
        case _:
            text = f"{type(error).__name__}: {error_str(error)}" if error is not None else "no answer"
            return FailureDetail(text, is_retryable=False, error_type=InferenceErrorType.RUNTIME)


@dataclass(frozen=True)
class InferenceResult:
    """The answered rows of a run, in input order, and the failures of the other rows."""

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


class RunState(StrEnum):
    """The state of a run.

    Attributes:
        FINISHED: Every row has its outcome. Single rows may have failed.
        FAILED: An error ended the run before every row had its outcome.
        INTERRUPTED: The run was stopped or cancelled.
    """

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class CommonFailure(NamedTuple):
    """A reason why rows fail: the message of one of these rows, and the number of rows."""

    error_message: str
    rows: int


@dataclass(frozen=True, repr=False)
class Progress(ShortRepr):
    """The progress of a run.

    Args:
        completed: The number of answered rows, including `resumed`.
        resumed: The number of rows that an earlier run answered.
        usage: The tokens of the answers of this run only.
        seconds: The time since the run began.
        waiting: Why nothing has been sent for 10 seconds or more, and until when; None while requests are sent.
        state: Whether the run is in progress, or how it ended.
        attempts: The number of requests to the engine.
        refused: The number of requests that the endpoint refused because it was busy.
        retried: The number of times that a row was scheduled for another attempt.
        cut_by_length: The number of answers, also resumed ones, that end at `max_new_tokens` or at the model's limit.
        filtered: The number of answers, also resumed ones, that a content filter stopped.
        commonest_failure: The commonest reason why rows failed; None if none failed.
        error: Why the run ended early.
    """

    total: int | None = None
    completed: int = 0
    failed: int = 0
    resumed: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    waiting: str | None = None
    state: RunState = RunState.RUNNING
    attempts: int = 0
    refused: int = 0
    retried: int = 0
    cut_by_length: int = 0
    filtered: int = 0
    commonest_failure: CommonFailure | None = None
    error: str | None = None


@dataclass(frozen=True, repr=False)
class RunSummary(ShortRepr):
    """The summary of a run.

    Args:
        failure_samples: At most 20 pairs of the index of a row and its failure.
        attempts: The number of requests to the engine.
        refused: The number of requests that the endpoint refused because it was busy.
        retried: The number of times that a row was scheduled for another attempt.
        cut_by_length: The number of answers, also resumed ones, that end at `max_new_tokens` or at the model's limit.
        filtered: The number of answers, also resumed ones, that a content filter stopped.
        retryable: The number of failed rows that another run may answer.
        commonest_failure: The commonest reason why rows failed; None if none failed.
        failures_path: The file with the failed rows; None if there is none.
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
    cut_by_length: int = 0
    filtered: int = 0
    retryable: int = 0
    commonest_failure: CommonFailure | None = None
    failures_path: Path | None = None
