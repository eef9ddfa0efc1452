"""Mutation campaigns: responses and results with random changes raise RequestError at most, and lose no answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer import BatchInfo, BatchStatus, RequestError
from asyncinfer.dialects.batch import BatchDialect, FileQuery, JobFile, SentJob
from asyncinfer.dialects.batch_steps import BatchContext, Steps
from asyncinfer.dialects.openai.batches.lines import answer
from asyncinfer.dialects.openai.response import decode
from asyncinfer.providers.catalog import CATALOG
from asyncinfer.types.http import HttpResponse
from tests.batch.fakes.apis import MODEL, SERVERS
from tests.dialects.mangled import ODD, mangled_text
from tests.recorder import SUCCESS

Json = dict[str, Any]
_JOB: Json = {
    "id": "b",
    "name": "accounts/a/batchInferenceJobs/b",
    "status": "completed",
    "state": "JOB_STATE_COMPLETED",
    "created_at": 1_790_000_000,
    "createTime": "2026-11-01T00:00:00Z",
    "input_file_id": "f",
    "input_files": ["f"],
    "output_file_id": "f",
    "outputDatasetId": "accounts/a/datasets/d",
    "request_counts": {"total": 2, "completed": 1, "failed": 1},
    "jobProgress": {"totalInputRequests": 2, "failedRequests": 1, "percent": 100},
    "lifecycle": {"runStartTime": "2026-11-01T00:00:00Z", "endTime": None},
    "errors": {"data": [{"code": "c", "message": "m", "line": 1}]},
    "metadata": {"asyncinfer_job": "t"},
}
_FILE: Json = {"id": "f", "filename": "t.jsonl", "bytes": 3, "created_at": 1_790_000_000, "purpose": "batch"}
_PAGE: Json = {
    "data": [_JOB, _FILE],
    "batchInferenceJobs": [_JOB],
    "nextPageToken": "t",
    "last_id": "b",
    "has_more": True,
    "paging": {"next_cursor": "c"},
    "total": 5000,
}
_URLS: Json = {"filenameToSignedUrls": {"BIJOutputSet.jsonl": "https://h/o", "error-data": "https://h/e"}}
_RESPONSES = mangled_text(st.sampled_from([_JOB, _FILE, _PAGE, {"job": _JOB}, _URLS]))
_LINES: list[Json] = [
    {"id": "r", "custom_id": "c", "response": {"status_code": 200, "request_id": "q", "body": SUCCESS}, "error": None},
    {"custom_id": "c", "response": SUCCESS},
    {"custom_id": "c", "response": {"status_code": 400, "body": {"error": {"message": "m"}}}, "error": None},
    {"custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "m"}},
]
_CONTEXT = BatchContext(
    "https://h/v1/chat/completions", "https://h/v1", model=MODEL, variables={"FIREWORKS_ACCOUNT_ID": "a"}
)
# More pages than an operation may read.
_MOST_STEPS = 3000


def _operations(dialect: BatchDialect) -> list[Steps[Any]]:
    info = BatchInfo("b", BatchStatus.COMPLETED, output_file_id="o", error_file_id="e")
    job_file = JobFile(Path("job.jsonl"), 1, 1)
    job = SentJob("t", job_file, "24h", datetime(2026, 11, 1, tzinfo=UTC))
    operations: list[Steps[Any]] = [
        dialect.submit(_CONTEXT, job_file, "t", "24h"),
        dialect.status(_CONTEXT, "b"),
        dialect.cancel(_CONTEXT, "b"),
        dialect.listing(_CONTEXT, None, 5),
        dialect.find_jobs(_CONTEXT, job),
        dialect.results(_CONTEXT, info),
    ]
    if (files := dialect.files) is not None:
        operations += [files.listing(_CONTEXT, FileQuery()), files.get(_CONTEXT, "f"), files.delete(_CONTEXT, "f")]
    return operations


@pytest.mark.parametrize("engine", list(SERVERS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_odd_responses_raise_request_errors_at_most(engine: str, data: st.DataObject) -> None:
    dialect = CATALOG[engine].batch
    assert dialect is not None
    for operation in _operations(dialect):
        status = data.draw(st.sampled_from([200, 200, 200, 201, 302, 400, 404, 409, 500]))
        response = HttpResponse(status, {"location": "https://h/up", "x-together-file-id": "f"}, data.draw(_RESPONSES))
        try:
            next(operation)
            for _ in range(_MOST_STEPS):
                operation.send(response)
        except StopIteration:
            continue
        except RequestError:
            continue
        raise AssertionError("the operation does not end")


@settings(max_examples=300, deadline=None)
@given(line=mangled_text(st.sampled_from(_LINES)))
def test_odd_results_are_answers_or_request_errors(line: bytes) -> None:
    try:
        found = answer(line)
        assert (found.response is None) != (found.error is None)
        if found.response is not None:
            decode(found.response)
    except RequestError:
        return


@settings(max_examples=200, deadline=None)
@given(line=st.sampled_from(_LINES[:2]), odd=st.dictionaries(st.sampled_from(["id", "error", "new", "usage"]), ODD))
def test_odd_fields_beside_answer_lose_no_answer(line: Json, odd: Json) -> None:
    found = answer(json.dumps({**line, **odd}).encode())

    assert found.response is not None
    assert decode(found.response).message.content == "Hello."
