"""The reasoning and the passthrough data of an answer, in `AIMessage.additional_kwargs`.

The text of the reasoning is in `reasoning_content`, where LangChain looks for it, and the passthrough data in
`asyncinfer`. The messages of LangChain's Anthropic model are read too: they have signatures in the `extras` of their
reasoning.

Source: `langchain_core.messages.block_translators.anthropic` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from langchain_core.messages import AIMessage

from asyncinfer.integrations.passthrough import (
    REDACTED,
    THINKING_BLOCKS,
    redacted_block,
    thinking_block,
)
from asyncinfer.types.message import Message
from asyncinfer.types.stream import StreamDelta
from asyncinfer.types.tools import additional_keys

Block = Mapping[str, Any]
_REASONING, _PASSTHROUGH = "reasoning_content", "asyncinfer"


class Passthrough(NamedTuple):
    """What is sent back with an answer.

    Attributes:
        reasoning: The text of the reasoning.
        message: Additional keys of the message.
        calls: Additional keys of tool calls, by the id of the call.
    """

    reasoning: str
    message: Mapping[str, Any]
    calls: Mapping[str, Any]


def kwargs_of_message(message: Message) -> dict[str, Any]:
    """Return the `additional_kwargs` of an answer."""
    calls = {call.id: call.model_extra for call in message.tool_calls or () if call.model_extra}
    return _kwargs(message.reasoning_content, message.model_extra, calls)


def kwargs_of_delta(delta: StreamDelta) -> dict[str, Any]:
    """Return the `additional_kwargs` of a part of an answer."""
    calls = {call["id"]: extra for call in delta.tool_calls if (extra := additional_keys(call))}
    return _kwargs(delta.reasoning_content, delta.extra, calls)


def _kwargs(reasoning: str | None, message: Mapping[str, Any] | None, calls: Mapping[str, Any]) -> dict[str, Any]:
    passthrough = {name: dict(value) for name, value in (("message", message), ("tool_calls", calls)) if value}
    return {
        **({_REASONING: reasoning} if reasoning else {}),
        **({_PASSTHROUGH: passthrough} if passthrough else {}),
    }


def passthrough_of(message: AIMessage, blocks: Sequence[Block]) -> Passthrough:
    """Return the reasoning and the passthrough data of an earlier answer.

    Args:
        blocks: The content blocks of the message.
    """
    given = _given(message)
    of_message: Mapping[str, Any] = given.get("message") or {}
    if not of_message and (thinking := [*_thinking_blocks(blocks)]):
        of_message = {THINKING_BLOCKS: thinking}
    reasoning = message.additional_kwargs.get(_REASONING)
    text = reasoning if isinstance(reasoning, str) else "".join(_reasoning(block) for block in blocks)
    return Passthrough(text, of_message, given.get("tool_calls") or {})


def _given(message: AIMessage) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], message.additional_kwargs.get(_PASSTHROUGH) or {})


def _reasoning(block: Block) -> str:
    match block.get("type"):
        case "reasoning":
            return str(block.get("reasoning") or "")
        case "thinking":
            return str(block.get("thinking") or "")
        case _:
            return ""


def _thinking_blocks(blocks: Iterable[Block]) -> Iterable[dict[str, Any]]:
    """Yield Anthropic's blocks of signed reasoning."""
    for block in blocks:
        signature = block.get("signature") or cast(Block, block.get("extras") or {}).get("signature")
        if block.get("type") == REDACTED:
            yield redacted_block(block.get("data"))
        elif signature and (text := _reasoning(block)):
            yield thinking_block(text, signature)


def reasoning_blocks(message: AIMessage) -> list[dict[str, Any]]:
    """Return the reasoning of an answer as content blocks, with the signatures of Anthropic's in `extras`."""
    text = message.additional_kwargs.get(_REASONING)
    if not isinstance(text, str) or not text:
        return []
    thinking = cast(list[Block], cast(Block, _given(message).get("message") or {}).get(THINKING_BLOCKS) or [])
    signed = [block for block in thinking if block.get("signature") and block.get("thinking")]
    if "".join(str(block["thinking"]) for block in signed) != text:
        return [{"type": "reasoning", "reasoning": text}]
    return [
        {"type": "reasoning", "reasoning": block["thinking"], "extras": {"signature": block["signature"]}}
        for block in signed
    ]
