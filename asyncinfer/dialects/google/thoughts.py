"""Thoughts of Gemini's: how they are marked within a text, and signed so that the model takes them back.

Google's OpenAI-compatible endpoints put the signatures under `extra_content`. There messages keep them, of whichever
endpoint, so that a conversation can go on over either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncinfer.dialects.fields import group

# How a thought is marked within the text, beside saying so under `extra_content`.
THOUGHT, END_OF_THOUGHT = "<thought>", "</thought>"


def of_google(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Google's servers say beyond OpenAI's fields, of a message, a call, or a part of one."""
    return group(group(message, "extra_content"), "google")


def signed(signature: str) -> dict[str, Any]:
    """The key of a message, or a call, that keeps the signature of the thought behind it."""
    return {"extra_content": {"google": {"thought_signature": signature}}}
