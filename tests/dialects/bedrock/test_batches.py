"""Bedrock's batch inference, against a fake that boto3 reads, and S3 against moto."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs]
import pytest
from anyio import to_thread
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from asyncinfer.dialects.batch import SentJob
from asyncinfer.dialects.bedrock import s3
from asyncinfer.dialects.bedrock.batches import answer, info
from asyncinfer.dialects.bedrock.hosts import bucket_url, control_plane
from asyncinfer.dialects.storage import StoragePath
from asyncinfer.errors import ConfigError, RequestError
from asyncinfer.providers.rows.cloud_platforms import BEDROCK
from asyncinfer.types.batch import BatchStatus
from asyncinfer.types.conversation import Conversation
from tests.batch.driver import Driver, check_pages_of_jobs, questions, texts, write_job
from tests.batch.fakes.bedrock import ARN, ENVIRONMENT, ROLE, FakeBedrockBatches
from tests.batch.fakes.jobs import START, Outcome
from tests.batch.fakes.json_values import json_values
from tests.boto import KEY_ID, KEYS, REGION, SECRET

NOVA, CLAUDE = "amazon.nova-lite-v1:0", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the credentials. botocore reads them in the environment of the process."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def driver(api: FakeBedrockBatches, model: str = NOVA, **settings: Any) -> Driver:
    environ = {**os.environ, "AWS_ENDPOINT_URL_S3": f"{api.root}/s3/"}
    settings = {"storage": "s3://bucket/my/prefix", "role": ROLE, "api_key": None, "environ": environ, **settings}
    return Driver(BEDROCK, api.url, model, **settings)


@pytest.mark.parametrize(("model", "kind"), [(NOVA, "Converse"), (CLAUDE, "InvokeModel")])
async def test_job_is_submitted_polled_and_read(tmp_path: Path, model: str, kind: str) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api, model)
        batch_id = await ours.submit(tmp_path, questions("a", "b"))
        assert batch_id == f"{ARN}{0:012}"
        assert api.only_job.asked == {
            "jobName": "asyncinfer-0a1b",
            "clientRequestToken": "asyncinfer-0a1b",
            "modelId": model,
            "roleArn": ROLE,
            "modelInvocationType": kind,
            "inputDataConfig": {
                "s3InputDataConfig": {
                    "s3InputFormat": "JSONL",
                    "s3Uri": "s3://bucket/my/prefix/asyncinfer-0a1b/input.jsonl",
                }
            },
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/my/prefix/asyncinfer-0a1b/output/"}},
            "timeoutDurationInHours": 24,
        }
        assert (await ours.status(batch_id)).status is BatchStatus.VALIDATING
        api.only_job.state = "InProgress"
        assert (await ours.status(batch_id)).status is BatchStatus.IN_PROGRESS
        api.only_job.end("Completed")
        api.write_results(api.only_job)
        info = await ours.status(batch_id)
        assert (info.status, info.total_requests, info.completed_requests) == (BatchStatus.COMPLETED, 2, 2)
        assert (info.created_at, info.completed_at, info.batch_completion_window) == (START, START, "24h")
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a", "row-1": "re: b"}


async def test_sdk_runs_the_same_job(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        await driver(api).submit(tmp_path, questions("a"))
        await to_thread.run_sync(partial(_run_by_sdk, api))


def _run_by_sdk(api: FakeBedrockBatches) -> None:
    config = Config(retries={"total_max_attempts": 1}, region_name=REGION)
    keys = {key: value for key, value in KEYS.items() if key != "aws_session_token"}
    client: Any = boto3.client("bedrock", endpoint_url=api.root, config=config, **keys)
    mine = api.only_job
    asked = {**mine.asked, "jobName": "theirs", "clientRequestToken": "theirs"}
    arn = client.create_model_invocation_job(**asked)["jobArn"]
    theirs = api.jobs[arn]
    assert theirs.asked == asked
    assert client.get_model_invocation_job(jobIdentifier=arn)["status"] == "Submitted"
    client.stop_model_invocation_job(jobIdentifier=arn)
    assert client.get_model_invocation_job(jobIdentifier=arn)["status"] == "Stopping"
    theirs.end("Completed", Outcome(errors={0}))
    api.write_results(theirs)
    job = client.get_model_invocation_job(jobIdentifier=arn)
    assert (job["submitTime"], job["errorRecordCount"]) == (theirs.created, 1)
    pages = client.get_paginator("list_model_invocation_jobs").paginate(PaginationConfig={"PageSize": 1})
    assert [each["jobArn"] for page in pages for each in page["invocationJobSummaries"]] == [arn, mine.id]
    storage: Any = boto3.client(
        "s3", endpoint_url=f"{api.root}/s3", config=config.merge(Config(s3={"addressing_style": "path"})), **keys
    )
    found = storage.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", Prefix="my/prefix/asyncinfer-0a1b/output/"
    )
    names = [entry["Key"].rpartition("/")[2] for page in found for entry in page["Contents"]]
    assert names == ["input.jsonl.out", "manifest.json.out"]
    client.close()
    storage.close()


async def test_errors_and_missing_rows_do_not_cost_other_rows_their_answers(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a", "b", "c", "d", "e"))
        api.only_job.end("PartiallyCompleted", Outcome({0}, {1}, {2}, {3}, shuffled=True, garbage=(b"{}", b"x")))
        api.write_results(api.only_job)
        info = await ours.status(batch_id)
        assert (info.status, info.failed_requests) == (BatchStatus.EXPIRED, 1)
        found = await ours.completions(batch_id)
        refused = found.pop("row-0")
        assert texts(found) == {"row-3": "re: d", "row-4": "re: e"}
        assert isinstance(refused, RequestError)
        assert (refused.status_code, refused.is_retryable) == (400, False)


async def test_results_are_found_without_the_permission_to_list(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        api.only_job.end("Completed")
        api.write_results(api.only_job)
        api.may_list = False
        assert texts(await ours.completions(batch_id)) == {"row-0": "re: a"}


async def test_too_few_records_fail_the_job(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        api.least_rows = 100
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        info = await ours.status(batch_id)
        assert (info.status, info.error) == (BatchStatus.FAILED, "too few records")
        assert await ours.answers(batch_id) == []
        assert ours.dialect.limits.least_rows == 100


async def test_second_attempt_creates_no_second_job(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        api.lost_creations = 1
        with pytest.raises(RequestError) as lost:
            await ours.submit(tmp_path, questions("a"))
        assert lost.value.is_retryable
        assert await ours.submit(tmp_path, questions("a")) == api.only_job.id
        api.tokens.clear()  # Bedrock may forget tokens; names stay unique.
        assert await ours.submit(tmp_path, questions("a")) == api.only_job.id


async def test_job_is_found_by_its_name(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        for tag in ("mine-2", "mine", "other"):
            await ours.submit(tmp_path, questions("a"), tag=tag)
        file = write_job(ours.dialect, ours.context, BEDROCK.dialect, tmp_path / "j", questions("a"))
        found = await ours.run(ours.dialect.find_jobs(ours.context, SentJob("mine", file, "24h", START)))
        assert [job.id for job in found] == [f"{ARN}{1:012}"]


async def test_jobs_are_listed_page_by_page(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        await check_pages_of_jobs(driver(api), tmp_path, jobs=3, page=2)


async def test_cancelled_job(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        batch_id = await ours.submit(tmp_path, questions("a"))
        assert (await ours.run(ours.dialect.cancel(ours.context, batch_id))).status is BatchStatus.CANCELLING


async def test_upload_that_is_cut_off_leaves_no_object_and_no_job(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        api.cut_uploads = 2  # The client of the test sends a PUT request a second time.
        with pytest.raises(RequestError):
            await ours.submit(tmp_path, questions("a" * 2**21))
        assert not api.objects
        assert not api.jobs


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


async def test_tools_are_sent_to_claude_and_refused_for_other_models(tmp_path: Path) -> None:
    rows = {"row-0": Conversation.from_dict({"messages": [{"role": "user", "content": "a"}], "tools": [TOOL]})}
    async with FakeBedrockBatches() as api:
        await driver(api, CLAUDE).submit(tmp_path, rows)
        assert [tool["name"] for tool in api.only_job.rows[0][1]["tools"]] == ["f"]
        with pytest.raises(RequestError, match="support tools only for Anthropic's models"):
            await driver(api).submit(tmp_path, rows)
        await driver(api).submit(tmp_path, rows, tag="no-tools", tool_choice="none")


async def test_claude_gets_a_request_without_model_and_cache_control(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        await driver(api, CLAUDE).submit(tmp_path, questions("a"), extra_body={"thinking": {"type": "disabled"}})
        [(_, body)] = api.only_job.rows
        assert set(body) == {"anthropic_version", "max_tokens", "messages", "temperature", "thinking"}
        assert body["anthropic_version"] == "bedrock-2023-05-31"


async def test_api_key_of_bedrock_is_not_sent_to_s3(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api, api_key="bedrock-api-key-secret")
        with pytest.raises(RequestError, match="not signed for this service"):
            await ours.submit(tmp_path, questions("a"))
        [(_, _, upload, _)] = api.requests("PUT", "/s3/")
        [(_, _, creation, _)] = api.requests("POST", "/model-invocation-job")
        assert upload["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert upload["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
        assert creation["Authorization"] == "Bearer bedrock-api-key-secret"


async def test_errors_of_s3_show_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    async with FakeBedrockBatches() as api:
        with pytest.raises(RequestError) as error:
            await driver(api).submit(tmp_path, questions("a"))
        assert error.value.status_code == 403
        assert "SignatureDoesNotMatch" in str(error.value)
        assert not {word for word in (KEY_ID, SECRET, "wrong-secret") if word in str(error.value)}


async def test_bucket_in_another_region_is_named(tmp_path: Path) -> None:
    async with FakeBedrockBatches() as api:
        api.home = "us-east-1"
        with pytest.raises(RequestError, match="the bucket bucket is in another region") as error:
            await driver(api).submit(tmp_path, questions("a"))
        assert not error.value.is_retryable


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"storage": None}, "s3://my-bucket/my-prefix"),
        ({"storage": "gs://bucket"}, "s3://my-bucket/my-prefix"),
        ({"storage": "s3://bucket/a//b"}, "s3://my-bucket/my-prefix"),
        ({"role": None}, r"ARN of a role.*\(not set\)"),
        ({"role": "batch"}, r"ARN of a role.*\(found 'batch'\)"),
    ],
)
async def test_missing_settings_are_errors_before_any_request(
    tmp_path: Path, settings: dict[str, Any], problem: str
) -> None:
    async with FakeBedrockBatches() as api:
        with pytest.raises(ConfigError, match=problem):
            await driver(api, **settings).submit(tmp_path, questions("a"))
        assert not api.sent


@pytest.fixture
def moto() -> Iterator[str]:
    """The URL of another implementation of S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def test_objects_are_created_listed_and_read_in_moto(tmp_path: Path, moto: str) -> None:
    client: Any = boto3.client("s3", endpoint_url=moto, region_name="us-east-1", **KEYS)
    await to_thread.run_sync(partial(client.create_bucket, Bucket="bucket"))
    environ = {**os.environ, "AWS_ENDPOINT_URL_S3": moto}
    ours = Driver(BEDROCK, "https://bedrock-runtime.eu-west-3.amazonaws.com", NOVA, api_key=None, environ=environ)
    file = write_job(ours.dialect, ours.context, BEDROCK.dialect, tmp_path / "job.jsonl", questions("a", "b"))
    for key in ("p/x.jsonl", "p/y(1)'s.jsonl", "q/z.jsonl"):
        await ours.run(s3.upload(ours.context, StoragePath("s3", "bucket", key), file))
    found = await ours.run(s3.objects_below(ours.context, StoragePath("s3", "bucket", "p")))
    assert [place.key for place in found] == ["p/x.jsonl", "p/y(1)'s.jsonl"]
    for place in found:
        assert (await ours.send(s3.content(ours.context, place))).body == file.path.read_bytes()
    with pytest.raises(RequestError, match="s3://missing/p: The specified bucket does not exist"):
        await ours.run(s3.objects_below(ours.context, StoragePath("s3", "missing", "p")))
    client.close()


