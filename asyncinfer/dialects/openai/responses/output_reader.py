"""Reads output items of the Responses API: messages, function calls, reasoning, and the calls of built-in tools.

One answer may have many items. They become one message: the texts joined, all function calls, and the text of the
reasoning. What the message cannot express is kept in further keys of it, so that it can be sent back:

- `reasoning_items`: the reasoning items, if they come first, and then the text and the calls.
- `output_items`: all items, if there are others, or if they come in another order.
- `phase`: OpenAI's label of a single text; `annotations`: the citations in the texts.
- `refusal`: the text, if it refuses to answer.

Sources: `ResponseOutputItem` of openai-python 3.57 and OpenAI's guide "Reasoning models", November 2026. The key
`reasoning_items` is that of LiteLLM 1.110.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asyncinfer.dialects.answer_text import reasoning_of, refusal_in, text_of
from asyncinfer.dialects.fields import as_count, as_object, checked_depth, given_fields, members_of
from asyncinfer.dialects.finish_reasons import Finish, without_cut_call
from asyncinfer.dialects.tools import read_calls, tool_call
from asyncinfer.types.answer import REFUSAL
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall

Json = dict[str, Any]
Item = Mapping[str, Any]
MESSAGE, CALL, REASONING = "message", "function_call", "reasoning"
REASONING_ITEMS, OUTPUT_ITEMS, PHASE, ANNOTATIONS = "reasoning_items", "output_items", "phase", "annotations"
# Further fields of a function call that are sent back with it.
CALL_KEYS = ("async", "caller", "namespace")
# Between the parts of the reasoning, which are paragraphs.
PARAGRAPH = "\n\n"
_OFFSETS = ("start_index", "end_index")


def answer_message(output: Any, finish: Finish | None = None) -> Message:
    """Return the message of the assistant that output items make.

    Args:
        finish: The finish reason. If the answer was cut off, a last call without arguments is left out.

    Raises:
        TypeError, ValueError: An item cannot be read.
    """
    items = [as_object(item) for item in members_of(output)]
    given = [item for item in items if item.get("type") == CALL]
    calls = without_cut_call(finish, read_calls(_call, given))
    if len(calls) < len(given):
        items = [item for item in items if item is not given[-1]]
    text = "".join(text_of(item.get("content")) for item in messages_in(items))
    return Message(
        role=Role.ASSISTANT,
        content=text if text or not calls else None,
        tool_calls=calls or None,
        reasoning_content=PARAGRAPH.join(reasoning_parts(items)) or None,
        **checked_depth(_kept(items)),
    )


def messages_in(items: Sequence[Item]) -> list[Item]:
    """Return the messages among output items."""
    return [item for item in items if item.get("type") == MESSAGE]


def reasoning_parts(items: Sequence[Item]) -> Iterator[str]:
    """Yield the parts of the reasoning: its texts, or its summaries if an item has no text."""
    for item in items:
        if item.get("type") == REASONING:
            texts = [text for part in members_of(item.get("content")) if (text := reasoning_of(part))]
            yield from texts or [text for part in members_of(item.get("summary")) if (text := reasoning_of(part))]


def _call(item: Item) -> ToolCall:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    id = item.get("call_id") or item.get("id")
    return tool_call({"id": id, "function": function, **given_fields(item, CALL_KEYS)})


def _kept(items: Sequence[Item]) -> Json:
    """Return the further keys of the message."""
    kept: Json = {}
    known = [item for item in items if isinstance(item.get("type"), str)]
    messages, reasoning = messages_in(known), [item for item in known if item["type"] == REASONING]
    if not _is_in_order(known) or len(messages) > 1:
        kept[OUTPUT_ITEMS] = [_compact(item) for item in known]
    elif reasoning:
        kept[REASONING_ITEMS] = [_compact(item) for item in reasoning]
    if len(messages) == 1 and isinstance(phase := messages[0].get("phase"), str):
        kept[PHASE] = phase
    contents = [part for message in messages for part in members_of(message.get("content"))]
    if refusal := refusal_in(contents):
        kept[REFUSAL] = refusal
    if annotations := [*_annotations(messages)]:
        kept[ANNOTATIONS] = annotations
    return kept


def _is_in_order(items: Sequence[Item]) -> bool:
    """Whether the items are reasoning, and then messages, and then calls."""
    order = [REASONING, MESSAGE, CALL]
    kinds = [item["type"] for item in items]
    return all(kind in order for kind in kinds) and kinds == sorted(kinds, key=order.index)


def _compact(item: Item) -> Json:
    """Return an item without nulls, which the API refuses in requests, and without log probabilities."""
    compact = {key: value for key, value in item.items() if value is not None}
    if item["type"] == MESSAGE and isinstance(item.get("content"), list):
        parts = [as_object(part) for part in members_of(item["content"])]
        compact["content"] = [{key: part[key] for key in part if key != "logprobs"} for part in parts]
    return compact


def _annotations(messages: Sequence[Item]) -> Iterator[Json]:
    """Yield the annotations of the texts. Their offsets are changed to places in the joined text."""
    before = 0
    for message in messages:
        for part in members_of(message.get("content")):
            for annotation in members_of(as_object(part).get("annotations")):
                fields = as_object(annotation)
                places = {key: place + before for key in _OFFSETS if (place := as_count(fields.get(key))) is not None}
                if fields:
                    yield {**fields, **places}
            before += len(text_of([part]))
