"""Thoughts of Gemini: the tags that mark them within a text, and their signatures.

The model accepts earlier thoughts only with their signatures. Google's OpenAI-compatible endpoints send a signature
under `extra_content`. Messages from all endpoints store it there, so that a conversation can continue over any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.fields import as_object, object_at

# The tags around a thought within the text. `extra_content` says in addition that there is a thought.
THOUGHT, END_OF_THOUGHT = "<thought>", "</thought>"


def of_google(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields that Google's servers add to OpenAI's format, in a message, a call, or a part of one."""
    return object_at(object_at(message, "extra_content"), "google")


def signed(signature: str) -> dict[str, Any]:
    """Return the field of a message or a call that stores the signature of the thought behind it."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


def sent_back_signature(extra_content: Any) -> dict[str, Any]:
    """Return the signature in the field `extra_content` of an earlier answer, and nothing else of the field."""
    signature = object_at(as_object(extra_content), "google").get("thought_signature")
    return {"google": {"thought_signature": signature}} if isinstance(signature, str) else {}
