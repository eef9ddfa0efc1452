"""The whole answer of a model (`Completion`), and the metadata that it adds to a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.limits import LimitObservation
from asyncinfer.types.markdown import message_markdown, table
from asyncinfer.types.message import Message, Role
from asyncinfer.types.short_repr import ShortRepr
from asyncinfer.types.stream import StreamDelta, joined
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage

# The field of a message whose text refuses to answer, as OpenAI's models may. Its value is that text.
REFUSAL = "refusal"
# The metadata of an answer: the log probabilities of its tokens, as in `StreamDelta.logprobs`.
LOGPROBS = "logprobs"
# The metadata of an answer: how many earlier answers were rejected because they did not fit the `response_model`.
VALIDATION_RETRIES = "validation_retries"
# The metadata of an answer: all answers to the request, if there are several. See `choice_fields`.
CHOICES = "choices"
# The metadata of an answer: what the response says besides, under the API's own names. See `dialects.provider_fields`.
PROVIDER_FIELDS = "provider_fields"
# The metadata of an answer: its cost in US dollars.
COST = "cost"
# The metadata of an answer that was not requested for this row: the identity of the row that this row
# duplicates, and whether the answer comes from the cache.
DUPLICATE_OF, FROM_CACHE = "duplicate_of", "from_cache"
# The metadata of a row in the file of failed rows: why it failed.
FAILURE = "failure"
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
    PROVIDER_FIELDS,
    COST,
    DUPLICATE_OF,
    FROM_CACHE,
    "dropped_parameters",
    "unsaved_metadata",
    VALIDATION_RETRIES,
    CHOICES,
)
# The metadata keys that are removed from a conversation before those of its answer are added.
_REPLACED = frozenset([*ANSWER_METADATA, FAILURE])


def choice_fields(
    index: int, message: Message, finish_reason: FinishReason, logprobs: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Return one of several answers to a request, as `metadata["choices"]` has it: in OpenAI's form."""
    choice: dict[str, Any] = {
        "index": index,
        "message": message.model_dump(mode="json", exclude_none=True),
        "finish_reason": finish_reason.value,
    }
    return {**choice, LOGPROBS: [*logprobs]} if logprobs else choice


def _with_first_choice(choices: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all choices. The last delta of a stream may lack the first one, because earlier deltas have it."""
    has_first = any(choice.get("index") == 0 for choice in choices)
    return [*choices] if has_first else [first, *choices]


def choices_of(answers: Iterable[Completion]) -> dict[str, Any]:
    """Return the metadata of the first of several answers to one conversation."""
    return {
        CHOICES: [
            choice_fields(index, answer.message, answer.finish_reason, (answer.metadata or {}).get(LOGPROBS, ()))
            for index, answer in enumerate(answers)
        ]
    }


def saved_usage(answered: Conversation) -> Usage | None:
    """Return the usage and the cost in the metadata of an answered conversation; None if it has no usage.

    The file may have been edited: values that are not numbers are left out.
    """
    usage = answered.metadata.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = {name: count for name, count in cast(dict[str, Any], usage).items() if type(count) is int}
    return replace(Usage.from_dict(counts), cost=saved_cost(answered))


def saved_cost(answered: Conversation) -> float | None:
    """Return the cost in the metadata of an answered conversation; None if there is none, or if it is not a number."""
    cost = answered.metadata.get(COST)
    return cost if isinstance(cost, int | float) and not isinstance(cost, bool) else None


@dataclass(slots=True, repr=False)
class Completion(ShortRepr):
    """The complete answer of the model to one conversation. Not frozen, because freezing doubles the time to create it.

    Attributes:
        limits: The endpoint's rate limits, as the response shows them.
        first_byte: Seconds from the request to the first byte of the response; None if it is unknown.
        endpoint: The name of the endpoint that answered; None if the engine has only one.
        parsed: The answer, parsed and validated, if the call has a `response_model`.
    """

    message: Message
    finish_reason: FinishReason = FinishReason.UNKNOWN
    usage: Usage | None = None
    metadata: dict[str, Any] | None = None
    limits: Mapping[str, LimitObservation] | None = field(default=None, compare=False)
    first_byte: float | None = field(default=None, compare=False)
    endpoint: str | None = field(default=None, compare=False)
    parsed: Any = field(default=None, compare=False, repr=False)

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
        reason = last.finish_reason or FinishReason.UNKNOWN
        if metadata and CHOICES in metadata:
            first = choice_fields(0, message, reason, whole.logprobs)
            metadata = {**metadata, CHOICES: _with_first_choice(metadata[CHOICES], first)}
        return cls(message, reason, last.usage, metadata, parsed=last.parsed)

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
        last = replace(last, logprobs=logprobs, is_refusal=bool((self.message.model_extra or {}).get(REFUSAL)))
        return [StreamDelta(reasoning_content=reasoning), last] if reasoning else [last]

    def append_to(self, conversation: Conversation) -> Conversation:
        """Return a new conversation: `conversation` with this answer appended."""
        # Without what may belong to an earlier answer.
        metadata = {name: value for name, value in conversation.metadata.items() if name not in _REPLACED}
        metadata.update(self.metadata or {})
        if self.usage is not None:
            metadata["usage"] = self.usage.to_dict()
            if self.usage.cost is not None:
                metadata[COST] = self.usage.cost
        metadata["finish_reason"] = self.finish_reason.value
        return conversation.with_answer(self.message, metadata, self.parsed)
