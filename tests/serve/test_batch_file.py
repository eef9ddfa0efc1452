"""A file of requests in OpenAI's batch format, answered by an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asyncinfer import InferenceErrorType, InputError, RequestError
from asyncinfer.dialects.openai.response import decode
from asyncinfer.serve.batch_file import answer_batch_file
from asyncinfer.types.http import HttpResponse
from tests.fakes import FakeEngine, answer_to


def line(custom_id: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_completion_tokens": 5}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The responses, by their custom id."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return {each["custom_id"]: each["response"] for each in lines}


async def test_each_request_gets_a_response_in_the_format_of_openai(tmp_path: Path) -> None:
    requests = write(tmp_path / "in.jsonl", [line(f"r{i}", f"question {i}") for i in range(200)])
    summary = await answer_batch_file(FakeEngine(), requests, tmp_path / "out.jsonl")
    assert summary == (200, 0)
    responses = read(tmp_path / "out.jsonl")
    assert len(responses) == 200
    response = responses["r7"]
    assert response["status_code"] == 200
    completion = decode(HttpResponse(200, {}, json.dumps(response["body"]).encode()))
    assert completion.message.content == answer_to("question 7")


async def test_request_that_fails_has_the_status_and_the_error(tmp_path: Path) -> None:
    def script(text: str, _: int) -> None:
        if text == "bad":
            raise RequestError("refused", error_type=InferenceErrorType.API_STATUS, status_code=400)

    lines = [line("a", "good"), line("b", "bad"), line("c", "x", url="/v1/embeddings"), line("d", "x", body=1)]
    requests = write(tmp_path / "in.jsonl", lines)
    summary = await answer_batch_file(FakeEngine(script), requests, tmp_path / "out.jsonl")
    assert summary == (1, 3)
    responses = read(tmp_path / "out.jsonl")
    assert {name: each["status_code"] for name, each in responses.items()} == {"a": 200, "b": 400, "c": 400, "d": 400}
    assert "only POST requests" in responses["c"]["body"]["error"]["message"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there are no requests in it"),
        ("{", "request 1: is not JSON"),
        ('{"url": "/v1"}', "request 1: has no custom_id"),
        ('{"custom_id": "a"}\n{"custom_id": "a"}', "request 2: the custom_id 'a' comes a second time"),
    ],
)
async def test_wrong_file_is_an_error_before_anything_is_sent(tmp_path: Path, text: str, why: str) -> None:
    engine = FakeEngine()
    (tmp_path / "in.jsonl").write_text(text)
    with pytest.raises(InputError, match=why):
        await answer_batch_file(engine, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not engine.asked
