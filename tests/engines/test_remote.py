"""RemoteInferenceEngine against a server with faults: which are retried, which fail a row, and which end the run."""

from __future__ import annotations

import itertools
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import ClientSession, web
from pydantic import SecretStr
from pydantic_core import to_json

from asyncinfer import (
    AnthropicInferenceEngine,
    ConfigError,
    Conversation,
    EngineConfigError,
    FinishReason,
    GenerationParams,
    InferenceConfig,
    InferenceErrorType,
    InferenceFailedError,
    InferenceResult,
    ModelParams,
    OpenAIInferenceEngine,
    RemoteInferenceEngine,
    RemoteParams,
    RequestError,
    build_engine,
)
from asyncinfer.dialects.openai.dialect import openai_chat
from asyncinfer.engines.stream_reader import read_deltas
from asyncinfer.transport import proxies
from asyncinfer.types.http import HttpRequest, HttpResponse
from tests.fakes import FakeClock, answer_to, question, questions, read_jsonl, write_jsonl
from tests.faults import (
    Ask,
    Fault,
    FaultServer,
    Script,
    come_back_at,
    drip,
    duplicate_headers,
    duplicate_length,
    echo,
    error_as_success,
    gzipped,
    hang_up,
    html,
    html_as_success,
    key_as_http,
    mistyped,
    no_choices,
    no_http,
    no_json,
    null,
    oversized,
    redirect,
    repeat,
    reset,
    reset_in_body,
    says,
    sse,
    stall,
    status,
    truncated,
)

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "*")
    proxies.proxy_for.cache_clear()
    yield
    proxies.proxy_for.cache_clear()


def engine_at(
    url: str | None,
    *,
    model: str = "m",
    clock: FakeClock | None = None,
    session: ClientSession | None = None,
    **remote: Any,
) -> Any:
    """An engine with short waits and fixed concurrency, so that the number of requests in flight is known."""
    settings = {
        "api_url": url,
        "api_key": KEY,
        "num_workers": 8,
        "max_retries": 3,
        "retry_backoff_base": 0.001,
        "retry_backoff_max": 0.01,
        "connection_timeout": 5.0,
        "use_adaptive_concurrency": False,
        **remote,
    }
    params = RemoteParams.model_validate(settings)
    return RemoteInferenceEngine(ModelParams(model_name=model), remote_params=params, clock=clock, session=session)


@asynccontextmanager
async def served(
    script: Script | None = None, *, clock: FakeClock | None = None, **remote: Any
) -> AsyncGenerator[tuple[FaultServer, RemoteInferenceEngine]]:
    """A server and an engine that uses it. A `clock` runs as long as they do."""
    async with (
        FaultServer(script) as server,
        engine_at(server.url, clock=clock, **remote) as engine,
        anyio.create_task_group() as tasks,
    ):
        if clock is not None:
            tasks.start_soon(clock.run)
        yield server, engine
        tasks.cancel_scope.cancel()


def send_times(engine: RemoteInferenceEngine) -> list[float]:
    """The times at which requests are sent, by the engine's clock. A test's clock may advance during a request."""
    times: list[float] = []
    send = engine._transport.send

    async def timed(request: HttpRequest) -> HttpResponse:
        times.append(engine._clock.now())
        return await send(request)

    engine._transport.send = timed  # type: ignore[method-assign]
    return times


def at_first(fault: Fault) -> Script:
    """A script that fails the first attempt at each question."""
    return lambda ask: fault if ask.attempt == 1 else None


def at(index: int, fault: Fault) -> Script:
    """A script that always fails one question."""
    return lambda ask: fault if ask.question == f"question {index}" else None


def answers(result: InferenceResult) -> list[object]:
    return [conversation.messages[-1].content for _, conversation in result.successful]


TOLERANCE = 2.0  # seconds; dates in headers have whole seconds and are read a moment after they were written
EXPECTED = [answer_to(f"question {i}") for i in range(5000)]

TRANSIENT: dict[str, Fault] = {
    **{f"status {code}": status(code) for code in (408, 409, 425, 429, 500, 502, 503, 504, 529)},
    **{
        fault.__name__: fault
        for fault in (reset, reset_in_body, truncated, hang_up, duplicate_length, no_http, stall, drip)
    },
    "html": html,
    "html as success": html_as_success,
    "null": null,
    "no choices": no_choices,
    "no JSON": no_json,
    "error as success": error_as_success,
    "OpenAI's 400 under load": status(400, "We could not parse the JSON body of your request."),
}
LASTING: dict[str, tuple[Fault, int | None, InferenceErrorType]] = {
    **{f"status {code}": (status(code), code, InferenceErrorType.API_STATUS) for code in (400, 404, 405, 413, 422)},
    "redirect": (redirect("http://localhost:1/v1"), 307, InferenceErrorType.API_STATUS),
    "oversized": (oversized(5000), None, InferenceErrorType.PARSE_ERROR),
    "no money": (status(429, "insufficient_quota"), 429, InferenceErrorType.API_STATUS),
}


