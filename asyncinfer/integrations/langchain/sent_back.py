"""What an answer holds for its model only, and must be sent back with it: signed reasoning, and signatures of calls.

`AIMessage.additional_kwargs` keeps it: the text of the reasoning in `reasoning_content`, where LangChain looks for it,
and everything else in `asyncinfer`. Messages whose reasoning has signatures in `extras`, as those of LangChain's
Anthropic model have, are understood too.

Source: `langchain_core.messages.block_translators.anthropic` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from langchain_core.messages import AIMessage

from asyncinfer.types.answer import StreamDelta
from asyncinfer.types.conversation import Message

Block = Mapping[str, Any]
REASONING, OWN = "reasoning_content", "asyncinfer"
THINKING = "thinking_blocks"


class SentBack(NamedTuple):
    """What is sent back with an answer.

    Attributes:
        reasoning: The text of the reasoning.
        fields: Additional fields of the message.
        calls: Additional fields of tool calls, by the id of the call.
    """

    reasoning: str
    fields: Mapping[str, Any]
    calls: Mapping[str, Any]


def kept_of_message(message: Message) -> dict[str, Any]:
    """Return the `additional_kwargs` of an answer."""
    calls = {call.id: call.model_extra for call in message.tool_calls or () if call.model_extra}
    return _kept(message.reasoning_content, message.model_extra, calls)


def kept_of_delta(delta: StreamDelta) -> dict[str, Any]:
    """Return the `additional_kwargs` of a part of an answer."""
    calls = {call["id"]: extra for call in delta.tool_calls if (extra := _extra(call))}
    return _kept(delta.reasoning_content, delta.extra, calls)


def _extra(call: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name not in ("id", "type", "function")}


def _kept(reasoning: str | None, fields: Mapping[str, Any] | None, calls: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: dict(value) for name, value in (("fields", fields), ("tool_calls", calls)) if value}
    return {**({REASONING: reasoning} if reasoning else {}), **({OWN: own} if own else {})}


def sent_back(message: AIMessage, blocks: Sequence[Block]) -> SentBack:
    """Return what is sent back with an earlier answer.

    Args:
        blocks: The content blocks of the message.
    """
    own = cast(Mapping[str, Any], message.additional_kwargs.get(OWN) or {})
    fields: Mapping[str, Any] = own.get("fields") or {}
    if not fields and (thinking := [*_thinking(blocks)]):
        fields = {THINKING: thinking}
    reasoning = message.additional_kwargs.get(REASONING)
    text = reasoning if isinstance(reasoning, str) else "".join(_reasoning(block) for block in blocks)
    return SentBack(text, fields, own.get("tool_calls") or {})


def _reasoning(block: Block) -> str:
    match block.get("type"):
        case "reasoning":
            return str(block.get("reasoning") or "")
        case "thinking":
            return str(block.get("thinking") or "")
        case _:
            return ""


def _thinking(blocks: Iterable[Block]) -> Iterable[dict[str, Any]]:
    """Yield Anthropic's blocks of signed reasoning."""
    for block in blocks:
        signature = block.get("signature") or cast(Block, block.get("extras") or {}).get("signature")
        if block.get("type") == "redacted_thinking":
            yield {"type": "redacted_thinking", "data": block.get("data")}
        elif signature and (text := _reasoning(block)):
            yield {"type": "thinking", "thinking": text, "signature": signature}


def reasoning_blocks(message: AIMessage) -> list[dict[str, Any]]:
    """Return the reasoning of an answer as content blocks, with the signatures of Anthropic's in `extras`."""
    text = message.additional_kwargs.get(REASONING)
    if not isinstance(text, str) or not text:
        return []
    own = cast(Mapping[str, Any], message.additional_kwargs.get(OWN) or {})
    thinking = cast(list[Block], cast(Block, own.get("fields") or {}).get(THINKING) or [])
    signed = [block for block in thinking if block.get("signature") and block.get("thinking")]
    if "".join(str(block["thinking"]) for block in signed) != text:
        return [{"type": "reasoning", "reasoning": text}]
    return [
        {"type": "reasoning", "reasoning": block["thinking"], "extras": {"signature": block["signature"]}}
        for block in signed
    ]