@pytest.mark.parametrize(
    ("url", "plane"),
    [
        ("https://bedrock-runtime.eu-west-3.amazonaws.com", "https://bedrock.eu-west-3.amazonaws.com"),
        ("https://bedrock-runtime-fips.us-east-1.amazonaws.com/", "https://bedrock-fips.us-east-1.amazonaws.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_url_of_the_service_that_runs_jobs(url: str, plane: str) -> None:
    assert control_plane(url) == plane


@pytest.mark.parametrize(
    ("bucket", "url", "variables", "expected"),
    [
        ("b-1", "https://bedrock-runtime.eu-west-3.amazonaws.com", {}, "https://b-1.s3.eu-west-3.amazonaws.com"),
        ("b.1", "https://bedrock-runtime.eu-west-3.amazonaws.com", {}, "https://s3.eu-west-3.amazonaws.com/b.1"),
        ("b", "http://gateway", {"AWS_REGION": "cn-north-1"}, "https://b.s3.cn-north-1.amazonaws.com.cn"),
        ("b", "http://gateway", {"AWS_ENDPOINT_URL": "http://minio:9000/"}, "http://minio:9000/b"),
    ],
)
def test_url_of_a_bucket(bucket: str, url: str, variables: dict[str, str], expected: str) -> None:
    assert bucket_url(bucket, url, variables) == expected


def test_unknown_region_is_an_error() -> None:
    with pytest.raises(ConfigError, match="AWS_REGION"):
        bucket_url("b", "http://gateway", {})


@pytest.mark.parametrize(("window", "hours"), [("24h", 24), ("1h", 24), ("3d", 72), ("30d", 168), ("soon", 24)])
async def test_window_is_kept_within_the_bounds_of_the_api(tmp_path: Path, window: str, hours: int) -> None:
    async with FakeBedrockBatches() as api:
        ours = driver(api)
        file = write_job(ours.dialect, ours.context, BEDROCK.dialect, tmp_path / "job.jsonl", questions("a"))
        await ours.run(ours.dialect.submit(ours.context, file, "tag", window))
        assert api.only_job.asked["timeoutDurationInHours"] == hours


@pytest.mark.parametrize(
    ("error", "status", "is_retryable"),
    [
        ({"errorCode": 429, "errorMessage": "slow"}, 429, True),
        ({"errorCode": "ThrottlingException", "errorMessage": "slow"}, 500, True),
        ({"errorCode": "400", "errorMessage": "bad"}, 400, False),
        ({"errorMessage": {}}, 500, True),
    ],
)
def test_codes_of_errors(error: dict[str, Any], status: int, is_retryable: bool) -> None:
    ours = Driver(BEDROCK, "https://x", NOVA, api_key=None, environ=ENVIRONMENT)
    found = ours.completion(answer(json.dumps({"recordId": "a", "error": error}).encode()))
    assert isinstance(found, RequestError)
    assert (found.status_code, found.is_retryable) == (status, is_retryable)


@given(st.dictionaries(st.sampled_from(["recordId", "modelOutput", "modelInput", "error"]), json_values | st.just("a")))
def test_any_line_is_an_answer_or_an_error(entry: dict[str, Any]) -> None:
    try:
        found = answer(json.dumps(entry).encode())
    except RequestError:
        return
    assert (found.response is None) != (found.error is None)


FIELDS = ["status", "jobName", "message", "submitTime", "endTime", "totalRecordCount", "inputDataConfig"]


@given(st.dictionaries(st.sampled_from([*FIELDS, "outputDataConfig", "timeoutDurationInHours"]), json_values))
def test_any_job_with_an_arn_can_be_read(fields: dict[str, Any]) -> None:
    assert info({**fields, "jobArn": f"{ARN}x"}).total_requests >= 0


def test_credentials_are_not_among_the_variables_of_the_context() -> None:
    ours = Driver(BEDROCK, "https://x", NOVA, api_key=None, environ=ENVIRONMENT)
    assert ours.context.variables == {"AWS_REGION": REGION}
