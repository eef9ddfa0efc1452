"""Functions of pydantic-ai that are not public, but that its own models use. Written for pydantic-ai 2.68."""

from __future__ import annotations

from pydantic_ai import models
from pydantic_ai._thinking_part import split_content_into_text_and_thinking
from pydantic_ai._utils import is_text_like_media_type
from pydantic_ai.models._tool_choice import resolve_tool_choice

sendable_parts = models._sendable_request_parts  # pyright: ignore[reportPrivateUsage]

__all__ = ["is_text_like_media_type", "resolve_tool_choice", "sendable_parts", "split_content_into_text_and_thinking"]
