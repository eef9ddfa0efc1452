"""What only Together's batch API does: an upload by a signed URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncinfer import RequestError
from asyncinfer.dialects.batch import JobFile
from asyncinfer.dialects.batch_steps import UNSIGNED, BatchContext, Exchange, Upload
from asyncinfer.dialects.openai.batches.together import upload
from asyncinfer.types.http import HttpResponse
from tests.batch.fakes.apis import Engine, running, texts
from tests.batch.fakes.together import TogetherBatchServer

_CONTEXT = BatchContext("https://api.together.ai/v1/chat/completions", "https://api.together.ai/v1", model="m")
_FILE = JobFile(Path("job.jsonl"), 3, 1)


def _redirect(**headers: str) -> HttpResponse:
    return HttpResponse(302, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


async def test_file_follows_redirects_of_signed_url(tmp_path: Path) -> None:
    server = TogetherBatchServer()
    server.redirects = 2
    async with running(Engine.TOGETHER, server=server) as api:
        info = await api.status(await api.submit(tmp_path / "job.jsonl", "Hello?"))

        assert texts(await api.answers(info)) == {"row-0": "answer to Hello?"}
        assert next(file.name for file in server.files.values()) == "asyncinfer-1.jsonl"


def test_upload_to_signed_url_has_no_key() -> None:
    steps = upload(_CONTEXT, _FILE, "t")
    begin = next(steps)
    put = steps.send(_redirect(location="https://storage/x?sig=1", x_together_file_id="file-1"))

    assert isinstance(begin, Exchange)
    assert b'name="file_name"\r\n\r\nt.jsonl\r\n' in begin.request.body
    assert isinstance(put, Upload)
    assert (put.service, put.request.method, put.request.url) == (UNSIGNED, "PUT", "https://storage/x?sig=1")


def test_server_may_take_file_at_once() -> None:
    steps = upload(_CONTEXT, _FILE, "t")
    next(steps)

    with pytest.raises(StopIteration) as end:
        steps.send(HttpResponse(200, {}, b'{"id": "file-7"}'))

    assert end.value.value == "file-7"


@pytest.mark.parametrize("location", ["http://storage/x", ""])
def test_file_is_not_sent_to_url_without_encryption(location: str) -> None:
    steps = upload(_CONTEXT, _FILE, "t")
    next(steps)

    with pytest.raises(RequestError, match="redirects the upload to no secure URL"):
        steps.send(_redirect(location=location, x_together_file_id="file-1"))


def test_redirects_without_end_are_an_error() -> None:
    steps = upload(_CONTEXT, _FILE, "t")
    next(steps)

    with pytest.raises(RequestError):
        for _ in range(100):
            steps.send(_redirect(location="https://storage/x", x_together_file_id="file-1"))
