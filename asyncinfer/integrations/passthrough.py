"""Passthrough data: what an answer holds for its model only, and must be sent back unchanged with it.

It is in additional keys of the message and of its tool calls, such as Anthropic's `thinking_blocks` and Google's
`extra_content`. Adapters keep these keys in the messages of their framework, without a look at their values. Some
frameworks have fields of their own for the signatures of Anthropic's blocks; the functions here make blocks of them.

Source: `ThinkingBlockParam` and `RedactedThinkingBlockParam` of anthropic 2.13, November 2026.
"""

from __future__ import annotations

from typing import Any

THINKING_BLOCKS = "thinking_blocks"
REDACTED = "redacted_thinking"


def thinking_block(text: str, signature: Any) -> dict[str, Any]:
    """Return Anthropic's block of signed reasoning."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted_block(data: Any) -> dict[str, Any]:
    """Return Anthropic's block of encrypted reasoning."""
    return {"type": REDACTED, "data": data}
