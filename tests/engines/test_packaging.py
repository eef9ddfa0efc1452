"""Over a connection: the body decides whether a response is a stream or a whole answer, not its media type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncinfer import (
    Conversation,
    GenerationParams,
    InferenceConfig,
    ModelParams,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    StreamDelta,
)
from tests.dialects.openai.test_request import answer
from tests.dialects.openai.test_stream import STREAMS, as_bytes
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder

WHOLE = json.dumps(answer(content="Hello.", reasoning_content="Hm.")).encode()
STREAM = as_bytes(*STREAMS["text"], "[DONE]")
MEDIA_TYPES = ["text/event-stream", "application/json", "text/plain; charset=utf-8", "application/octet-stream", ""]
every_media_type = pytest.mark.parametrize("media_type", MEDIA_TYPES)


@pytest.fixture
async def api() -> AsyncIterator[Recorder]:
    async with Recorder() as api:
        yield api


def engine_for(api: Recorder, **generation: Any) -> RemoteInferenceEngine:
    return RemoteInferenceEngine(
        ModelParams(model_name="m"),
        generation_params=GenerationParams(**generation),
        remote_params=RemoteParams(api_url=api.url),
    )


async def streamed(api: Recorder) -> list[StreamDelta]:
    async with engine_for(api) as engine, engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
        return [delta async for delta in deltas]


async def answered(api: Recorder, config: InferenceConfig = ONE_ATTEMPT, **generation: Any) -> Conversation:
    async with engine_for(api, **generation) as engine:
        [conversation] = await engine.ainfer([question("Hello?")], config)
        return conversation


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@every_media_type
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_stream_is_read_whatever_its_media_type(media_type: str, size: int, api: Recorder) -> None:
    api.streams(*pieces(STREAM, size), media_type=media_type)
    *deltas, last = await streamed(api)
    assert [delta.content for delta in deltas] == ["Hel", "lo."]
    assert last.usage is not None


@every_media_type
@pytest.mark.parametrize("before", [b"", b"\n \n", b"\xef\xbb\xbf"])
async def test_whole_answer_is_delivered_as_deltas(media_type: str, before: bytes, api: Recorder) -> None:
    api.streams(*pieces(before + WHOLE, 50), media_type=media_type)
    thought, last = await streamed(api)
    assert (thought.reasoning_content, last.content, last.finish_reason) == ("Hm.", "Hello.", "stop")


@every_media_type
async def test_stream_that_was_not_requested_is_one_answer(media_type: str, api: Recorder) -> None:
    api.streams(STREAM, media_type=media_type)
    conversation = await answered(api)
    assert conversation.messages[-1].content == "Hello."
    assert conversation.metadata["usage"]["total_tokens"] == 7


async def test_model_that_only_streams_can_be_used_in_runs(api: Recorder) -> None:
    api.streams(STREAM)
    conversation = await answered(api, extra_body={"stream": True})
    assert conversation.messages[-1].content == "Hello."
    assert api.sent[0].body["stream"] is True


async def test_answer_with_the_status_201_is_an_answer(api: Recorder) -> None:
    """NestJS answers POST requests with 201."""
    api.answers(answer(content="Hello."), 201)
    assert (await answered(api)).messages[-1].content == "Hello."
    assert [delta.content for delta in await streamed(api)] == ["Hello."]


async def test_truncated_stream_that_was_not_requested_is_no_answer(api: Recorder) -> None:
    api.streams(STREAM[:200])
    async with engine_for(api) as engine:
        with pytest.raises(RequestError, match="broke off"):
            await engine.agenerate(question("Hello?"), ONE_ATTEMPT)


async def test_whole_answer_beyond_the_limit_is_refused(api: Recorder) -> None:
    api.streams(*pieces(json.dumps(answer(content="x" * 30_000)).encode(), 1000))
    remote_params = RemoteParams(api_url=api.url, max_response_bytes=20_000)
    async with RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=remote_params) as engine:
        with pytest.raises(RequestError, match="larger than 20,000 bytes"):
            async with engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
                assert [delta async for delta in deltas] == []
