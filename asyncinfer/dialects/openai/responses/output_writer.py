"""Writes an answer as the output items and the status of a response of the Responses API. A server needs this.

Source: `Response` and `ResponseOutputItem` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from asyncinfer.dialects.openai.responses.carried_fields import carried_content, carrier_item
from asyncinfer.dialects.openai.responses.input_writer import call_item, is_whole, kept_items, reasoning_item
from asyncinfer.dialects.openai.responses.output_reader import ANNOTATIONS, CALL, MESSAGE, PHASE, REASONING, messages_in
from asyncinfer.dialects.openai.responses.status import COMPLETED, INCOMPLETE
from asyncinfer.types.answer import LOGPROBS, REFUSAL, Completion
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.message import Message
from asyncinfer.types.usage import Usage

Json = dict[str, Any]
# Makes the id of an item from its prefix.
NewId = Callable[[str], str]
_INCOMPLETE_REASONS = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}


def new_id(prefix: str) -> str:
    """Return a new id for an item, such as `msg_...`."""
    return f"{prefix}_{uuid4().hex}"


def answer_fields(completion: Completion, output: Sequence[Json] | None = None) -> Json:
    """Return the fields of a response that contain the answer: `status`, `incomplete_details`, `output` and `usage`.

    Args:
        output: The output items; by default, those that `output_items` makes of the answer.
    """
    status, details = status_of(completion.finish_reason)
    if output is None:
        logprobs = (completion.metadata or {}).get(LOGPROBS, ())
        output = output_items(completion.message, status=status, logprobs=logprobs)
    return {
        "status": status,
        "incomplete_details": details,
        "output": [*output],
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

    The reasoning carries the fields that the items do not have. Without reasoning, a last item carries them.

    Args:
        status: The status of the items that are made here.
        logprobs: The log probabilities of the tokens of the text.
    """
    kept = kept_items(message)
    items = kept if is_whole(message, kept) else [*_items(message, kept, status, logprobs, make_id)]
    if (carried := carried_content(message)) is None:
        return items
    if items and items[0]["type"] == REASONING and not items[0].get("encrypted_content"):
        return [{**items[0], "encrypted_content": carried}, *items[1:]]
    return [*items, carrier_item(make_id("rs"), carried, status)]


def _items(message: Message, kept: list[Json], status: str, logprobs: Sequence[Json], make_id: NewId) -> Iterator[Json]:
    extra = message.model_extra or {}
    reasoning = [item for item in kept if item.get("type") not in (MESSAGE, CALL)]
    yield from reasoning
    if not reasoning and message.reasoning_content:
        yield reasoning_item(make_id("rs"), message.reasoning_content, status=status)
    if (text := message.text) or not (message.tool_calls or message.reasoning_content):
        part = refusal_part(text) if extra.get(REFUSAL) else text_part(text, logprobs=logprobs)
        yield _labelled(message_item(make_id("msg"), [part], status=status), extra)
    for call in message.tool_calls or ():
        yield call_item(call, id=make_id("fc"), status=status)


def labelled_output(streamed: Sequence[Json], message: Message) -> list[Json]:
    """Return the items of a stream, with the citations and the phase of the whole answer.

    Args:
        streamed: The items that the events of the stream made.
        message: The whole answer.
    """
    if len(messages_in(streamed)) != 1:
        return [*streamed]
    return [_labelled(item, message.model_extra or {}) if item["type"] == MESSAGE else item for item in streamed]


def carrier_of(message: Message) -> list[Json]:
    """Return the last items of a stream: one that carries what the events cannot express, or none."""
    carried = carried_content(message, with_items=True)
    return [] if carried is None else [carrier_item(new_id("rs"), carried, COMPLETED)]


def _labelled(item: Json, extra: Mapping[str, Any]) -> Json:
    """Return a message with the phase and the citations of the answer."""
    phase = {PHASE: extra[PHASE]} if isinstance(extra.get(PHASE), str) else {}
    cited = {ANNOTATIONS: [*(extra.get(ANNOTATIONS) or ())]}
    parts = [{**part, **cited} if ANNOTATIONS in part else part for part in item["content"]]
    return {**item, "content": parts, **phase}


def message_item(id: str, parts: Sequence[Json], *, status: str) -> Json:
    """Return a message as an output item. `parts`: as `text_part` makes them."""
    return {"type": MESSAGE, "id": id, "role": "assistant", "status": status, "content": [*parts]}


def text_part(text: str, *, logprobs: Sequence[Json] = ()) -> Json:
    """Return a text as a part of a message."""
    plain: Json = {"type": "output_text", "text": text, "annotations": []}
    return {**plain, "logprobs": [*logprobs]} if logprobs else plain


def refusal_part(text: str) -> Json:
    """Return a refusal as a part of a message."""
    return {"type": "refusal", "refusal": text}


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