class TestFaults:
    @pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
    async def test_transient_fault_is_retried(self, fault: Fault) -> None:
        async with served(at_first(fault), connection_timeout=0.2) as (server, engine):
            result = await engine.ainfer_partial(questions(3))
            assert answers(result) == EXPECTED[:3]
            assert set(server.asked.values()) == {2}

    @pytest.mark.parametrize(("fault", "code", "kind"), LASTING.values(), ids=LASTING)
    async def test_lasting_fault_fails_its_row_after_one_attempt(
        self, fault: Fault, code: int | None, kind: InferenceErrorType
    ) -> None:
        async with served(at(1, fault), max_response_bytes=1000) as (server, engine):
            result = await engine.ainfer_partial(questions(3))
            assert (result.failed_indices, server.asked["question 1"]) == ([1], 1)
            detail = result.failures[1]
            assert (detail.error_type, detail.status_code, detail.is_retryable) == (kind, code, False)

    @pytest.mark.parametrize("fault", [gzipped, duplicate_headers, mistyped], ids=lambda f: f.__name__)
    async def test_harmless_oddity_does_not_fail_a_row(self, fault: Fault) -> None:
        async with served(lambda _: fault) as (server, engine):
            assert answers(await engine.ainfer_partial(questions(3))) == EXPECTED[:3]
            assert set(server.asked.values()) == {1}

    async def test_row_fails_after_max_retries(self) -> None:
        async with served(at(1, html), max_retries=2) as (server, engine):
            result = await engine.ainfer_partial(questions(3))
            assert (result.failed_indices, server.asked["question 1"]) == ([1], 3)
            detail = result.failures[1]
            assert detail.error_message == "HTTP 502: Oops the proxy is ill"
            assert (detail.status_code, detail.is_retryable) == (502, True)

    async def test_timeout_message_names_the_setting(self) -> None:
        async with served(at(0, stall), connection_timeout=0.05, max_retries=0) as (_, engine):
            with pytest.raises(InferenceFailedError, match=r"0\.05 s \(remote_params\.connection_timeout\)"):
                await engine.ainfer(questions(1))

    async def test_redirect_message_names_the_new_url_and_the_key_is_not_sent_there(self) -> None:
        async with FaultServer() as other, served(lambda _: redirect(other.url)) as (_, engine):
            with pytest.raises(InferenceFailedError, match=f"redirects to {other.url}; set remote_params.api_url"):
                await engine.ainfer(questions(1))
            assert not other.asks, "the key is not sent to the new URL"

    async def test_row_that_waits_for_a_retry_holds_no_permit(self) -> None:
        """With one worker, the second row is sent before the retry of the first row."""
        async with served(at_first(status(500)), num_workers=1, clock=FakeClock(), retry_backoff_base=0.01) as (
            server,
            engine,
        ):
            await engine.ainfer(questions(2))
            assert [ask.question for ask in server.asks[:2]] == ["question 0", "question 1"]


class TestRefusedKeys:
    async def test_status_401_ends_the_run_at_once(self, tmp_path: Path) -> None:
        config = InferenceConfig(
            input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(500))), output_path=str(tmp_path / "out.jsonl")
        )
        async with served(lambda _: status(401, "who are you?")) as (server, engine):
            with pytest.raises(EngineConfigError, match=r"HTTP 401: who are you\?\. Check the API key"):
                await engine.arun(config)
            assert len(server.asks) <= 9, "the requests in flight, and one row that had a permit"
            result = await engine.ainfer_partial(inference_config=config)
            assert len(result.failures) == 500
            assert len(server.asks) <= 18

    async def test_status_403_of_unknown_scope_ends_the_run_after_twenty_rows(self) -> None:
        async with served(lambda _: status(403, "not allowed")) as (server, engine):
            result = await engine.ainfer_partial(questions(500))
            assert len(result.failures) == 500
            assert len(server.asks) <= 20 + 8
            assert "20 rows in a row were rejected like this" in result.failures[499].error_message

    async def test_status_403_after_other_answers_fails_only_its_row(self) -> None:
        async with served(at(20, status(403, "not this one"))) as (server, engine):
            result = await engine.ainfer_partial(questions(40))
            assert result.failed_indices == [20]
            assert server.asked["question 20"] == 1

    async def test_status_401_ends_a_later_run_of_the_same_engine(self) -> None:
        """Answers of an earlier run do not count, because it may have had another key."""
        async with served() as (server, engine):
            await engine.ainfer(questions(3))
            server.script = lambda _: status(401)
            server.asks.clear()
            assert len((await engine.ainfer_partial(questions(500))).failures) == 500
            assert len(server.asks) <= 9


