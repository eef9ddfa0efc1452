"""What Amazon Bedrock's Converse answers.

Written after the Bedrock API reference ("Converse", response) and botocore 1.44's service model `bedrock-runtime`
2023-09-30, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from asyncinfer.dialects.fields import checked_depth, count, group
from asyncinfer.dialects.finish_reasons import Finish, finish_in, metadata_of, reason_of, without_cut_call
from asyncinfer.dialects.http import HttpResponse, json_object, no_answer
from asyncinfer.dialects.tools import read_calls, tool_call
from asyncinfer.types.conversation import Message, Role
from asyncinfer.types.results import Completion, Usage
from asyncinfer.types.tools import ToolCall


def decode(response: HttpResponse) -> Completion:
    """The answer in a response.

    Raises:
        RequestError: it holds none.
    """
    data = json_object(response)
    try:
        finish = finish_in(data.get("stopReason"))
        message = answer(data["output"]["message"]["content"], finish)
        reason = reason_of(finish, message.tool_calls)
        return Completion(message, reason, usage_in(data.get("usage")), metadata_of(finish))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise no_answer(response) from None


def answer(content: Iterable[Mapping[str, Any]], finish: Finish | None = None) -> Message:
    """The assistant's message. Reasoning that the model signed, or hid, is kept whole in `thinking_blocks`, to be
    sent back with it; tools that Bedrock ran itself are left out.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it cannot be read.
    """
    texts, thoughts = list[str](), list[str]()
    uses, passthrough = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for block in content:
        if "text" in block:
            texts.append(block["text"])
        elif "citationsContent" in block:
            texts += [part["text"] for part in block["citationsContent"].get("content") or ()]
        elif "toolUse" in block and block["toolUse"].get("type") is None:
            uses.append(block["toolUse"])
        elif "reasoningContent" in block:
            told: Mapping[str, Any] = block["reasoningContent"]
            text = group(told, "reasoningText")
            thoughts.append(text.get("text") or "")
            passthrough += [block] if text.get("signature") or "redactedContent" in told else []
    calls = without_cut_call(finish, read_calls(use, uses))
    extra: dict[str, Any] = {"thinking_blocks": checked_depth(passthrough)} if passthrough else {}
    return Message(
        role=Role.ASSISTANT,
        content="".join(texts) if texts or not calls else None,
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
        **extra,
    )


def use(block: Mapping[str, Any]) -> ToolCall:
    """The tool call of a block; its arguments may be JSON text already; there may be none.

    Raises:
        ValueError: it names no tool, or cannot be read.
    """
    given = block.get("input")
    arguments: Any = {} if given in (None, "", "null") else given
    function: dict[str, Any] = {"name": block.get("name"), "arguments": arguments}
    return tool_call({"id": block.get("toolUseId"), "function": function})


def usage_in(usage: Any) -> Usage | None:
    """The tokens that an answer used. Bedrock counts cached tokens, read or written, separately from the input."""
    if not isinstance(usage, dict) or not usage:
        return None
    told = cast(Mapping[str, Any], usage)
    read, written = count(told, "cacheReadInputTokens"), count(told, "cacheWriteInputTokens")
    prompt = (count(told, "inputTokens") or 0) + (read or 0) + (written or 0)
    completion = count(told, "outputTokens") or 0
    return Usage(prompt, completion, prompt + completion, cached_tokens=read, cache_creation_tokens=written)
