"""The output items of earlier answers, as they may be sent back.

A message keeps items of an earlier answer, and it may come from somebody else. Only the types, the parts and the fields
that answers have are sent: an `item_reference`, or a part with the URL of an image, would make the API read something
that the author of the message may not read.

Source: `ResponseOutputItem` of openai-python 3.57, November 2026.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asyncinfer.dialects.fields import as_object, members_of
from asyncinfer.dialects.openai.responses.output_reader import CALL, CALL_KEYS, MESSAGE, REASONING
from asyncinfer.dialects.sent_back import KeysOfType, known_block

Json = dict[str, Any]
_CALLED = ("id", "call_id", "status", "caller")
_MCP = ("id", "server_label", "name", "arguments")
# The fields of each type. Those of `_PARTS` are lists of parts. Results with files are not among the types.
_FIELDS: Mapping[str, Collection[str]] = {
    MESSAGE: ("id", "role", "status", "phase"),
    CALL: (*_CALLED, "name", "arguments", *CALL_KEYS),
    REASONING: ("id", "status", "encrypted_content"),
    "apply_patch_call": (*_CALLED, "operation"),
    "code_interpreter_call": ("id", "status", "code", "container_id"),
    "compaction": ("id", "encrypted_content"),
    "computer_call": (*_CALLED, "action", "actions", "pending_safety_checks"),
    "custom_tool_call": (*_CALLED, "name", "input", "namespace"),
    "file_search_call": ("id", "status", "queries", "results"),
    "image_generation_call": ("id", "status", "result"),
    "local_shell_call": (*_CALLED, "action"),
    "mcp_approval_request": _MCP,
    "mcp_call": (*_MCP, "status", "approval_request_id", "output", "error"),
    "mcp_list_tools": ("id", "server_label", "tools", "error"),
    "program": ("id", "call_id", "code", "fingerprint"),
    "program_output": ("id", "call_id", "result", "status"),
    "shell_call": (*_CALLED, "action"),
    "tool_search_call": ("id", "call_id", "status", "arguments", "execution"),
    "tool_search_output": ("id", "call_id", "status", "tools", "execution"),
    "web_search_call": ("id", "status", "action"),
}
_TEXTS: KeysOfType = {"output_text": ("text",), "refusal": ("refusal",)}
_PARTS: Mapping[str, Mapping[str, KeysOfType]] = {
    MESSAGE: {"content": _TEXTS},
    REASONING: {"summary": {"summary_text": ("text",)}, "content": {"reasoning_text": ("text",)}},
    "code_interpreter_call": {"outputs": {"logs": ("logs",)}},
}
# The types of the parts that clients send in messages of the assistant.
_GIVEN_TEXTS = frozenset({*_TEXTS, "input_text", "text"})


def sent_back_item(item: Mapping[str, Any]) -> Json | None:
    """Return an item as it is sent back, without nulls, which the API refuses; None if answers have no such items."""
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS or (kind == MESSAGE and item.get("role") != "assistant"):
        return None
    parts = _PARTS.get(kind, {})
    sent: Json = {}
    for name, value in item.items():
        if name in parts and isinstance(value, list):
            sent[name] = [part for one in members_of(value) if (part := _part(as_object(one), parts[name])) is not None]
        elif value is not None and name in ("type", *_FIELDS[kind]):
            sent[name] = value
    return sent


def _part(part: Mapping[str, Any], keys: KeysOfType) -> Json | None:
    known = known_block(part, keys)
    if known is None or part.get("type") != "output_text":
        return known
    return {**known, "annotations": [one for one in members_of(part.get("annotations")) if as_object(one)]}


def is_of_answer(kind: Any) -> bool:
    """Whether answers have items of this type."""
    return isinstance(kind, str) and kind in _FIELDS


def check_parts(message: Mapping[str, Any]) -> None:
    """Check a message of the assistant that a client sends.

    Raises:
        ValueError: It has a part that is not a text.
    """
    content: Any = message.get("content")
    for part in members_of(content) if isinstance(content, list) else []:
        if (kind := as_object(part).get("type")) not in _GIVEN_TEXTS:
            raise ValueError(f"a part of the type {kind!r} is not supported in a message of the assistant")