class TestBusyServers:
    @pytest.mark.parametrize(
        "fault",
        [
            status(429, retry_after="30"),
            status(503, retry_after="30"),
            status(429, retry_after_ms="30000"),
            status(429, x_ms_retry_after_ms="30000"),
            come_back_at(30),
        ],
        ids=["seconds", "seconds of a 503", "milliseconds", "Azure's milliseconds", "date"],
    )
    async def test_all_rows_wait_as_long_as_a_busy_server_requests(self, fault: Fault) -> None:
        async with served(lambda ask: fault if len(server.asks) == 1 else None, clock=FakeClock(), num_workers=1) as (
            server,
            engine,
        ):
            sent = send_times(engine)
            await engine.ainfer(questions(4))
            assert sent == pytest.approx([0, 30, 30, 30, 30], abs=TOLERANCE)

    async def test_refusals_between_answers_fail_no_row(self) -> None:
        """Every second request is refused. Hundreds of rows are refused more often than they have retries."""
        async with served(lambda ask: status(429) if len(server.asks) % 2 == 0 else None, max_retries=2) as (
            server,
            engine,
        ):
            assert answers(await engine.ainfer_partial(questions(500))) == EXPECTED[:500]
            assert max(server.asked.values()) > 3

    async def test_row_fails_if_the_server_answers_nothing_for_two_minutes(self) -> None:
        """After two minutes without any answer, refusals count as retries."""
        clock = FakeClock()
        async with served(lambda _: status(503), clock=clock, max_retries=2, retry_backoff_max=30.0) as (
            server,
            engine,
        ):
            result = await engine.ainfer_partial(questions(1))
            assert result.failures[0].is_retryable
            assert clock.now() >= 120.0
            assert len(server.asks) < 100


class TestLimits:
    async def test_num_workers_limits_the_requests_in_flight(self) -> None:
        async with served(num_workers=5) as (server, engine), anyio.create_task_group() as tasks:
            full = anyio.Event()

            def wait(_: Ask) -> Fault:
                async def reply(*_: Any) -> Any:
                    await full.wait()
                    return await gzipped(*_)

                return reply

            server.script = wait
            for i in range(4):
                tasks.start_soon(engine.ainfer, [question(f"{i}.{j}") for j in range(5)])
            await server.until(lambda: server.in_flight == 5)
            full.set()
        assert server.peak == 5
        assert len(server.asks) == 20

    async def test_requests_per_minute_is_kept(self) -> None:
        async with served(clock=FakeClock(), requests_per_minute=3) as (_, engine):
            sent = send_times(engine)
            await engine.ainfer(questions(8))
            assert sent == [0, 0, 0, 60, 60, 60, 120, 120]

    async def test_politeness_policy_delays_the_next_use_of_a_permit(self) -> None:
        async with served(clock=FakeClock(), politeness_policy=5.0, num_workers=2) as (_, engine):
            sent = send_times(engine)
            await engine.ainfer(questions(6))
            assert all(later - earlier >= 5 for earlier, later in zip(sent, sent[2:], strict=False))


