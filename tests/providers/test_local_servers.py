"""Servers on the user's own machine: their addresses and keys, and what is said if they do not run."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from asyncinfer import (
    ConfigError,
    InferenceConfig,
    InferenceErrorType,
    LMStudioInferenceEngine,
    ModelParams,
    OllamaInferenceEngine,
    RemoteInferenceEngine,
    RemoteLlamaCppInferenceEngine,
    RemoteParams,
    RequestError,
)
from asyncinfer.providers.rows.servers import ollama_url
from tests.fakes import ONE_ATTEMPT, question
from tests.recorder import Recorder

LOCAL: dict[type[RemoteInferenceEngine], str] = {
    OllamaInferenceEngine: "OLLAMA_API_KEY",
    LMStudioInferenceEngine: "LM_API_TOKEN",
    RemoteLlamaCppInferenceEngine: "LLAMA_API_KEY",
}
each = pytest.mark.parametrize(("kind", "variable"), LOCAL.items(), ids=[kind.__name__ for kind in LOCAL])
MODEL = ModelParams(model_name="m")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_HOST", *LOCAL.values()):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port() -> str:
    """An address where nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}/v1"


def engine_at(kind: type[RemoteInferenceEngine], url: str, **remote: Any) -> RemoteInferenceEngine:
    return kind(MODEL, remote_params=RemoteParams.model_validate({"api_url": url, "max_retries": 0, **remote}))


@each
async def test_local_server_needs_no_api_key(kind: type[RemoteInferenceEngine], variable: str, api: Recorder) -> None:
    async with engine_at(kind, api.url) as engine:
        await engine.agenerate(question("Hello?"))
    assert "Authorization" not in api.sent[0].headers


@each
async def test_key_in_the_environment_is_sent(
    kind: type[RemoteInferenceEngine], variable: str, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "sk-env")
    async with engine_at(kind, api.url) as engine:
        await engine.agenerate(question("Hello?"))
    async with engine_at(kind, api.url, api_key="sk-mine") as engine:
        await engine.agenerate(question("Hello?"))
    assert [sent.headers["Authorization"] for sent in api.sent] == ["Bearer sk-env", "Bearer sk-mine"]


@each
async def test_user_s_header_takes_the_place_of_the_key_in_the_environment(
    kind: type[RemoteInferenceEngine], variable: str, api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "sk-env")
    async with engine_at(kind, api.url, headers={"X-Api-Key": "mine"}) as engine:
        await engine.agenerate(question("Hello?"))
    assert "Authorization" not in api.sent[0].headers


STARTS = {
    OllamaInferenceEngine: "Start Ollama with `ollama serve`",
    LMStudioInferenceEngine: "Start the server of LM Studio with `lms server start`",
    RemoteLlamaCppInferenceEngine: "Start the server with `llama-server -m MODEL.gguf --port 9931`.* http://localhost:8080",
}


@pytest.mark.parametrize(("kind", "advice"), STARTS.items(), ids=[kind.__name__ for kind in STARTS])
async def test_error_says_how_to_start_a_server_that_does_not_run(
    kind: type[RemoteInferenceEngine], advice: str, closed_port: str
) -> None:
    async with engine_at(kind, closed_port) as engine:
        with pytest.raises(RequestError, match=f"127.0.0.1.*{advice}") as whole:
            await engine.agenerate(question("Hello?"))
        with pytest.raises(RequestError, match=advice):
            async with engine.astream(question("Hello?"), ONE_ATTEMPT) as deltas:
                _ = [delta async for delta in deltas]
        with pytest.raises(RequestError, match=advice):
            await engine.alist_models()
    assert (whole.value.error_type, whole.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


async def test_error_of_a_server_that_answers_says_nothing_about_starting_it(api: Recorder) -> None:
    api.answers({"error": {"message": "busy"}}, 503)
    async with engine_at(OllamaInferenceEngine, api.url) as engine:
        with pytest.raises(RequestError) as caught:
            await engine.agenerate(question("Hello?"))
    assert "Start" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("gpu", "http://gpu:11434"),
        ("gpu:8000", "http://gpu:8000"),
        (":8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        ("http://gpu", "http://gpu"),
        ("https://gpu/ollama/", "https://gpu/ollama"),
        ("https://ann:pw@gpu:8443", "https://ann:pw@gpu:8443"),
        ("ollama.com", "https://ollama.com"),
        ("https://ollama.com", "https://ollama.com"),
    ],
)
def test_host_is_read_as_ollama_reads_it(host: str, address: str) -> None:
    assert ollama_url(f"{host}/v1/chat/completions") == f"{address}/v1/chat/completions"


async def test_ollama_is_reached_at_the_address_in_the_environment(
    api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", api.url.removeprefix("http://").removesuffix("/v1"))
    async with OllamaInferenceEngine(MODEL) as engine:
        await engine.agenerate(question("Hello?"))
    assert api.sent[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("value", ['"gpu:8000"', "'gpu:8000'", "  gpu:8000\n", ' "gpu:8000" '])
def test_quotes_and_white_space_around_the_address_are_removed(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", value)
    expected = RemoteParams(api_url="http://gpu:8000/v1/chat/completions", num_workers=8)
    assert OllamaInferenceEngine(MODEL)._remote_params == expected


@pytest.mark.parametrize("value", ["gpu:99999", "gpu:port", "http://gpu:70000", "[::1"])
def test_address_that_is_not_valid_is_a_config_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", value)
    with pytest.raises(ConfigError, match="OLLAMA_HOST: no valid URL"):
        OllamaInferenceEngine(MODEL)


def test_ollama_is_on_this_machine_by_default() -> None:
    assert OllamaInferenceEngine(MODEL)._remote_params == RemoteParams(
        api_url="http://127.0.0.1:11434/v1/chat/completions", num_workers=8
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ollama", OllamaInferenceEngine),
        ("lmstudio", LMStudioInferenceEngine),
        ("lm-studio", LMStudioInferenceEngine),
        ("llama-server", RemoteLlamaCppInferenceEngine),
    ],
)
def test_engine_aliases_are_accepted(name: str, kind: type[RemoteInferenceEngine]) -> None:
    assert InferenceConfig.from_str(f"engine: {name}").engine == kind.engine_type
