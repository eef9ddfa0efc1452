"""Passthrough data: parts of an answer that only its model reads. They must be sent back unchanged with the answer.

They are additional keys of the message and of its tool calls, such as Anthropic's `thinking_blocks` and Google's
`extra_content`. Adapters keep these keys in the messages of their framework, and do not read their values. Some
frameworks keep the signatures of Anthropic's blocks in fields of their own. The functions here turn them into blocks.

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