class TestSettings:
    @pytest.mark.parametrize(
        ("make", "setting"),
        [
            (lambda _: engine_at(None), "remote_params.api_url: not set"),
            (lambda _: engine_at("ftp://localhost:8000/v1"), "remote_params.api_url: should begin with http"),
            (lambda _: engine_at("/v1"), "remote_params.api_url: should begin with http"),
            (lambda _: engine_at("localhost:abc/v1"), "remote_params.api_url: should begin with http"),
            (lambda _: engine_at("http://127.0.0.1:99999/v1"), "remote_params.api_url"),
            (lambda _: engine_at("http://127.0.0.1:abc/v1"), "remote_params.api_url"),
            (lambda url: engine_at(url, model=""), "model.model_name: not set"),
            (lambda url: engine_at(url, api_key=None, api_key_env_varname="NOT_SET"), "environment variable NOT_SET"),
            (
                lambda url: OpenAIInferenceEngine(ModelParams(model_name="m"), remote_params=RemoteParams(api_url=url)),
                "OPENAI needs an API key; set the environment variable OPENAI_API_KEY",
            ),
        ],
    )
    async def test_missing_or_wrong_setting_raises_before_anything_is_sent(
        self, make: Callable[[str], RemoteInferenceEngine], setting: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        async with FaultServer() as server, make(server.url) as engine:
            with pytest.raises(ConfigError, match=setting):
                await engine.ainfer(questions(3))
            with pytest.raises(ConfigError, match=setting):
                await anext(engine.astream(question("a")))
            result = await engine.ainfer_partial(questions(3))
            assert {(d.error_type, setting in d.error_message) for d in result.failures.values()} == {
                (InferenceErrorType.CONFIG, True)
            }
            assert len(result.failures) == 3
            assert not server.asks

    async def test_key_is_read_from_the_named_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_KEY", "sk-mine\n")
        async with served(api_key=None, api_key_env_varname="MY_KEY") as (server, engine):
            await engine.ainfer(questions(1))
            assert server.asks[0].headers["Authorization"] == "Bearer sk-mine"

    @pytest.mark.parametrize("below", ["", "/", "/chat/completions"])
    async def test_url_with_a_query_is_accepted(self, below: str) -> None:
        async with FaultServer() as server, engine_at(f"{server.url}{below}?api-version=1") as engine:
            await engine.ainfer(questions(1))
            await engine.alist_models()
        assert [ask.question for ask in server.asks] == ["question 0", "/v1/models"]

    @pytest.mark.parametrize("with_session", [False, True], ids=["pooled", "session"])
    @pytest.mark.parametrize(
        ("below", "likely"),
        [("/chat/completions", True), ("/v1/v1", True), ("/v1/chat", True), ("/other/v1", False)],
    )
    async def test_missing_path_names_the_url_and_the_likely_one(
        self, below: str, likely: bool, with_session: bool
    ) -> None:
        async with FaultServer() as server, ClientSession() as session:
            host = server.url.removesuffix("/v1")
            url = f"http://ann:pass-word@{host.removeprefix('http://')}{below}?key=pass-word"
            async with engine_at(url, api_key=None, session=session if with_session else None) as engine:
                failures = [(await engine.ainfer_partial(questions(1))).failures[0].error_message]
                for call in (engine.agenerate(question("a")), anext(engine.astream(question("a")))):
                    with pytest.raises(EngineConfigError) as caught:
                        await call
                    failures.append(str(caught.value))
                with pytest.raises(RequestError) as listing:
                    await engine.alist_models()
        sent = f"{host}{below}{'' if below.endswith(('/chat', '/completions')) else '/chat/completions'}"
        advice = f"it should probably go to {server.url}/chat/completions" if likely else "check the host and the port"
        for text in failures:
            assert f"The request went to {sent}; {advice} (remote_params.api_url)" in text
            assert "pass-word" not in text
        assert (f"go to {server.url}/models" in str(listing.value), "The request went to" in str(listing.value)) == (
            likely,
            True,
        )

    async def test_refusal_of_the_model_does_not_blame_the_url(self) -> None:
        async with served(lambda _: status(404, "The model `m` does not exist.")) as (_, engine):
            result = await engine.ainfer_partial(questions(1))
        assert "The request went to" not in result.failures[0].error_message

    @pytest.mark.parametrize("below", ["", "/", "/v1", "/v1/"])
    async def test_missing_scheme_is_logged_once(self, below: str, caplog: pytest.LogCaptureFixture) -> None:
        async with FaultServer() as server, engine_at(f"127.0.0.1:{server.port}{below}") as engine:
            await engine.ainfer(questions(2))
            await engine.alist_models()
        [record] = caplog.records
        assert f"has no scheme; requests go to {server.url}/chat/completions" in record.getMessage()

    async def test_generate_url_of_sglang_leads_to_its_openai_api(self, caplog: pytest.LogCaptureFixture) -> None:
        """As in Oumi's recipes for SGLang."""
        async with FaultServer() as server:
            config = InferenceConfig.from_str(
                f"""
                model: {{model_name: m}}
                engine: SGLANG
                remote_params: {{api_url: "{server.url.removesuffix("/v1")}/generate", max_retries: 0}}
                """
            )
            async with build_engine(config) as engine:
                assert len(await engine.ainfer(questions(2), config)) == 2
                assert "chatty" in await engine.alist_models()
        [record] = caplog.records
        assert f"requests go to the OpenAI API of the same server, {server.url}/chat/completions" in record.getMessage()

    async def test_request_without_a_key_has_no_authorization_header(self) -> None:
        async with served(api_key=None) as (server, engine):
            await engine.ainfer(questions(1))
            assert "Authorization" not in server.asks[0].headers

    async def test_dropped_parameters_are_in_the_metadata_of_each_answer(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        generation = GenerationParams(num_beams=2, min_p=0.1)
        async with served() as (server, engine):
            [answered] = await engine.ainfer(questions(1), InferenceConfig(generation=generation))
            [plain] = await engine.ainfer([question("b")])
        assert answered.metadata["dropped_parameters"] == ["num_beams"]
        assert "RemoteInferenceEngine does not support num_beams: ignored" in caplog.text
        assert (server.asks[0].body["min_p"], "num_beams" in server.asks[0].body) == (0.1, False)
        assert "dropped_parameters" not in plain.metadata

    @pytest.mark.parametrize(
        "generation",
        [{"batch_size": 4}, {"use_cache": False}, {"use_sampling": True, "temperature": 0.7}],
        ids=["batch_size", "use_cache", "use_sampling"],
    )
    async def test_parameters_that_do_not_change_an_answer_are_not_reported_as_dropped(
        self, caplog: pytest.LogCaptureFixture, generation: dict[str, object]
    ) -> None:
        async with served() as (_, engine):
            config = InferenceConfig(generation=GenerationParams.model_validate(generation))
            [answered] = await engine.ainfer(questions(1), config)
        assert "dropped_parameters" not in answered.metadata
        assert not caplog.records

    async def test_failure_after_401_is_not_retryable(self) -> None:
        """Also if other rows were answered before."""

        def script(ask: Ask) -> Fault | None:
            return None if ask.question == "question 0" else status(401, "who are you?")

        async with served(script, num_workers=1) as (_, engine):
            result = await engine.ainfer_partial(questions(9))
        assert result.failures
        assert not any(detail.is_retryable for detail in result.failures.values())

    async def test_extra_body_adds_replaces_and_removes_fields(self) -> None:
        generation = GenerationParams(extra_body={"top_k": 5, "max_tokens": 7, "temperature": None})
        async with served() as (server, engine):
            await engine.ainfer(questions(1), InferenceConfig(generation=generation))
        body = server.asks[0].body
        assert (body["top_k"], body["max_tokens"], "temperature" in body) == (5, 7, False)

    async def test_settings_of_a_call_override_those_of_the_engine(self) -> None:
        async with FaultServer() as other, served() as (server, engine):
            await engine.ainfer(questions(1))
            config = InferenceConfig(
                model=ModelParams(model_name="other"),
                remote_params=RemoteParams(api_url=other.url, api_key="sk-other"),  # type: ignore[arg-type]
            )
            await engine.ainfer(questions(1), config)
            await engine.ainfer([question("c")], InferenceConfig(model=ModelParams(model_name="third")))
        [ask] = other.asks
        assert (ask.body["model"], ask.headers["Authorization"]) == ("other", "Bearer sk-other")
        assert [ask.body["model"] for ask in server.asks] == ["m", "third"]
        assert {ask.headers["Authorization"] for ask in server.asks} == {f"Bearer {KEY}"}


class _CompleteResponse:
    """A response whose body has arrived completely."""

    media_type = openai_chat().stream_type

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._data

    def progressed(self) -> None:
        pass


class TestStreams:
    async def test_stream_yields_parts_and_ends_with_usage(self) -> None:
        async with served(lambda _: sse(["an", "swer"])) as (server, engine):
            deltas = [delta async for delta in engine.astream(question("a"))]
            assert [delta.content for delta in deltas] == ["an", "swer", ""]
            assert deltas[-1].finish_reason == FinishReason.STOP
            assert deltas[-1].usage is not None
            assert deltas[-1].usage.total_tokens == 7
            assert server.asks[0].body["stream"] is True

    async def test_answer_of_a_server_that_does_not_stream_is_one_delta(self) -> None:
        async with served() as (_, engine):
            assert [d.content async for d in engine.astream(question("a"))] == [answer_to("a")]

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (sse(["an"], hang_up), InferenceErrorType.CONNECTION),
            (sse(["an"], reset), InferenceErrorType.CONNECTION),
            (sse(["an"], stall), InferenceErrorType.TIMEOUT),
        ],
        ids=["cut", "reset", "stalled"],
    )
    async def test_truncated_stream_raises_after_the_received_text(
        self, fault: Fault, kind: InferenceErrorType
    ) -> None:
        async with served(lambda _: fault, connection_timeout=0.1) as (_, engine):
            came: list[str] = []
            with pytest.raises(RequestError) as caught:
                async for delta in engine.astream(question("a")):
                    came.append(delta.content)
            assert came == ["an"]
            assert (caught.value.error_type, caught.value.is_retryable) == (kind, True)

    @pytest.mark.parametrize(
        "data",
        [
            b": OPENROUTER PROCESSING\n\n",
            b"\n",
            b"event: ping\n\n",
            b"data:\n\n",
            b'data: {"id": "1", "object": "chat.completion.chunk", "choices": []}\n\n',
            b'data: {"created": 1, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n',
            b'data: {"choices": [{"index": 0, "delta": {"x_status": "busy"}}]}\n\n',
            b'data: {"choices": [{"index": 1, "delta": {"content": "another answer"}}]}\n\n',
        ],
        ids=[
            "comment",
            "blank line",
            "ping",
            "empty data",
            "no choice",
            "empty delta",
            "unknown field",
            "another answer",
        ],
    )
    async def test_stream_of_keep_alives_ends_at_the_idle_limit(self, data: bytes) -> None:
        begin = b'data: {"choices": [{"index": 0, "delta": {"content": "an"}}]}\n\n'
        async with served(lambda _: repeat(data, begin=begin), stream_idle_timeout=0.1) as (server, engine):
            came: list[str] = []
            with pytest.raises(RequestError, match=r"for 0\.1 s \(remote_params\.stream_idle_timeout") as caught:
                async for delta in engine.astream(question("a")):
                    came.append(delta.content)
            assert came == ["an"]
            assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.TIMEOUT, True)
            await server.until(lambda: not server.in_flight)

    async def test_fast_stream_lets_other_tasks_run(self) -> None:
        """If the server is faster than the reader, the reader never waits for data."""
        part = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        end = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        streamed = _CompleteResponse(part * 5000 + end)
        turns = [0]

        async def take_turns() -> None:
            while True:
                turns[0] += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take_turns)
            deltas = [delta async for delta in read_deltas(streamed, openai_chat())]  # pyright: ignore[reportArgumentType]
            tasks.cancel_scope.cancel()
        assert len(deltas) == 5001
        assert turns[0] > 10

    async def test_stream_that_brings_parts_can_last_longer_than_the_idle_limit(self) -> None:
        """Parts without text count too, such as pieces of the arguments of a tool call."""
        call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": " "}}
        part = b"data: " + to_json({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) + b"\n\n"
        end = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}\n\ndata: [DONE]\n\n'
        fault = repeat(part, times=100, end=end)
        async with served(lambda _: fault, stream_idle_timeout=0.3, connection_timeout=0.3) as (_, engine):
            *_, last = [delta async for delta in engine.astream(question("a"))]
            assert last.tool_calls[0]["function"]["name"] == "f"

    async def test_endless_answer_of_a_server_that_does_not_stream_times_out(self) -> None:
        """A server that does not stream may pad its JSON with white space."""
        async with served(lambda _: repeat(b" ", "application/json"), connection_timeout=0.1) as (_, engine):
            with pytest.raises(RequestError, match=r"0\.1 s \(remote_params\.connection_timeout\)"):
                await anext(engine.astream(question("a")))

    async def test_refused_stream_raises_the_error_of_the_server(self) -> None:
        async with served(lambda _: status(429, "busy"), max_retries=0) as (_, engine):
            with pytest.raises(RequestError, match="HTTP 429: busy"):
                await anext(engine.astream(question("a")))

    async def test_refused_stream_is_retried_until_the_first_part(self) -> None:
        def script(ask: Ask) -> Fault | None:
            return status(503, "busy") if ask.attempt < 3 else None

        async with served(script) as (server, engine):
            parts = [delta.content async for delta in engine.astream(question("a"))]
        assert "".join(parts) == answer_to("a")
        assert server.asked == {"a": 3}

    async def test_stream_truncated_after_the_first_part_is_not_retried(self) -> None:
        def script(ask: Ask) -> Fault | None:
            return sse(["an"], reset)

        async with served(script) as (server, engine):
            with pytest.raises(RequestError):
                _ = [delta async for delta in engine.astream(question("a"))]
        assert server.asked == {"a": 1}

    async def test_abandoned_stream_closes_its_connection_and_releases_its_permit(self) -> None:
        def script(ask: Ask) -> Fault | None:
            return sse(["an"], stall) if ask.body.get("stream") else None

        async with served(script, num_workers=1) as (server, engine):
            async with engine.astream(question("a")) as stream:
                assert (await anext(stream)).content == "an"
            await server.until(lambda: server.abandoned == 1)
            assert len(await engine.ainfer(questions(1))) == 1


