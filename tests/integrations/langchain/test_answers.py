"""Answers of an engine as LangChain's messages: whole, in parts, and sent back."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessageChunk

from asyncinfer import (
    Completion,
    ContentItem,
    Conversation,
    FinishReason,
    Message,
    ModelParams,
    Role,
    StreamDelta,
    ToolCallDelta,
    Type,
    Usage,
)
from asyncinfer.integrations.langchain import AsyncInferChatModel
from asyncinfer.integrations.langchain.messages import messages_of
from tests.fakes import SimpleEngine
from tests.integrations.delta_engine import DeltaEngine

SIGNED = {"type": "thinking", "thinking": "Hm, Rome.", "signature": "s"}
REDACTED = {"type": "redacted_thinking", "data": "d"}
CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    "extra_content": {"google": {"thought_signature": "g"}},
}
TOKEN = {"token": "I", "logprob": -0.5, "bytes": [73], "top_logprobs": []}
USAGE = Usage(30, 12, 42, cached_tokens=10, cache_creation_tokens=5, reasoning_tokens=4)
METADATA = {"response_id": "r1", "response_model": "big-2", "system_fingerprint": "fp"}
DELTAS = (
    StreamDelta(reasoning_content="Hm, "),
    StreamDelta(reasoning_content="Rome."),
    StreamDelta("I ", logprobs=(TOKEN,)),
    StreamDelta("look.", logprobs=({**TOKEN, "token": "look."},)),
    StreamDelta(tool_call_deltas=(ToolCallDelta(0, "1", "weather", '{"ci'),)),
    StreamDelta(tool_call_deltas=(ToolCallDelta(0, arguments='ty": "Rome"}'),)),
    StreamDelta(
        tool_calls=(CALL,),
        finish_reason=FinishReason.TOOL_CALLS,
        usage=USAGE,
        metadata=METADATA,
        extra={"thinking_blocks": [SIGNED, REDACTED]},
    ),
)
BLOCKS = [
    {"type": "reasoning", "reasoning": "Hm, Rome.", "extras": {"signature": "s"}},
    {"type": "text", "text": "I look."},
    {"type": "tool_call", "id": "1", "name": "weather", "args": {"city": "Rome"}},
]


def model(*deltas: StreamDelta, **fields: Any) -> AsyncInferChatModel:
    return AsyncInferChatModel(engine=DeltaEngine(*deltas), **fields)


async def streamed(chat: AsyncInferChatModel) -> AIMessageChunk:
    full: BaseMessageChunk | None = None
    async for chunk in chat.astream("?"):
        full = chunk if full is None else full + chunk
    assert isinstance(full, AIMessageChunk)
    return full


async def answered(chat: AsyncInferChatModel, how: str) -> AIMessage:
    match how:
        case "ainvoke":
            return await chat.ainvoke("?")
        case "astream":
            return await streamed(chat)
        case _:
            stream = await chat.astream_events("?", version="v3")
            return await stream.output


pytestmark = pytest.mark.filterwarnings("ignore:The method `BaseChatModel._achat_model_stream_v3` is in beta")
EVERY_WAY = pytest.mark.parametrize("how", ["ainvoke", "astream", "astream_events"])


@EVERY_WAY
async def test_answer_has_its_usage(how: str) -> None:
    answer = await answered(model(*DELTAS), how)
    assert answer.usage_metadata == {
        "input_tokens": 30,
        "output_tokens": 12,
        "total_tokens": 42,
        "input_token_details": {"cache_read": 10, "cache_creation": 5},
        "output_token_details": {"reasoning": 4},
    }


@EVERY_WAY
async def test_answer_says_how_it_was_made(how: str) -> None:
    metadata = (await answered(model(*DELTAS), how)).response_metadata
    expected = {"model_provider": "asyncinfer", "model_name": "big-2", "id": "r1", "system_fingerprint": "fp"}
    assert metadata.items() >= {**expected, "finish_reason": "tool_calls"}.items()
    assert "usage" not in metadata


async def test_model_is_named_by_its_engine_if_the_answer_does_not_name_it() -> None:
    answer = await model(StreamDelta("Hi.", finish_reason=FinishReason.STOP)).ainvoke("?")
    assert answer.response_metadata["model_name"] == "big"
    assert answer.usage_metadata is None


@pytest.mark.parametrize("version", ["v0", "v1"])
@EVERY_WAY
async def test_content_blocks_hold_reasoning_text_and_calls_in_order(how: str, version: str) -> None:
    answer = await answered(model(*DELTAS, output_version=version), how)
    blocks = [{key: value for key, value in block.items() if key != "index"} for block in answer.content_blocks]
    if how == "ainvoke" or (how == "astream" and version == "v0"):
        assert blocks == BLOCKS
    else:  # The reasoning has left before its signature comes. The message keeps that elsewhere.
        assert blocks == [{"type": "reasoning", "reasoning": "Hm, Rome."}, *BLOCKS[1:]]


@pytest.mark.parametrize("version", ["v0", "v1"])
@EVERY_WAY
async def test_answer_is_sent_back_as_it_came(how: str, version: str) -> None:
    answer = await answered(model(*DELTAS, output_version=version), how)
    [sent] = messages_of([answer])
    original = Completion.from_deltas(DELTAS).message
    assert sent.model_dump() == original.model_dump()


@EVERY_WAY
async def test_answer_has_its_tool_calls(how: str) -> None:
    answer = await answered(model(*DELTAS), how)
    assert answer.tool_calls == [{"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}]


async def test_pieces_of_tool_calls_arrive_while_the_answer_is_made() -> None:
    chunks = [chunk async for chunk in model(*DELTAS).astream("?")]
    pieces = [(piece["index"], piece["id"], piece["args"]) for chunk in chunks for piece in chunk.tool_call_chunks]
    assert pieces == [(0, "1", '{"ci'), (0, None, 'ty": "Rome"}')]


@EVERY_WAY
async def test_tool_call_with_malformed_arguments_is_kept_apart(how: str) -> None:
    broken = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "Rome"}}
    last = StreamDelta(
        tool_calls=(broken,),
        tool_call_deltas=(ToolCallDelta(0, "1", "weather", "Rome"),),
        finish_reason=FinishReason.TOOL_CALLS,
    )
    answer = await answered(model(last), how)
    assert answer.tool_calls == []
    [invalid] = answer.invalid_tool_calls
    assert (invalid["name"], invalid["args"], invalid["id"]) == ("weather", "Rome", "1")
    [sent] = messages_of([answer])
    assert [call.function.arguments for call in sent.tool_calls or ()] == ["Rome"]


@pytest.mark.parametrize("how", ["ainvoke", "astream"])  # In LangChain's events, each part replaces the one before.
async def test_answer_has_the_log_probabilities_of_its_tokens(how: str) -> None:
    answer = await answered(model(*DELTAS), how)
    assert answer.response_metadata["logprobs"] == {"content": [TOKEN, {**TOKEN, "token": "look."}]}


PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.parametrize(
    ("picture", "block"),
    [
        (
            ContentItem(type=Type.IMAGE_URL, content="https://example.com/a.png"),
            {"type": "image", "url": "https://example.com/a.png"},
        ),
        (
            ContentItem(type=Type.IMAGE_BINARY, binary=PNG),
            {"type": "image", "base64": base64.b64encode(PNG).decode(), "mime_type": "image/png"},
        ),
    ],
    ids=["URL", "data"],
)
async def test_images_in_an_answer_are_content_blocks(picture: ContentItem, block: dict[str, Any]) -> None:
    class Painter(SimpleEngine):
        async def _generate(self, conversation: Conversation) -> Completion:
            items = [ContentItem(type=Type.TEXT, content="Here:"), picture]
            return Completion(Message(role=Role.ASSISTANT, content=items), FinishReason.STOP)

    answer = await AsyncInferChatModel(engine=Painter(ModelParams())).ainvoke("?")
    blocks = [{"type": "text", "text": "Here:"}, block]
    assert cast(Any, answer.content_blocks) == blocks
    [sent] = messages_of([answer])
    assert [item.type for item in sent.content_items] == [Type.TEXT, Type.IMAGE_URL]
