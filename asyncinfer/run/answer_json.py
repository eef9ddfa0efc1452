"""Encodes answers as JSON that can be read again when a run is resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from asyncinfer.errors import InferenceErrorType, RequestError
from asyncinfer.run.rows import Row
from asyncinfer.scratch.format import UNREADABLE, is_readable
from asyncinfer.types.answer import Completion
from asyncinfer.types.conversation import Conversation

log = logging.getLogger("asyncinfer")

UNSAVED = "unsaved_metadata"


def answer_json(row: Row, completion: Completion) -> tuple[bytes, Conversation]:
    """The row's finished conversation, as JSON and as an object.

    Metadata of the answer that JSON cannot hold are left out, and their names are in `metadata["unsaved_metadata"]`.

    Raises:
        RequestError: JSON cannot hold the answer itself.
    """
    try:
        return _checked(row.finished(completion))
    except ValueError as error:
        if not _drop_unsavable(row, completion):
            raise _cannot(error) from None
    try:
        return _checked(row.finished(completion))
    except ValueError as error:
        raise _cannot(error) from None


def conversation_json(conversation: Conversation) -> bytes:
    """The conversation as JSON. Raises as `answer_json` does."""
    try:
        return _checked(conversation)[0]
    except ValueError as error:
        raise _cannot(error) from None


def _checked(conversation: Conversation) -> tuple[bytes, Conversation]:
    text = conversation.to_json_bytes()
    if not is_readable(text):
        raise ValueError(UNREADABLE)
    return text, conversation


def _drop_unsavable(row: Row, completion: Completion) -> bool:
    """Remove metadata that cannot be saved from the answer. Returns whether there were any."""
    given: Mapping[str, Any] = completion.metadata or {}
    unsaved = sorted(name for name, value in given.items() if not _is_savable(value))
    if not unsaved:
        return False
    log.warning("row %d: metadata that JSON cannot hold are not saved: %s", row.index, ", ".join(unsaved))
    completion.metadata = {name: value for name, value in given.items() if name not in unsaved} | {UNSAVED: unsaved}
    return True


def _is_savable(value: Any) -> bool:
    try:
        # At the same depth as in a conversation.
        return is_readable(to_json({"metadata": {"name": value}}, inf_nan_mode="constants"))
    except ValueError:
        return False


def _cannot(error: ValueError) -> RequestError:
    return RequestError(f"the answer cannot be saved as JSON: {error}", error_type=InferenceErrorType.RUNTIME)
