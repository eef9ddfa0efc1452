"""The parts of an answer that a stream delivers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.markdown import text_block
from asyncinfer.types.short_repr import ShortRepr
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallDelta(ShortRepr):
    """A piece of a tool call in a stream.

    Args:
        index: The index of the call in the answer, from 0.
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
        is_refusal: `content` is a part of a refusal to answer. The last delta then has the whole refusal in `extra`.
        parsed: The whole answer, parsed and validated, if the call has a `response_model`; only in the last delta.
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
    is_refusal: bool = False
    parsed: Any = None

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
            call_deltas: The pieces of the calls that no earlier delta has. By default, each call is one piece.
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
