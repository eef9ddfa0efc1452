"""Errors of engines as the exceptions of pydantic-ai, and requests that are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    UserError,
)
from pydantic_ai.messages import ModelRequest, PartStartEvent
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.test import TestModel as AnsweringModel

from asyncinfer import InferenceErrorType, RequestError
from asyncinfer.integrations.pydantic_ai import AsyncInferModel
from tests.engines.test_remote import engine_at
from tests.fakes import FakeEngine
from tests.faults import FaultServer, hang_up, reset, sse, stall, status

TOO_LONG = "This model's maximum context length is 10 tokens, and your messages have 12."


@pytest.mark.parametrize(
    ("code", "message", "category"),
    [
        (400, "no such field", ModelRequestRejectedError),
        (400, TOO_LONG, ModelContextWindowExceededError),
        (401, "wrong key", ModelAuthenticationError),
        (404, "no such model", ModelNotFoundError),
        (422, "no", ModelRequestRejectedError),
        (429, "slow down", ModelRateLimitError),
        (500, "oops", ModelServerError),
    ],
)
async def test_status_is_an_http_error_of_its_category(code: int, message: str, category: Any) -> None:
    async with FaultServer(lambda _: status(code, message)) as server, engine_at(server.url, max_retries=0) as engine:
        with pytest.raises(ModelHTTPError) as raised:
            await Agent(AsyncInferModel(engine)).run("?")
    assert isinstance(raised.value, category)
    assert (raised.value.status_code, raised.value.model_name) == (code, "m")
    assert message in str(raised.value)


async def test_retry_after_is_passed_on() -> None:
    refusal = status(429, "slow down", **{"Retry-After": "7"})
    async with FaultServer(lambda _: refusal) as server, engine_at(server.url, max_retries=0) as engine:
        with pytest.raises(ModelRateLimitError) as raised:
            await Agent(AsyncInferModel(engine)).run("?")
    assert raised.value.retry_after == 7


async def test_engine_retries_before_the_error() -> None:
    async with (
        FaultServer(lambda ask: status(503) if ask.attempt < 3 else None) as server,
        engine_at(server.url) as engine,
    ):
        assert (await Agent(AsyncInferModel(engine)).run("q")).output == "answer to q"
    assert server.asked["q"] == 3


async def test_setting_of_a_run_forbids_retries() -> None:
    async with FaultServer(lambda _: status(503)) as server, engine_at(server.url) as engine:
        with pytest.raises(ModelHTTPError):
            await Agent(AsyncInferModel(engine)).run("q", model_settings={"max_retries": 0})
    assert server.asked["q"] == 1


async def test_lost_connection_is_a_connection_error() -> None:
    async with FaultServer(lambda _: reset) as server, engine_at(server.url, max_retries=0) as engine:
        with pytest.raises(ModelConnectionError):
            await Agent(AsyncInferModel(engine)).run("?")


async def test_timeout_of_a_run_is_a_timeout_error() -> None:
    async with FaultServer(lambda _: stall) as server, engine_at(server.url, max_retries=0) as engine:
        with pytest.raises(ModelTimeoutError):
            await Agent(AsyncInferModel(engine)).run("?", model_settings={"timeout": 0.05})


async def test_wrong_setting_is_an_error_of_the_user() -> None:
    async with FaultServer() as server, engine_at(server.url) as engine:
        with pytest.raises(UserError, match="logit_bias"):
            await Agent(AsyncInferModel(engine)).run("?", model_settings={"logit_bias": {"1": 1000}})


async def test_another_model_answers_after_an_error() -> None:
    async with FaultServer(lambda _: status(500)) as server, engine_at(server.url, max_retries=0) as engine:
        model = FallbackModel(AsyncInferModel(engine), AnsweringModel(custom_output_text="from the other"))
        assert (await Agent(model).run("?")).output == "from the other"


async def test_error_without_status_is_an_api_error() -> None:
    def fails(text: str, attempt: int) -> None:
        raise RequestError("cannot be read", error_type=InferenceErrorType.PARSE_ERROR)

    with pytest.raises(ModelAPIError, match="cannot be read"):
        await Agent(AsyncInferModel(FakeEngine(fails))).run("?")


async def test_stream_that_breaks_is_an_error_in_the_stream() -> None:
    async with FaultServer(lambda _: sse(["It ", "is "], hang_up)) as server, engine_at(server.url) as engine:
        with pytest.raises(ModelAPIError) as raised:
            async with Agent(AsyncInferModel(engine)).run_stream("?") as result:
                async for _ in result.stream_text():
                    pass
    assert raised.value.in_stream


async def test_error_before_the_first_part_opens_no_stream() -> None:
    async with FaultServer(lambda _: status(400)) as server, engine_at(server.url) as engine:
        with pytest.raises(ModelHTTPError) as raised:
            async with Agent(AsyncInferModel(engine)).run_stream("?"):
                pass
    assert not raised.value.in_stream


class TestCancellation:
    async def test_cancelled_run_ends_the_request(self) -> None:
        async with FaultServer(lambda _: stall) as server, engine_at(server.url) as engine:
            run = asyncio.create_task(Agent(AsyncInferModel(engine)).run("?"))
            await server.until(lambda: server.in_flight == 1)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            await server.until(lambda: server.in_flight == 0)
        assert server.abandoned == 1

    async def test_leaving_a_stream_ends_the_request(self) -> None:
        async with FaultServer(lambda _: sse(["It ", "is "], stall)) as server, engine_at(server.url) as engine:
            async with Agent(AsyncInferModel(engine)).run_stream("?") as result:
                async for _ in result.stream_text(debounce_by=None):
                    break
            await server.until(lambda: server.in_flight == 0)
        assert server.abandoned == 1

    async def test_cancelled_stream_is_an_interrupted_response(self) -> None:
        async with FaultServer(lambda _: sse(["It ", "is "], stall)) as server, engine_at(server.url) as engine:
            model, history = AsyncInferModel(engine), [ModelRequest.user_text_prompt("?")]
            async with model.request_stream([*history], None, ModelRequestParameters()) as stream:
                async for event in stream:
                    if isinstance(event, PartStartEvent):
                        await stream.cancel()
            assert stream.get().state == "interrupted"
            await server.until(lambda: server.in_flight == 0)

    async def test_deadline_of_a_request_ends_it(self) -> None:
        async with FaultServer(lambda _: stall) as server, engine_at(server.url) as engine:
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0.1):
                    await Agent(AsyncInferModel(engine)).run("?")
            await server.until(lambda: server.in_flight == 0)
