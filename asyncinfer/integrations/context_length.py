"""Recognises a prompt that does not fit into the context of a model."""

from __future__ import annotations

# How APIs and local engines say it.
_PHRASES = ("context length", "context window", "prompt is too long", "input token count", "the context holds")


def is_context_overflow(error: Exception) -> bool:
    """Whether the text of an engine's error says that the prompt is too long for the model."""
    text = str(error).lower()
    return any(phrase in text for phrase in _PHRASES)
