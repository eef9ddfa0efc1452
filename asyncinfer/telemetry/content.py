"""Messages as the conventions write them: JSON, with a list of parts for each message.

The schemas are `gen-ai-input-messages.json` and `gen-ai-output-messages.json` of the conventions. Bytes of images and
documents are not included, only their kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from asyncinfer.telemetry.attributes import (
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    SYSTEM_INSTRUCTIONS,
    TOOL_DEFINITIONS,
    Attributes,
)
from asyncinfer.types.content import ContentItem
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.finish_reason import FinishReason
from asyncinfer.types.masking import mask_options
from asyncinfer.types.message import Message, Role

# The values of the environment variable: those of opentelemetry-util-genai 0.2, and `true` of older instrumentations.
_CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_CAPTURE_VALUES = frozenset({"span_only", "span_and_event", "true"})


def is_captured() -> bool:
    """Whether the environment asks for messages in spans. Events are not supported."""
    return os.environ.get(_CAPTURE_VARIABLE, "").strip().lower() in _CAPTURE_VALUES


def input_attributes(conversation: Conversation) -> Attributes:
    """The messages and the tools of a request."""
    system = [part for message in conversation.messages if message.role == Role.SYSTEM for part in _parts(message)]
    others = [_message(message) for message in conversation.messages if message.role != Role.SYSTEM]
    attributes = {INPUT_MESSAGES: _json(others)}
    if system:
        attributes[SYSTEM_INSTRUCTIONS] = _json(system)
    if conversation.tools:
        attributes[TOOL_DEFINITIONS] = _json([tool.model_dump(mode="json") for tool in conversation.tools])
    return attributes


def output_attributes(answer: Message, reason: FinishReason) -> Attributes:
    """The answer."""
    finish = "tool_call" if reason is FinishReason.TOOL_CALLS else reason.value
    return {OUTPUT_MESSAGES: _json([{**_message(answer), "finish_reason": finish}])}


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role.value, "parts": list(_parts(message))}


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    if message.reasoning_content:
        yield {"type": "reasoning", "content": message.reasoning_content}
    if message.role == Role.TOOL:
        text = message.compute_flattened_text_content()
        yield {"type": "tool_call_response", "id": message.tool_call_id, "response": text}
        return
    yield from (_item(item) for item in message.content_items)
    for call in message.tool_calls or ():
        yield {
            "type": "tool_call",
            "id": call.id,
            "name": call.function.name,
            "arguments": call.function.arguments,
        }


def _item(item: ContentItem) -> dict[str, Any]:
    if item.is_text():
        return {"type": "text", "content": item.content or ""}
    modality = "image" if "image" in item.type.value else "document"
    url = item.content or ""
    if url.startswith(("http://", "https://")):
        return {"type": "uri", "modality": modality, "uri": mask_options(url)}
    return {"type": "blob", "modality": modality}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