class TestModels:
    async def test_models_are_listed(self) -> None:
        async with served() as (server, engine):
            openai = OpenAIInferenceEngine(
                ModelParams(model_name="m"),
                remote_params=RemoteParams(api_url=server.url, api_key=KEY),  # type: ignore[arg-type]
            )
            async with openai:
                assert await openai.alist_models() == ["chatty"]
                assert await openai.alist_models(chat_only=False) == ["chatty", "text-embedding-x"]
            assert await engine.alist_models() == ["chatty", "text-embedding-x"]
            assert {ask.headers["Authorization"] for ask in server.asks} == {f"Bearer {KEY}"}

    @pytest.mark.parametrize("fault", [html, html_as_success, null, echo(401), stall])
    async def test_failed_list_of_models_raises_request_error_without_the_key(self, fault: Fault) -> None:
        async with served(lambda _: fault, connection_timeout=0.1) as (_, engine):
            with pytest.raises(RequestError) as caught:
                await engine.alist_models()
            assert KEY not in str(caught.value)

    async def test_list_of_models_with_endless_pages_times_out(self) -> None:
        """Each page arrives in time, but all pages together exceed the timeout."""
        pages = itertools.count()

        async def page(*_: object) -> web.Response:
            await anyio.sleep(0.01)
            return web.json_response({"data": [{"id": "a"}], "has_more": True, "last_id": str(next(pages))})

        async with FaultServer(lambda _: page) as server:
            remote = RemoteParams(api_url=f"{server.url}/messages", api_key=SecretStr(KEY), connection_timeout=0.2)
            async with AnthropicInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
                with pytest.raises(RequestError, match="no complete list of models within 0.2 s") as caught:
                    await engine.alist_models()
        assert caught.value.error_type == InferenceErrorType.TIMEOUT
        assert next(pages) > 1


