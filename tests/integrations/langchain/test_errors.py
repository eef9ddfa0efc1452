"""Errors of engines, as LangChain's retries, fallbacks and middleware know them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core import exceptions as theirs

from asyncinfer import AsyncInferError, ModelParams, RemoteInferenceEngine, RemoteParams, RequestError
from asyncinfer.engines.base import BaseInferenceEngine
from asyncinfer.errors import EngineDeadError, InferenceErrorType
from asyncinfer.integrations.langchain import AsyncInferChatModel
from tests.fakes import FakeEngine
from tests.faults import FaultServer, status


async def error_of(engine: BaseInferenceEngine, method: str = "ainvoke") -> Exception:
    model = AsyncInferChatModel(engine=engine, max_retries=0)
    with pytest.raises(AsyncInferError) as caught:
        if method == "ainvoke":
            await model.ainvoke("Hi")
        async for _ in model.astream("Hi"):
            pass
    await engine.aclose()
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, theirs.ModelInvalidRequestError),
        (401, theirs.ModelAuthenticationError),
        (403, theirs.ModelPermissionDeniedError),
        (404, theirs.ModelNotFoundError),
        (429, theirs.ModelRateLimitError),
        (500, theirs.ModelAPIError),
        (503, theirs.ModelAPIError),
    ],
)
@pytest.mark.parametrize("method", ["ainvoke", "astream"])
async def test_refusal_of_an_api_is_the_error_of_its_status(
    code: int, kind: type[theirs.ModelError], method: str
) -> None:
    async with FaultServer(lambda _: status(code, "the server says no")) as server:
        params = RemoteParams(api_url=server.url, max_retries=0)
        error = await error_of(RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params), method)
    assert isinstance(error, kind)
    assert isinstance(error, RequestError | EngineDeadError)
    assert error.status_code == code
    assert "the server says no" in str(error)


async def test_prompt_that_is_too_long_is_a_context_overflow() -> None:
    message = "This model's maximum context length is 8192 tokens."
    async with FaultServer(lambda _: status(400, message)) as server:
        params = RemoteParams(api_url=server.url, max_retries=0)
        error = await error_of(RemoteInferenceEngine(ModelParams(model_name="m"), remote_params=params))
    assert isinstance(error, theirs.ContextOverflowError)


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        (InferenceErrorType.CONNECTION, theirs.ModelConnectionError),
        (InferenceErrorType.TIMEOUT, theirs.ModelTimeoutError),
        (InferenceErrorType.CONFIG, theirs.ModelInvalidRequestError),
        (InferenceErrorType.UNKNOWN, theirs.ModelError),
    ],
)
async def test_error_without_a_status_is_the_error_of_its_type(
    error_type: InferenceErrorType, kind: type[theirs.ModelError]
) -> None:
    def fail(*_: Any) -> None:
        raise RequestError("no", error_type=error_type, is_retryable=False)

    error = await error_of(FakeEngine(fail))
    assert isinstance(error, kind)
    assert isinstance(error, RequestError)
    assert (error.error_type, error.is_retryable) == (error_type, False)


async def test_fallback_answers_after_a_refusal() -> None:
    def fail(*_: Any) -> None:
        raise RequestError("busy", error_type=InferenceErrorType.API_STATUS, status_code=429)

    busy = AsyncInferChatModel(engine=FakeEngine(fail), max_retries=0)
    chain = busy.with_fallbacks(
        [AsyncInferChatModel(engine=FakeEngine())], exceptions_to_handle=(theirs.ModelRateLimitError,)
    )
    assert (await chain.ainvoke("Hi")).text
