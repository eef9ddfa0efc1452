"""What a server tells about itself: its models, its health, its metrics, and unknown paths."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asyncinfer import (
    Conversation,
    FinishReason,
    InferenceConfig,
    InferenceErrorType,
    ModelParams,
    RequestError,
    Usage,
)
from asyncinfer.errors import EngineConfigError, EngineDeadError
from asyncinfer.run.access import EngineAccess
from asyncinfer.run.bound_engine import CallSettings
from asyncinfer.serve import create_app
from asyncinfer.serve.api_errors import api_error
from asyncinfer.types.answer import Completion
from asyncinfer.types.stream import StreamDelta
from tests.fakes import FakeEngine
from tests.recorder import Recorder
from tests.serve.serving import ASK, ScriptedEngine, remote_engine, serving, until


async def test_list_has_the_model_of_the_engine() -> None:
    async with serving(ScriptedEngine()) as server:
        models = [model async for model in server.openai().models.list()]
        assert (await server.openai().models.retrieve("my-model")).id == "my-model"
    assert [model.id for model in models] == ["my-model"]
    assert models[0].object == "model"


async def test_names_for_clients_replace_the_name_of_the_engine() -> None:
    async with serving(ScriptedEngine(), model_names=("small", "org/small")) as server:
        assert [model.id async for model in server.openai().models.list()] == ["small", "org/small"]
        assert (await server.openai().models.retrieve("org/small")).id == "org/small"
        assert (await server.chat(model="org/small"))[1]["model"] == "org/small"
        assert (await server.chat(model=None))[1]["model"] == "small"
        assert (await server.chat(model="my-model"))[0] == 404


async def test_other_model_is_not_found() -> None:
    async with serving(ScriptedEngine()) as server:
        status, body = await server.chat(model="gpt-5")
        assert (await server.get("/v1/models/gpt-5"))[0] == 404
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")


async def test_engine_in_this_process_answers_with_its_own_model_for_any_name() -> None:
    async with serving(ScriptedEngine(), any_model=True) as server:
        assert (await server.chat(model="gpt-5"))[1]["model"] == "my-model"


async def test_server_is_healthy_until_it_shuts_down() -> None:
    async with serving(ScriptedEngine()) as server:
        assert await server.get("/health") == (200, '{"status":"ok"}')
        await server.app.state.backend.drain()
        assert await server.get("/health") == (503, '{"status":"shutting down"}')
        status, body = await server.chat()
    assert (status, body["error"]["code"]) == (503, "shutting_down")


async def test_unknown_paths_and_methods_have_errors_in_openais_format() -> None:
    async with serving(ScriptedEngine()) as server:
        status, body = await server.post({}, "/v1/embeddings")
        assert (status, body["error"]["code"]) == (404, "unknown_url")
        assert (await server.get("/"))[0] == 404
        assert (await server.get("/v1/chat/completions"))[0] == 405
        async with server.session.delete(f"{server.url}/v1/models") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


class SlowlyOpenedEngine(ScriptedEngine):
    """Tells its settings as soon as `may_open` is set, and counts how often it is asked for them."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open, self.opening = anyio.Event(), 0

    async def access(self, config: InferenceConfig | None = None) -> EngineAccess:
        self.opening += 1
        await self.may_open.wait()
        return await super().access(config)


async def metric(server: Any, name: str) -> float:
    """The value of a line in the metrics."""
    _, text = await server.get("/metrics")
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])


async def test_metrics_count_requests_tokens_and_latencies() -> None:
    async with serving(ScriptedEngine(workers=5)) as server:
        await server.chat()
        await server.chat(model="unknown")
        [chunk async for chunk in await server.openai().chat.completions.create(**ASK, stream=True)]
        route = 'route="/v1/chat/completions"'
        assert await metric(server, f'asyncinfer_requests_total{{{route},status="200"}}') == 2
        assert await metric(server, f'asyncinfer_requests_total{{{route},status="404"}}') == 1
        assert await metric(server, 'asyncinfer_tokens_total{kind="prompt"}') == 6
        assert await metric(server, 'asyncinfer_tokens_total{kind="completion"}') == 8
        assert await metric(server, f"asyncinfer_request_seconds_count{{{route}}}") == 3
        assert await metric(server, f"asyncinfer_first_token_seconds_count{{{route}}}") == 1
        assert await metric(server, "asyncinfer_slots") == 5
        assert await metric(server, "asyncinfer_engine_permits") == 5


async def test_metrics_show_what_is_in_progress_and_what_waits() -> None:
    release = anyio.Event()

    async def answer(_: Conversation, __: CallSettings) -> Completion:
        await release.wait()
        raise RequestError("stopped", error_type=InferenceErrorType.RUNTIME)

    engine = ScriptedEngine(answer)
    async with serving(engine, max_concurrency=1) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.chat)
        tasks.start_soon(server.chat)
        await until(lambda: engine.in_flight and server.backend.admission.waiting)
        assert await metric(server, "asyncinfer_answers_in_progress") == 1
        assert await metric(server, "asyncinfer_requests_waiting") == 1
        assert await metric(server, "asyncinfer_engine_permits_in_use") == 1
        release.set()