class TestSecrets:
    ECHOES = (echo(400), echo(429), echo(302), echo(500), no_http, duplicate_length, reset)

    async def test_key_is_in_no_message_log_or_file(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Even if the server repeats the key in its answer."""
        caplog.set_level(logging.DEBUG)
        config = InferenceConfig(
            input_path=str(write_jsonl(tmp_path / "in.jsonl", questions(40))), output_path=str(tmp_path / "out.jsonl")
        )

        def script(ask: Ask) -> Fault | None:
            i = int(ask.question.split()[-1]) - 20  # after others were answered
            return self.ECHOES[i] if 0 <= i < len(self.ECHOES) else None

        async with served(script, max_retries=0) as (_, engine):
            with pytest.raises(InferenceFailedError) as caught:
                await engine.ainfer(inference_config=config)
            result = await engine.ainfer_partial(inference_config=config, progress_path=tmp_path / "progress.json")
            assert len(result.failures) == len(self.ECHOES)
            shown = f"{caught.value}{result.failures}{engine!r}{engine._remote_params!r}{caplog.text}"
            shown += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
        assert "question 39" in shown
        assert KEY not in shown

    async def test_key_is_hidden_before_a_message_is_shortened(self) -> None:
        """Otherwise, a message shortened in the middle of the key would contain most of the key."""
        said = b'{"error": {"message": "%b %b"}}' % (b"x" * 280, KEY.encode())
        async with served(lambda _: says(said, code=400)) as (_, engine):
            result = await engine.ainfer_partial(questions(1))
            with pytest.raises(RequestError) as caught:
                await engine.alist_models()
        assert KEY[:8] not in result.failures[0].error_message + str(caught.value)

    async def test_key_is_not_in_the_cause_of_an_error(self) -> None:
        """aiohttp quotes a response that is not HTTP in its error message."""
        async with served(lambda _: key_as_http) as (_, engine):
            with pytest.raises(RequestError) as caught:
                await anext(engine.astream(question("a")))
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert KEY not in repr(caught.value)

    async def test_key_in_the_url_is_hidden_in_messages(self) -> None:
        async with FaultServer(lambda _: says(b"who is s3cret-key-of-ann?", code=400)) as server:
            url = f"{server.url}/chat/completions?key=s3cret-key-of-ann"
            async with engine_at(url, api_key=None) as engine:
                result = await engine.ainfer_partial(questions(1))
        assert result.failures[0].error_message == "HTTP 400: who is [API key]?"

    async def test_error_that_ends_a_run_does_not_contain_the_key(self) -> None:
        async with served(lambda _: echo(401)) as (_, engine):
            with pytest.raises(InferenceFailedError, match=r"no good: Bearer .*Check the API key") as caught:
                await engine.ainfer(questions(1))
            assert KEY not in str(caught.value)

    async def test_error_that_ends_a_stream_does_not_contain_the_key(self) -> None:
        async with served(lambda _: echo(400)) as (_, engine):
            with pytest.raises(RequestError, match="no good: Bearer") as caught:
                await anext(engine.astream(question("a")))
            assert KEY not in str(caught.value)

    @pytest.mark.parametrize("url", ["htp://ann:pass-word@host/v1", "http://ann:pass-word@host:99999/v1"])
    async def test_message_about_an_invalid_url_has_no_password(self, url: str) -> None:
        async with engine_at(url) as engine:
            with pytest.raises(ConfigError, match="api_url") as caught:
                await engine.ainfer(questions(1))
            assert "pass-word" not in str(caught.value)

    async def test_url_with_credentials_and_a_key_are_refused(self) -> None:
        async with engine_at("http://ann:pass-word@127.0.0.1:1/v1") as engine:
            with pytest.raises(ConfigError, match="api_url.*api_key") as caught:
                await engine.ainfer(questions(1))
            assert "pass-word" not in str(caught.value)


# Twenty percent of the requests fail, with every kind of fault. The question and the attempt decide which.
MIX: tuple[Fault, ...] = (
    *(status(code) for code in (408, 409, 429, 500, 502, 503, 529)),
    status(429, retry_after_ms="5"),
    status(503, retry_after="0.01"),
    *(reset, reset_in_body, truncated, hang_up, duplicate_length, no_http),
    *(html, html_as_success, null, no_choices, no_json, error_as_success),
    *(gzipped, mistyped, duplicate_headers),
)
FAST = {"num_workers": 100, "max_retries": 10, "connection_timeout": 1.0}


def mixed(faults: tuple[Fault, ...], share: float = 0.2) -> Script:
    def script(ask: Ask) -> Fault | None:
        draw = random.Random(f"{ask.question}/{ask.attempt}")
        if draw.random() >= share:
            return None
        return draw.choice((stall, drip)) if draw.random() < 0.01 else draw.choice(faults)

    return script


@pytest.fixture
def config(tmp_path: Path) -> InferenceConfig:
    """The configuration of a run from file to file, with 5,000 questions."""
    write_jsonl(tmp_path / "in.jsonl", questions(5000))
    return InferenceConfig(input_path=str(tmp_path / "in.jsonl"), output_path=str(tmp_path / "out.jsonl"))


def check_output(config: InferenceConfig) -> None:
    """Check that the output has every row exactly once, in order, with its own answer."""
    rows = read_jsonl(Path(str(config.output_path)))
    assert [row["conversation_id"] for row in rows] == [f"q{i}" for i in range(5000)]
    assert [row["messages"][-1]["content"] for row in rows] == EXPECTED


class TestNullSettings:
    async def test_null_url_in_a_call_keeps_the_url_of_the_engine(self) -> None:
        async with served() as (server, engine):
            call = InferenceConfig(remote_params=RemoteParams(api_url=None, api_key=None))
            await engine.ainfer(questions(1), call)
            assert len(server.asks) == 1


@pytest.mark.slow
class TestManyRows:
    async def test_all_rows_are_answered_despite_a_mix_of_faults(self, config: InferenceConfig) -> None:
        async with served(mixed(MIX), **FAST) as (server, engine):
            summary = await engine.arun(config)
            assert (summary.completed, summary.failed) == (5000, 0)
            check_output(config)
            assert len(server.asked) == 5000
            assert len(server.asks) == summary.attempts > 5800
            assert server.peak <= 100
            assert not server.in_flight

    async def test_all_rows_are_answered_despite_faults_with_adaptive_concurrency(
        self, config: InferenceConfig
    ) -> None:
        async with served(mixed(MIX), **FAST, use_adaptive_concurrency=True) as (server, engine):
            summary = await engine.arun(config)
            assert (summary.completed, summary.failed) == (5000, 0)
            check_output(config)
            assert server.peak <= 100

    async def test_cancelled_run_resumes_from_its_saved_rows(self, config: InferenceConfig) -> None:
        script = mixed(MIX)
        async with served(script, **FAST) as (server, engine):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(engine.arun, config)
                await server.until(lambda: len(server.asks) > 3000)
                tasks.cancel_scope.cancel()
            await server.until(lambda: not server.in_flight)
            durable = set(saved_questions(config))
            assert len(durable) > 1000
            before = server.asked.copy()
            summary = await engine.arun(config)
            again = server.asked - before
            assert summary.resumed == len(durable)
            assert not durable & set(again), "saved rows are not sent again"
            assert durable | set(again) == {f"question {i}" for i in range(5000)}
        check_output(config)


def saved_questions(config: InferenceConfig) -> Iterator[str]:
    """The questions in the complete lines of the scratch file."""
    output = Path(str(config.output_path))
    for line in (output.parent / "scratch" / output.name).read_bytes().split(b"\n")[:-1]:
        conversation = Conversation.from_dict(json.loads(line)["conversation"])
        yield str(conversation.messages[0].content)
