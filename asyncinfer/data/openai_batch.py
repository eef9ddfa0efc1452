"""The rows of OpenAI's batch files: `{"custom_id": ..., "method": "POST", "url": ..., "body": {...}}`.

Source: OpenAI's API reference, "The request input object" of the Batch API; November 2026.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from asyncinfer.errors import InputError
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.validation import validation_message

log = logging.getLogger("asyncinfer")

_CHAT = "/v1/chat/completions"
_USED = frozenset(["messages", "tools", "model"])
_warned = set[frozenset[str]]()


def conversation_of_request(values: Mapping[str, Any]) -> Conversation:
    """Return the conversation of one request for a chat. `custom_id` becomes its id.

    The settings of the run apply; those in the request are ignored, with one warning.

    Raises:
        InputError: It is not a request for a chat.
    """
    body = values.get("body")
    if not isinstance(body, dict) or "custom_id" not in values:
        raise InputError("should have `custom_id` and `body`, as OpenAI's batch files have")
    url = str(values.get("url", _CHAT))
    if url != _CHAT:
        raise InputError(f"the request is for {url}; only requests for {_CHAT} can be answered")
    fields = cast(dict[str, Any], body)
    _warn_of_settings(fields)
    data = {"conversation_id": str(values["custom_id"]), "messages": _messages(fields)}
    try:
        return Conversation.from_dict(data | ({"tools": fields["tools"]} if fields.get("tools") else {}))
    except ValidationError as error:
        raise InputError(validation_message(error, "body")) from None


def _messages(fields: Mapping[str, Any]) -> Any:
    """The messages. `developer` is the newer name of the role `system`."""
    messages = fields.get("messages")
    if not isinstance(messages, list):
        raise InputError("body.messages should be a list of messages")
    return [_message(message) for message in cast(list[Any], messages)]


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    fields = cast(dict[str, Any], message)
    return {**fields, "role": "system"} if fields.get("role") == "developer" else fields


def _warn_of_settings(fields: Mapping[str, Any]) -> None:
    ignored = frozenset(fields) - _USED
    if ignored and ignored not in _warned and len(_warned) < 20:
        _warned.add(ignored)
        names = ", ".join(sorted(ignored))
        log.warning("requests of the batch file set %s: these are ignored; set them under `generation`", names)
