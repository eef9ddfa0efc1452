"""The lines of a job's files: requests, as each provider wants them, and results, as each provider writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncinfer import RequestError
from asyncinfer.dialects.batch_steps import BatchContext
from asyncinfer.dialects.openai.batches.lines import answer
from asyncinfer.dialects.openai.response import decode
from asyncinfer.providers.catalog import CATALOG
from tests.batch.fakes.apis import MODEL, SERVERS, Engine, chat_request
from tests.recorder import SUCCESS

Json = dict[str, Any]
_REQUEST = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
_CHAT = {"method": "POST", "url": "/v1/chat/completions"}


def _line(engine: Engine, base_url: str = "https://h/v1", path: str = "/chat/completions") -> Json:
    dialect = CATALOG[engine].batch
    assert dialect is not None
    context = BatchContext(f"{base_url}{path}", base_url, model=MODEL)
    line = dialect.line(context, "row-1", chat_request(context, "Hello?"))
    assert b"\n" not in line
    return json.loads(line)


def _read(**fields: Any) -> Any:
    return answer(json.dumps({"custom_id": "row-1", **fields}).encode())


@pytest.mark.parametrize(
    ("engine", "line"),
    [
        (Engine.OPENAI, {"custom_id": "row-1", **_CHAT, "body": _REQUEST}),
        (Engine.PARASAIL, {"custom_id": "row-1", **_CHAT, "body": _REQUEST}),
        (Engine.GROQ, {"custom_id": "row-1", **_CHAT, "body": _REQUEST}),
        (Engine.AZURE_OPENAI, {"custom_id": "row-1", **_CHAT, "body": _REQUEST}),
        (Engine.TOGETHER, {"custom_id": "row-1", "body": _REQUEST}),
        (Engine.MISTRAL, {"custom_id": "row-1", "body": _REQUEST}),
        (Engine.FIREWORKS, {"custom_id": "row-1", "body": {"messages": _REQUEST["messages"]}}),
    ],
)
def test_line_has_fields_that_provider_documents(engine: Engine, line: Json) -> None:
    assert _line(engine) == line


def test_line_of_azure_deployment_names_deployment() -> None:
    line = _line(Engine.AZURE_OPENAI, "https://r.openai.azure.com/openai/deployments/my%20batch")

    assert line == {
        "custom_id": "row-1",
        "method": "POST",
        "url": "/chat/completions",
        "body": {**_REQUEST, "model": "my batch"},
    }


def test_line_of_gateway_names_endpoint_of_provider() -> None:
    assert _line(Engine.OPENAI, "https://gateway/openai")["url"] == "/v1/chat/completions"


@pytest.mark.parametrize("engine", list(SERVERS))
def test_line_is_one_line_even_with_line_separators(engine: Engine) -> None:
    dialect = CATALOG[engine].batch
    assert dialect is not None
    context = BatchContext("https://h/v1/chat/completions", "https://h/v1", model=MODEL)

    line = dialect.line(context, "row-1", chat_request(context, "a\nb\r\nc\u2028d\x85"))

    assert len(line.split(b"\n")) == 1
    assert json.loads(line)["body"]["messages"][0]["content"] == "a\nb\r\nc\u2028d\x85"


@pytest.mark.parametrize(
    "response",
    [
        pytest.param({"status_code": 200, "request_id": "r", "body": SUCCESS}, id="OpenAI"),
        pytest.param({"status_code": "200", "body": SUCCESS}, id="status as text"),
        pytest.param({"status_code": None, "body": SUCCESS}, id="no status"),
        pytest.param({"status_code": 0, "body": SUCCESS}, id="no real status"),
        pytest.param({"body": SUCCESS}, id="Kluster"),
        pytest.param({"status_code": 200, "body": json.dumps(SUCCESS)}, id="body as text"),
        pytest.param(SUCCESS, id="Fireworks"),
    ],
)
@pytest.mark.parametrize("error", [None, {}, "", {"code": "odd"}])
def test_answer_is_read_in_each_packaging(response: Any, error: Any) -> None:
    found = _read(id="x", response=response, error=error)

    assert found.custom_id == "row-1"
    assert decode(found.response).message.content == "Hello."
    assert found.error is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": {"message": "bad prompt", "code": "invalid"}}, id="OpenAI"),
        pytest.param('{"object": "error", "message": "bad prompt", "code": "3310"}', id="Mistral"),
        pytest.param("bad prompt", id="text"),
    ],
)
def test_failed_request_keeps_its_status_and_message(body: Any) -> None:
    found = _read(response={"status_code": 400, "body": body}, error=None)

    with pytest.raises(RequestError, match="HTTP 400: bad prompt") as failure:
        decode(found.response)

    assert (failure.value.status_code, failure.value.is_retryable) == (400, False)


def test_failed_request_without_body_keeps_its_status() -> None:
    found = _read(response={"status_code": 503, "body": None})

    assert found.response.status == 503


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_request_that_job_did_not_reach_may_be_sent_again(code: str) -> None:
    found = _read(response=None, error={"code": code, "message": "too late"})

    assert found.response is None
    assert str(found.error) == "the batch job did not answer this request: too late"
    assert found.error.is_retryable


def test_error_of_together_is_not_repeated() -> None:
    found = _read(error={"code": "batch_client_error", "message": "Maximum four stop sequences allowed"})

    assert (found.error.status_code, found.error.is_retryable) == (400, False)
    assert "Maximum four stop sequences allowed" in str(found.error)


@pytest.mark.parametrize("fields", [{}, {"response": None, "error": None}, {"response": {"status_code": 200}}])
def test_result_without_answer_and_error_may_be_sent_again(fields: Json) -> None:
    found = _read(**fields)

    assert found.error.is_retryable
    assert "has a result without an answer" in str(found.error)


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b"{}", b'{"custom_id": null}', b'{"custom_id": ""}', b"\xff"])
def test_line_that_is_no_result_is_an_error(line: bytes) -> None:
    with pytest.raises(RequestError):
        answer(line)
