"""Batch APIs that answer with anything: operations end with a result or an error, and answers are not lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncinfer.dialects.batch import BatchDialect, JobFile, SentJob
from asyncinfer.dialects.batch_steps import BatchContext, Steps, Upload
from asyncinfer.errors import RequestError
from asyncinfer.providers.provider import Provider
from asyncinfer.providers.rows.cloud_platforms import BEDROCK, GOOGLE_GEMINI, GOOGLE_VERTEX
from asyncinfer.providers.rows.model_makers import ANTHROPIC
from asyncinfer.types.batch import BatchInfo, BatchStatus
from asyncinfer.types.http import HttpRequest, HttpResponse
from tests.batch.fakes.gemini import generated
from tests.batch.fakes.json_values import json_values
from tests.recorder import CONVERSED, MESSAGE

FILE = JobFile(Path("job.jsonl"), 10, 1)
SENT = SentJob("asyncinfer-0a", FILE, "24h", datetime(2026, 11, 27, tzinfo=UTC))
INFO = BatchInfo("b", BatchStatus.COMPLETED, output_file_id="s3://bucket/x", metadata={"results_url": "https://h/r"})
GENERATED = generated({"contents": [{"parts": [{"text": "a"}]}]})


class Api(NamedTuple):
    """A batch API, with a valid line of its results and the text of the answer in it."""

    provider: Provider
    url: str
    model: str
    line: dict[str, Any]
    text: str

    @property
    def dialect(self) -> BatchDialect:
        assert self.provider.batch is not None
        return self.provider.batch

    @property
    def context(self) -> BatchContext:
        scheme = "gs" if self.provider is GOOGLE_VERTEX else "s3"
        return BatchContext(
            self.url, self.url.removesuffix(self.provider.dialect.path), model=self.model,
            storage=f"{scheme}://bucket", role="arn:aws:iam::123456789012:role/x",
        )  # fmt: skip


APIS = {
    "anthropic": Api(
        ANTHROPIC,
        "https://h/v1/messages",
        "claude-sonnet-4-6",
        {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}},
        "Hello.",
    ),
    "gemini": Api(
        GOOGLE_GEMINI,
        "https://h/v1beta/openai/chat/completions",
        "gemini-2.5-flash",
        {"key": "a", "response": GENERATED},
        "re: a",
    ),
    "vertex": Api(
        GOOGLE_VERTEX,
        "https://h/v1beta1/projects/p/locations/l/endpoints/openapi/chat/completions",
        "google/gemini-2.5-flash",
        {"request": {"labels": {"asyncinfer-row": "a"}}, "response": GENERATED, "status": ""},
        "re: a",
    ),
    "bedrock": Api(
        BEDROCK,
        "https://bedrock-runtime.eu-west-3.amazonaws.com",
        "amazon.nova-lite-v1:0",
        {"recordId": "a", "modelInput": {}, "modelOutput": CONVERSED},
        "Hello.",
    ),
}
apis = pytest.mark.parametrize("api", APIS.values(), ids=APIS)


def operations(api: Api) -> Iterator[Callable[[], Steps[Any]]]:
    """The operations of an API."""
    dialect, context = api.dialect, api.context
    yield lambda: dialect.submit(context, FILE, "asyncinfer-0a", "24h")
    yield lambda: dialect.status(context, "b")
    yield lambda: dialect.cancel(context, "b")
    yield lambda: dialect.listing(context, None, 10)
    yield lambda: dialect.find_jobs(context, SENT)
    yield lambda: dialect.results(context, INFO)


STATUSES = st.sampled_from([200, 200, 200, 204, 301, 400, 403, 404, 409, 429, 500, 503])
_LISTS = ("data", "operations", "batchPredictionJobs", "invocationJobSummaries", "items")
_NAMES = ("id", "name", "jobArn", "jobName", "displayName", "nextPageToken", "nextToken")
KEYS = [*_LISTS, *_NAMES, "metadata", "file", "has_more", "error", "done"]
FIELDS = st.dictionaries(st.sampled_from(KEYS), json_values | st.lists(st.fixed_dictionaries({"id": st.just("b")})))
BODIES = (json_values | FIELDS).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50)
HEADERS = st.dictionaries(st.sampled_from(["X-Goog-Upload-URL", "Location"]), st.text(max_size=20))


@apis
@settings(max_examples=50)
@given(responses=st.lists(st.builds(HttpResponse, STATUSES, HEADERS, BODIES), min_size=1, max_size=6))
def test_operations_end_with_a_result_or_an_error(api: Api, responses: list[HttpResponse]) -> None:
    for operation in operations(api):
        steps = operation()
        try:
            step = next(steps)
            for response in responses:
                assert step.request.url.startswith("http")
                assert isinstance(step, Upload) or step.request.method in ("GET", "POST", "PUT", "DELETE")
                step = steps.send(response)
            steps.close()
        except (StopIteration, RequestError):
            continue


@apis
@given(data=st.data())
def test_fields_that_are_not_known_do_not_cost_an_answer(api: Api, data: st.DataObject) -> None:
    names = st.sampled_from(["x", "id", "usage", "created", "error", "processed_time", "region"])
    extra = {name: value for name, value in data.draw(st.dictionaries(names, json_values)).items() if name != "error"}
    items = data.draw(st.permutations([*{**extra, **api.line}.items(), ("error", None)]))
    answer = api.dialect.answer(json.dumps(dict(items)).encode())
    assert answer.custom_id == "a"
    assert answer.response is not None
    chat = api.dialect.dialect_for(api.model, api.provider.dialect)
    assert chat.decode(answer.response).message.content == api.text


@apis
def test_cut_line_is_an_error(api: Api) -> None:
    line = json.dumps(api.line).encode()
    for end in range(0, len(line) - 1, 7):
        with pytest.raises(RequestError):
            api.dialect.answer(line[:end])


@apis
@given(custom_id=st.from_regex(r"[0-9a-f]{32}(-[0-9]{1,4})?", fullmatch=True))
def test_lines_are_json_and_have_no_line_break(api: Api, custom_id: str) -> None:
    body = '{"contents":[],"messages":[{"content":"\\n\\u2028 \\" é"}]}'.encode()
    line = api.dialect.line(api.context, custom_id, HttpRequest("https://h", {}, body))
    assert b"\n" not in line
    assert custom_id.encode() in line
    assert isinstance(json.loads(line), dict)