@pytest.mark.parametrize(
    ("error", "status", "wait"),
    [
        (RequestError("busy", error_type=InferenceErrorType.API_STATUS, status_code=429, is_overload=True), 429, 1),
        (RequestError("slow", error_type=InferenceErrorType.TIMEOUT), 504, None),
        (RequestError("cut", error_type=InferenceErrorType.CONNECTION), 502, None),
        (RequestError("odd", error_type=InferenceErrorType.PARSE_ERROR), 502, None),
        (RequestError("bad", error_type=InferenceErrorType.API_STATUS, status_code=422), 422, None),
        (RequestError("bad", error_type=InferenceErrorType.CONFIG), 400, None),
        (RequestError("no", error_type=InferenceErrorType.API_STATUS, status_code=403), 502, None),
        (EngineDeadError("dead", error_type=InferenceErrorType.ENGINE_FAILURE), 503, 1),
        (EngineConfigError("wrong", error_type=InferenceErrorType.CONFIG), 503, 1),
        (RuntimeError("a secret"), 500, None),
    ],
)
async def test_error_of_the_engine_has_a_status_and_no_secret(
    error: Exception, status: int, wait: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Conversation, __: CallSettings) -> Completion:
        raise error

    async with (
        serving(ScriptedEngine(fail)) as server,
        server.session.post(f"{server.api}/chat/completions", json=ASK) as response,
    ):
        body = await response.json()
        assert response.status == status
        assert response.headers.get("Retry-After") == (str(wait) if wait is not None else None)
    assert "a secret" not in json.dumps(body)
    assert isinstance(body["error"]["message"], str)
    if status in (500, 503):
        assert caplog.records


@pytest.mark.parametrize("streams", [False, True])
async def test_failure_of_the_provider_is_one_line_in_the_log(streams: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Conversation) -> AsyncIterator[StreamDelta]:
        if streams:
            yield StreamDelta("Hel")
        raise RequestError("HTTP 500: no", error_type=InferenceErrorType.API_STATUS, status_code=500)

    engine = ScriptedEngine()
    engine.deltas = fail
    async with (
        serving(engine) as server,
        server.session.post(f"{server.api}/chat/completions", json={**ASK, "stream": True}) as response,
    ):
        assert response.status == (200 if streams else 500)
        await response.read()
    [record] = [record for record in caplog.records if record.name == "asyncinfer.serve"]
    assert (record.message, record.exc_info) == ("/v1/chat/completions: HTTP 500: no", None)


@pytest.mark.parametrize(
    ("status", "text", "shown"),
    [
        (
            None,
            "the prompt has 70 tokens, the context holds 64. Raise model.model_max_length (the model was trained with 9)",
            "The prompt is too long for the model. The prompt has 70 tokens, the context holds 64.",
        ),
        (400, "prompt is too long: 210000 tokens > 200000", "prompt is too long: 210000 tokens > 200000"),
        (403, "The context length is 5", "The prompt is too long for the model. The context length is 5"),
    ],
)
async def test_prompt_that_is_too_long_has_the_code_of_openai(status: int | None, text: str, shown: str) -> None:
    async def fail(_: Conversation, __: CallSettings) -> Completion:
        raise RequestError(text, error_type=InferenceErrorType.CONFIG, status_code=status)

    async with serving(ScriptedEngine(fail)) as server:
        got, body = await server.chat()
    error = body["error"]
    assert (got, error["code"], error["message"]) == (400, "context_length_exceeded", shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("generation.guided_decoding.regex: no", "response_format: no"),
        ("generation.logit_bias: no", "logit_bias: no"),
        ("generation.max_new_tokens and generation.stop_strings", "max_tokens and stop"),
    ],
)
def test_message_has_the_names_of_fields_of_the_request(text: str, shown: str) -> None:
    assert api_error(RequestError(text, error_type=InferenceErrorType.CONFIG)).message == shown


@pytest.mark.parametrize("status", [401, 402, 403, 407])
async def test_refused_key_of_the_server_is_in_its_log(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_: Conversation, __: CallSettings) -> Completion:
        raise RequestError("HTTP: revoked", error_type=InferenceErrorType.API_STATUS, status_code=status)

    async with serving(ScriptedEngine(refuse)) as server:
        assert (await server.chat())[0] == 502
    [record] = caplog.records
    assert "/v1/chat/completions: HTTP: revoked" in record.message


async def test_operator_sees_in_the_log_what_clients_do_not_see(caplog: pytest.LogCaptureFixture) -> None:
    text = "HTTP 404: Not Found. The request went to http://10.0.0.5:9/v1; check the port (remote_params.api_url)"

    async def fail(_: Conversation, __: CallSettings) -> Completion:
        raise RequestError(text, error_type=InferenceErrorType.API_STATUS, status_code=404)

    async with serving(ScriptedEngine(fail)) as server:
        status, body = await server.chat()
    assert (status, body["error"]["message"]) == (404, "HTTP 404: Not Found.")
    assert text in caplog.text


