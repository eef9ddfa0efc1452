"""Turns the answers of an engine into LangChain's messages and chunks.

Source: `langchain_core.messages.ai` of langchain-core 1.8, November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from asyncinfer.integrations.langchain.content import blocks_to_show
from asyncinfer.integrations.langchain.passthrough import kwargs_of_delta, kwargs_of_message, reasoning_blocks
from asyncinfer.types.answer import LOGPROBS
from asyncinfer.types.conversation import Conversation
from asyncinfer.types.message import Message
from asyncinfer.types.stream import StreamDelta

# Under this name LangChain finds the function that turns an answer into content blocks.
PROVIDER = "asyncinfer"
_ELSEWHERE = frozenset({"usage", "finish_reason", "response_id", "response_model", LOGPROBS})


def result_of(answered: Conversation, model_name: str) -> ChatResult:
    """Return the last message of an answered conversation as the result of a chat model."""
    metadata = answered.metadata
    message = _message(answered.messages[-1], metadata, model_name)
    info = _generation_info(metadata.get("finish_reason"), metadata.get(LOGPROBS))
    return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])


def chunk_of(delta: StreamDelta, model_name: str) -> ChatGenerationChunk:
    """Return a part of an answer. Only the last one has usage, finish reason and `response_metadata`."""
    is_last = delta.finish_reason is not None
    message = AIMessageChunk(
        content=delta.content,
        additional_kwargs=kwargs_of_delta(delta),
        response_metadata=_response_metadata(delta.metadata or {}, model_name)
        if is_last
        else {"model_provider": PROVIDER},
        usage_metadata=_usage(delta.usage.to_dict()) if delta.usage is not None else None,
        tool_call_chunks=_call_chunks(delta),
    )
    reason = delta.finish_reason.value if delta.finish_reason is not None else None
    return ChatGenerationChunk(message=message, generation_info=_generation_info(reason, [*delta.logprobs]))


def _message(answer: Message, metadata: Mapping[str, Any], model_name: str) -> AIMessage:
    usage = metadata.get("usage")
    calls, broken = _calls(answer)
    content = answer.content or ""
    return AIMessage(
        content=content if isinstance(content, str) else [*blocks_to_show(content)],
        additional_kwargs=kwargs_of_message(answer),
        response_metadata=_response_metadata(metadata, model_name),
        usage_metadata=_usage(usage) if usage is not None else None,
        tool_calls=calls,
        invalid_tool_calls=broken,
    )


def _response_metadata(metadata: Mapping[str, Any], model_name: str) -> dict[str, Any]:
    found = {name: value for name, value in metadata.items() if name not in _ELSEWHERE}
    named = {"id": metadata["response_id"]} if metadata.get("response_id") else {}
    return {
        "model_provider": PROVIDER,
        "model_name": metadata.get("response_model") or model_name,
        **named,
        **found,
    }


def _generation_info(finish_reason: str | None, logprobs: list[Any] | None) -> dict[str, Any] | None:
    """Return the data that LangChain adds to `response_metadata`. Log probabilities have OpenAI's format."""
    info: dict[str, Any] = {"finish_reason": finish_reason} if finish_reason else {}
    return {**info, "logprobs": {"content": logprobs}} if logprobs else info or None


def _usage(counts: Mapping[str, int]) -> UsageMetadata:
    usage = UsageMetadata(
        input_tokens=counts["prompt_tokens"],
        output_tokens=counts["completion_tokens"],
        total_tokens=counts["total_tokens"],
    )
    of_input = InputTokenDetails()
    if "cached_tokens" in counts:
        of_input["cache_read"] = counts["cached_tokens"]
    if "cache_creation_tokens" in counts:
        of_input["cache_creation"] = counts["cache_creation_tokens"]
    if of_input:
        usage["input_token_details"] = of_input
    if "reasoning_tokens" in counts:
        usage["output_token_details"] = OutputTokenDetails(reasoning=counts["reasoning_tokens"])
    return usage


def _calls(answer: Message) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return the tool calls, and those whose arguments are not a JSON object."""
    calls: list[ToolCall] = []
    broken: list[InvalidToolCall] = []
    for call in answer.tool_calls or ():
        name, arguments = call.function.name, call.function.arguments
        try:
            calls.append(tool_call(name=name, args=call.function.get_arguments_dict(), id=call.id))
        except ValueError as error:
            broken.append(invalid_tool_call(name=name, args=arguments, id=call.id, error=str(error)))
    return calls, broken


def _call_chunks(delta: StreamDelta) -> list[ToolCallChunk]:
    return [
        tool_call_chunk(name=piece.name or None, args=piece.arguments, id=piece.id or None, index=piece.index)
        for piece in delta.tool_call_deltas
    ]


def _content_blocks(message: AIMessage) -> list[Any]:
    """Return the content blocks of an answer: its reasoning, its content, and its tool calls."""
    content = message.content
    texts = [{"type": "text", "text": content}] if isinstance(content, str) and content else [*content]
    return [*reasoning_blocks(message), *texts, *message.tool_calls]


def _content_blocks_of_chunk(chunk: AIMessageChunk) -> list[Any]:
    """Return the content blocks of a part of an answer. Pieces of tool calls stay pieces until the answer is whole."""
    if chunk.chunk_position == "last":
        return _content_blocks(chunk)
    blocks = _content_blocks(chunk.model_copy(update={"tool_calls": []}))
    # LangChain could take an index that is a number for the index of a text.
    pieces = [
        {**piece, "type": "tool_call_chunk", "index": f"lc_call_{piece['index']}"} for piece in chunk.tool_call_chunks
    ]
    return [*blocks, *pieces]


register_translator(PROVIDER, _content_blocks, _content_blocks_of_chunk)
