"""Writes an answer as the output items and the status of a response of the Responses API. A server needs this.

Source: `Response` and `ResponseOutputItem` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from asyncinfer.dialects.openai.responses.input_writer import call_item, is_whole, kept_items, reasoning_item
from asyncinfer.dialects.openai.responses.output_reader import ANNOTATIONS, CALL, MESSAGE, PHASE
from asyncinfer.types.answer import LOGPROBS, Completion, FinishReason, Usage
from asyncinfer.types.conversation import Message

Json = dict[str, Any]
# Makes the id of an item from its prefix.
NewId = Callable[[str], str]
COMPLETED, INCOMPLETE = "completed", "incomplete"
_INCOMPLETE_REASONS = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}


def new_id(prefix: str) -> str:
    """Return a new id for an item, such as `msg_...`."""
    return f"{prefix}_{uuid4().hex}"


def answer_fields(completion: Completion, make_id: NewId = new_id) -> Json:
    """Return the fields of a response that tell the answer: `status`, `incomplete_details`, `output` and `usage`."""
    status, details = status_of(completion.finish_reason)
    logprobs = (completion.metadata or {}).get(LOGPROBS, ())
    output = output_items(completion.message, status=status, logprobs=logprobs, make_id=make_id)
    return {
        "status": status,
        "incomplete_details": details,
        "output": output,
        "usage": usage_fields(completion.usage),
    }


def status_of(reason: FinishReason) -> tuple[str, Json | None]:
    """Return the status of a response with this finish reason, and its `incomplete_details`."""
    why = _INCOMPLETE_REASONS.get(reason)
    return (COMPLETED, None) if why is None else (INCOMPLETE, {"reason": why})


def output_items(
    message: Message, *, status: str = COMPLETED, logprobs: Sequence[Json] = (), make_id: NewId = new_id
) -> list[Json]:
    """Return an answer as output items: those that it keeps from another API, or reasoning, text and calls.

    Args:
        status: The status of the items that are made here.
        logprobs: The log probabilities of the tokens of the text.
    """
    kept = kept_items(message)
    if is_whole(message, kept):
        return kept
    return [*_items(message, kept, status, logprobs, make_id)]


def _items(message: Message, kept: list[Json], status: str, logprobs: Sequence[Json], make_id: NewId) -> Iterator[Json]:
    extra = message.model_extra or {}
    reasoning = [item for item in kept if item.get("type") not in (MESSAGE, CALL)]
    yield from reasoning
    if not reasoning and message.reasoning_content:
        yield reasoning_item(make_id("rs"), message.reasoning_content, status=status)
    if (text := message.text) or not (message.tool_calls or message.reasoning_content):
        phase = {PHASE: extra[PHASE]} if isinstance(extra.get(PHASE), str) else {}
        part = text_part(text, logprobs=logprobs, annotations=extra.get(ANNOTATIONS) or ())
        yield message_item(make_id("msg"), [part], status=status) | phase
    for call in message.tool_calls or ():
        yield call_item(call, id=make_id("fc"), status=status)


def message_item(id: str, parts: Sequence[Json], *, status: str) -> Json:
    """Return a message as an output item. `parts`: as `text_part` makes them."""
    return {"type": MESSAGE, "id": id, "role": "assistant", "status": status, "content": [*parts]}


def text_part(text: str, *, logprobs: Sequence[Json] = (), annotations: Sequence[Json] = ()) -> Json:
    """Return a text as a part of a message."""
    plain: Json = {"type": "output_text", "text": text, "annotations": [*annotations]}
    return {**plain, "logprobs": [*logprobs]} if logprobs else plain


def usage_fields(usage: Usage | None) -> Json | None:
    """Return the field `usage` of a response. Counts that the engine does not report are 0, as the API requires."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "cache_write_tokens": usage.cache_creation_tokens or 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens,
    }
