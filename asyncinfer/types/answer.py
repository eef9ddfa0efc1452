"""One answer of a model: whole (`Completion`), or in parts (`StreamDelta`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from asyncinfer.types.conversation import Conversation, Message, Role
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.markdown import message_markdown, table, text_block
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
        """Add the counts of one usage."""
        self._prompt += usage.prompt_tokens
        self._completion += usage.completion_tokens
        self._total += usage.total_tokens
        if usage.cached_tokens is usage.cache_creation_tokens is usage.reasoning_tokens is None:
            return
        for name, count in usage.to_dict().items():
            if name in _MAY_BE_UNKNOWN:
                self._others[name] = self._others.get(name, 0) + count

    def total(self) -> Usage:
        """Return the sums of all counts."""
        return Usage(self._prompt, self._completion, self._total, **self._others)


_MAY_BE_UNKNOWN = frozenset({"cached_tokens", "cache_creation_tokens", "reasoning_tokens"})


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallDelta(ShortRepr):
    """A piece of a tool call in a stream.

    Args:
        index: Which call of the answer the piece belongs to, from 0.
        id: The id of the call, in its first piece only.
        name: The name of the function, in its first piece only.
        arguments: The next characters of the arguments, which are JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class StreamDelta(ShortRepr):
    """The part of an answer that one step of a stream adds. `Completion.from_deltas` joins the parts.

    The last delta has `finish_reason`, `usage`, `metadata`, `extra`, and all `tool_calls` as complete calls.

    Args:
        tool_calls: The complete calls, as dicts; only in the last delta.
        metadata: All other metadata of the answer, such as `raw_finish_reason`.
        tool_call_deltas: Pieces of tool calls. The pieces with the same index, joined, are one of `tool_calls`.
        extra: Additional keys of the message that must be sent back with it, such as Anthropic's `thinking_blocks`.
        logprobs: The log probabilities of the tokens in this delta, in the format of OpenAI: objects with `token`,
            `logprob`, `bytes` and `top_logprobs`.
    """

    content: str = ""
    reasoning_content: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    metadata: dict[str, Any] | None = None
    tool_call_deltas: tuple[ToolCallDelta, ...] = ()
    extra: Mapping[str, Any] | None = None
    logprobs: tuple[dict[str, Any], ...] = ()

    def _repr_markdown_(self) -> str:
        return text_block(self.reasoning_content + self.content)

    @classmethod
    def last(
        cls,
        calls: Sequence[ToolCall] | None,
        reason: FinishReason,
        usage: Usage | None,
        content: str = "",
        metadata: dict[str, Any] | None = None,
        *,
        call_deltas: tuple[ToolCallDelta, ...] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> StreamDelta:
        """Return the last delta of a stream, with the tool calls, the finish reason and the usage.

        Args:
            calls: All tool calls of the answer.
            reason: Why the model stopped.
            usage: The tokens of the whole answer; None if they are not known.
            content: Text that no earlier delta has.
            metadata: All other metadata of the answer.
            call_deltas: The pieces of the calls that no earlier delta has. By default, all calls are whole pieces.
            extra: Additional keys of the message that must be sent back with it.
        """
        plain = tuple(call.model_dump(mode="json") for call in calls or ())
        if call_deltas is None:
            call_deltas = deltas_of_calls(calls or ())
        return cls(
            content,
            tool_calls=plain,
            finish_reason=reason,
            usage=usage,
            metadata=metadata,
            tool_call_deltas=call_deltas,
            extra=extra or None,
        )


def deltas_of_calls(calls: Iterable[ToolCall], first: int = 0) -> tuple[ToolCallDelta, ...]:
    """Return each call as one piece. `first`: the index of the first call in the answer."""
    return tuple(
        ToolCallDelta(index, call.id, call.function.name, call.function.arguments)
        for index, call in enumerate(calls, first)
    )


def joined(deltas: Iterable[StreamDelta]) -> StreamDelta:
    """Return one delta with the text, the reasoning, the pieces of calls and the log probabilities of all `deltas`."""
    parts = list(deltas)
    return StreamDelta(
        "".join(part.content for part in parts),
        "".join(part.reasoning_content for part in parts),
        tool_call_deltas=tuple(piece for part in parts for piece in part.tool_call_deltas),
        logprobs=tuple(entry for part in parts for entry in part.logprobs),
    )


def with_first(first: StreamDelta, last: StreamDelta) -> StreamDelta:
    """Return the last delta of a stream with the parts of an earlier delta before its own."""
    both = joined((first, last))
    return replace(
        last,
        content=both.content,
        reasoning_content=both.reasoning_content,
        tool_call_deltas=both.tool_call_deltas,
        logprobs=both.logprobs,
    )


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

    def _repr_markdown_(self) -> str:
        usage = () if self.usage is None else self.usage.to_dict().items()
        facts = table([("finish reason", self.finish_reason.value), *usage])
        return f"{message_markdown(self.message)}\n\n{facts}"

    @classmethod
    def from_deltas(cls, deltas: Iterable[StreamDelta]) -> Completion:
        """Return the answer that the deltas of a whole stream make. Its message can be sent back to the model."""
        parts = list(deltas)
        last = parts[-1] if parts else StreamDelta()
        calls = [ToolCall.model_validate(call) for call in last.tool_calls]
        whole = joined(parts)
        message = Message(
            role=Role.ASSISTANT,
            content=whole.content if whole.content or not calls else None,
            tool_calls=calls or None,
            reasoning_content=whole.reasoning_content or None,
            **(last.extra or {}),
        )
        metadata = last.metadata
        if whole.logprobs:
            metadata = {**(metadata or {}), LOGPROBS: [*whole.logprobs]}
        return cls(message, last.finish_reason or FinishReason.UNKNOWN, last.usage, metadata)

    def last_delta(self, content: str = "") -> StreamDelta:
        """Return the last delta of a stream, for this answer.

        Args:
            content: Text that no earlier delta has.
        """
        message = self.message
        return StreamDelta.last(
            message.tool_calls, self.finish_reason, self.usage, content, self.metadata, extra=message.model_extra
        )

    def as_stream(self) -> list[StreamDelta]:
        """Return this answer as the deltas of a stream: the reasoning, and then the text with everything else."""
        reasoning = self.message.reasoning_content
        metadata = {**(self.metadata or {})}
        logprobs = tuple(metadata.pop(LOGPROBS, ()))
        last = replace(self, metadata=metadata or None).last_delta(self.message.compute_flattened_text_content())
        last = replace(last, logprobs=logprobs) if logprobs else last
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


# The metadata of an answer: the log probabilities of its tokens, as in `StreamDelta.logprobs`.
LOGPROBS = "logprobs"
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
    LOGPROBS,
    "dropped_parameters",
    "unsaved_metadata",
)
# The metadata keys that are removed from a conversation before those of its answer are added.
_REPLACED = (*ANSWER_METADATA, FAILURE)