async def test_mistake_of_a_client_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(ScriptedEngine()) as server:
        assert (await server.chat(model="generation.max_new_tokens"))[0] == 404
    assert caplog.records == []


async def test_wrong_url_of_the_server_is_not_a_missing_model() -> None:
    async with Recorder() as api:
        api.answers({"detail": "Not Found"}, status=404)
        async with serving(remote_engine(api.url, max_retries=0)) as server:
            status, body = await server.chat()
    assert status == 503
    assert body["error"]["code"] is None


async def test_address_of_a_provider_that_is_not_reached_is_not_shown() -> None:
    async with serving(remote_engine("http://127.0.0.1:9/internal/v1", max_retries=0)) as server:
        _, body = await server.chat()
    assert "127.0.0.1" not in json.dumps(body)


async def test_retry_after_of_the_provider_is_passed_on() -> None:
    async def fail(_: Conversation, __: CallSettings) -> Completion:
        raise RequestError(
            "busy", error_type=InferenceErrorType.API_STATUS, status_code=429, is_overload=True, retry_after=12.3
        )

    async with (
        serving(ScriptedEngine(fail)) as server,
        server.session.post(f"{server.api}/chat/completions", json=ASK) as response,
    ):
        assert (response.status, response.headers["Retry-After"]) == (429, "13")


async def test_full_queue_answers_429_with_retry_after() -> None:
    release = anyio.Event()

    async def answer(_: Conversation, __: CallSettings) -> Completion:
        await release.wait()
        raise RequestError("stopped", error_type=InferenceErrorType.RUNTIME)

    engine = ScriptedEngine(answer)
    async with serving(engine, max_concurrency=1, max_queue=0) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.chat)
        await until(lambda: engine.in_flight)
        async with server.session.post(f"{server.api}/chat/completions", json=ASK) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
        release.set()


async def test_application_can_be_mounted_and_leaves_the_engine_open() -> None:
    engine = ScriptedEngine()
    app = create_app(engine)
    outer = Starlette(routes=[Mount("/llm", app=app)])
    outer.state.backend = app.state.backend
    async with serving(engine, app=outer) as server:
        status, body = await server.post(ASK, "/llm/v1/chat/completions")
        assert (status, body["choices"][0]["message"]["content"]) == (200, "Hello.")
        assert json.loads((await server.get("/llm/v1/models/my-model"))[1])["id"] == "my-model"
    assert not engine.is_closed


async def test_first_requests_to_a_mounted_application_may_come_at_once() -> None:
    engine = SlowlyOpenedEngine()
    app = create_app(engine)
    async with serving(engine, app=Starlette(routes=[Mount("/llm", app=app)])) as server:
        statuses = list[int]()

        async def ask() -> None:
            statuses.append((await server.post(ASK, "/llm/v1/chat/completions"))[0])

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await until(lambda: engine.opening)
            engine.may_open.set()
    assert statuses == [200] * 3
    assert engine.opening == 1


async def test_application_can_be_drained_before_its_first_request() -> None:
    engine = ScriptedEngine()
    app = create_app(engine)
    await app.state.backend.drain()
    async with serving(engine, app=app) as server:
        assert (await server.chat())[0] == 503


async def test_application_closes_an_engine_that_it_owns() -> None:
    engine = ScriptedEngine()
    async with serving(engine):
        assert not engine.is_closed
    assert engine.is_closed


async def test_deltas_that_are_ready_together_are_written_together() -> None:
    engine = ScriptedEngine()

    async def deltas(_: Conversation) -> AsyncIterator[StreamDelta]:
        for _number in range(100):
            yield StreamDelta("word ")
        yield StreamDelta.last(None, FinishReason.STOP, Usage(1, 1, 2))

    engine.deltas = deltas
    app, writes = create_app(engine), 0

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def count(message: Any) -> None:
            nonlocal writes
            writes += message["type"] == "http.response.body"
            await send(message)

        await app(scope, receive, count)

    counting.state = app.state  # pyright: ignore[reportFunctionMemberAccess]
    async with serving(engine, app=counting) as server:
        stream = await server.openai().chat.completions.create(**ASK, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "word " * 100
    assert writes <= 5


async def test_parameters_that_the_engine_does_not_support_are_left_out() -> None:
    engine = FakeEngine(model="my-model")
    async with serving(engine) as server:
        status, answer = await server.chat(top_p=0.5)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "answer to What is the capital of Japan?")


async def test_engine_without_the_name_of_a_model_is_served_under_its_own_name() -> None:
    engine = FakeEngine(model="")
    assert isinstance(create_app(engine), Starlette)
    assert ModelParams().model_name == ""
    async with serving(engine) as server:
        assert [model.id async for model in server.openai().models.list()] == [engine.engine_type]
