"""Decodes responses of Amazon Bedrock's Converse.

Sources: the Bedrock API reference ("Converse", response) and botocore 1.44's service model `bedrock-runtime`
2023-09-30, November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from asyncinfer.dialects.answer_text import json_of_unread, reasoning_of, text_in
from asyncinfer.dialects.fields import (
    as_list,
    as_object,
    checked_depth,
    count_at,
    counted,
    members_of,
    object_at,
)
from asyncinfer.dialects.finish_reasons import Finish, finish_in, reason_of, without_cut_call
from asyncinfer.dialects.http import json_object, missing_answer
from asyncinfer.dialects.provider_fields import provider_fields
from asyncinfer.dialects.response_metadata import description, metadata_of
from asyncinfer.dialects.tools import read_calls, tool_call
from asyncinfer.types.answer import Completion
from asyncinfer.types.http import HttpResponse
from asyncinfer.types.message import Message, Role
from asyncinfer.types.tools import ToolCall
from asyncinfer.types.usage import Usage


def decode(response: HttpResponse) -> Completion:
    """Return the answer in a response.

    Raises:
        RequestError: The response has no answer.
    """
    data = json_object(response)
    try:
        finish = finish_in(data.get("stopReason"))
        blocks = _blocks_in(data["output"]["message"]["content"], finish)
        message = answer(blocks, finish)
        reason = reason_of(finish, message.tool_calls)
        cited = [object_at(block, "citationsContent").get("citations") for block in blocks]
        citations = [one for listed in cited if listed for one in members_of(listed)]
        kept = provider_fields(
            (data, OF_RESPONSE), (object_at(data, "trace"), OF_TRACE), ({"citations": citations}, OF_CONTENT)
        )
        metadata = metadata_of(finish, reason, described_by(data) | kept)
        return Completion(message, reason, usage_in(data.get("usage")), metadata)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise missing_answer(response) from None


# What is kept besides the answer: fields of `ConverseResponse`, and the citations in the texts.
OF_RESPONSE = frozenset({"additionalModelResponseFields", "performanceConfig"})
OF_TRACE = frozenset({"guardrail"})
OF_CONTENT = frozenset({"citations"})


def described_by(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a response, or the last event of a stream, says about itself.

    Bedrock names the model only if a prompt router chose it.
    """
    router = object_at(object_at(data, "trace"), "promptRouter")
    named = description(router, {"invokedModelId": "response_model"})
    return named | description(object_at(data, "serviceTier"), {"type": "service_tier"})


def _blocks_in(content: Any, finish: Finish | None) -> list[Mapping[str, Any]]:
    """Return the blocks of a message, without null members. A block may be only a text, and may come without a list.

    Raises:
        ValueError: There is neither content nor a finish reason.
        AttributeError: The content is neither a list nor a block nor a text.
    """
    if content is None and finish is None:
        raise ValueError("no content")
    given = [{"text": block} if isinstance(block, str) else block for block in members_of(content)]
    return [{name: one for name, one in block.items() if one is not None} for block in given]


def answer(content: Iterable[Mapping[str, Any]], finish: Finish | None = None) -> Message:
    """Return the message of the assistant.

    A block has one of several members. Gateways send the others as null.

    Signed or redacted reasoning is kept unchanged in `thinking_blocks`, to be sent back with the message. Calls of
    tools that Bedrock ran itself are left out.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: The content cannot be read.
    """
    texts, thoughts, unread = list[str](), list[str](), list[Mapping[str, Any]]()
    uses, passthrough = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for block in content:
        if "text" in block:
            texts.append(text_in(block["text"]))
        elif "citationsContent" in block:
            texts.append(text_in(block["citationsContent"].get("content")))
        elif "toolUse" in block or "toolResult" in block:
            use = object_at(block, "toolUse")
            uses += [use] if use and use.get("type") is None else []
        elif "reasoningContent" in block:
            reasoning = object_at(block, "reasoningContent")
            text = object_at(reasoning, "reasoningText")
            thoughts.append(reasoning_of(reasoning.get("reasoningText") or block["reasoningContent"]))
            passthrough += [block] if text.get("signature") or "redactedContent" in reasoning else []
        else:
            unread.append(block)
    calls = without_cut_call(finish, read_calls(tool_use_call, uses))
    if not calls and not passthrough and not any(texts) and not any(thoughts):
        texts.append(json_of_unread(unread))
    extra: dict[str, Any] = {"thinking_blocks": checked_depth(passthrough)} if passthrough else {}
    return Message(
        role=Role.ASSISTANT,
        content="".join(texts) if texts or not calls else None,
        tool_calls=calls or None,
        reasoning_content="".join(thoughts) or None,
        **extra,
    )


def tool_use_call(block: Mapping[str, Any]) -> ToolCall:
    """Return the tool call of a `toolUse` block. The arguments may be JSON text, or missing.

    Raises:
        ValueError: The block names no tool, or cannot be read.
    """
    given = block.get("input")
    arguments: Any = {} if given in (None, "", "null") else given
    function: dict[str, Any] = {"name": block.get("name"), "arguments": arguments}
    return tool_call({"id": block.get("toolUseId"), "function": function})


def usage_in(usage: Any) -> Usage | None:
    """Return the tokens that a response reports. Bedrock counts cached tokens separately from the input."""
    if not isinstance(usage, dict) or not usage:
        return None
    counts = cast(Mapping[str, Any], usage)
    read, written = count_at(counts, "cacheReadInputTokens"), count_at(counts, "cacheWriteInputTokens")
    prompt = (count_at(counts, "inputTokens") or 0) + (read or 0) + (written or 0)
    completion = count_at(counts, "outputTokens") or 0
    details = map(as_object, as_list(counts.get("cacheDetails")))
    written_for = {str(one.get("ttl")): count_at(one, "inputTokens") for one in details}
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=read,
        cache_creation_tokens=written,
        details=counted(cache_write_1h_tokens=written_for.get("1h")),
    )


def usage_of(data: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a response reports, whether it has an answer or not."""
    return usage_in(data.get("usage"))
