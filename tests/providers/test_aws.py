"""Requests to AWS are authorised with an API key, or signed with the credentials that botocore finds."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import botocore.exceptions as errors  # pyright: ignore[reportMissingTypeStubs]
import pytest

from asyncinfer import (
    BedrockInferenceEngine,
    ConfigError,
    EngineConfigError,
    InferenceErrorType,
    InferenceFailedError,
    MissingDependencyError,
    ModelParams,
    RemoteParams,
    RequestError,
)
from asyncinfer.providers import aws
from asyncinfer.providers.aws import Aws, CredentialChain, S3Auth, SigV4Signer
from asyncinfer.types.http import HttpRequest
from tests.boto import KEY_ID, SECRET, TOKEN, authorised_by_environment, base, scope, signature
from tests.fakes import question
from tests.recorder import Recorder

ANSWER = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}}, "stopReason": "end_turn"}
BEDROCK = Aws("bedrock", "AWS_BEARER_TOKEN_BEDROCK")
HELLO = HttpRequest("https://bedrock-runtime.eu-west-3.amazonaws.com/model/m/converse", {}, b"{}")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove AWS variables from the environment, and disable the metadata server of EC2."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
async def api() -> Any:
    async with Recorder() as api:
        api.answers(ANSWER)
        yield api


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-west-2")


def engine_for(api: Recorder, **remote: Any) -> BedrockInferenceEngine:
    params = RemoteParams.model_validate({"api_url": base(api), "max_retries": 0, **remote})
    return BedrockInferenceEngine(ModelParams(model_name="m:0"), remote_params=params)


async def send_one(api: Recorder, **remote: Any) -> None:
    async with engine_for(api, **remote) as engine:
        await engine.ainfer([question("Hello?")])


# An API key


async def test_api_key_is_sent_as_botocore_sends_it(api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-1")
    await send_one(api)
    message = {"role": "user", "content": [{"text": "Hello?"}]}
    theirs = await authorised_by_environment(modelId="m:0", messages=[message])
    [ours] = api.sent
    assert ours.headers["Authorization"] == theirs == "Bearer bedrock-api-key-1"
    assert "X-Amz-Date" not in ours.headers


@pytest.mark.usefixtures("keys")
async def test_explicit_key_takes_precedence_over_variables_and_credentials(
    api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "of the environment")
    monkeypatch.setenv("OTHER", "of another variable")
    await send_one(api, api_key="mine", api_key_env_varname="OTHER")
    await send_one(api, api_key_env_varname="OTHER")
    assert [sent.headers["Authorization"] for sent in api.sent] == ["Bearer mine", "Bearer of another variable"]


async def test_unset_variable_named_by_the_user_is_an_error(api: Recorder) -> None:
    with pytest.raises(ConfigError, match="BEDROCK needs an API key; set the environment variable OTHER"):
        await send_one(api, api_key_env_varname="OTHER")


async def test_missing_botocore_is_an_error_unless_an_api_key_is_set(
    api: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "find_spec", lambda _: None)
    await send_one(api, api_key="mine")
    with pytest.raises(MissingDependencyError, match=r"pip install 'asyncinfer\[bedrock\]'"):
        await send_one(api)
    assert len(api.sent) == 1


# Signatures


@pytest.mark.usefixtures("keys")
async def test_signature_covers_the_body_and_the_path(api: Recorder) -> None:
    await send_one(api)
    [sent] = api.sent
    assert scope(sent) == (KEY_ID, "us-west-2", "bedrock", "aws4_request")
    given, due = signature(sent)
    assert given == due
    for changed in (sent._replace(raw=sent.raw + b" "), sent._replace(target="/model/other/converse")):
        assert given != signature(changed)[1]


@pytest.mark.usefixtures("keys")
async def test_large_body_is_signed(api: Recorder) -> None:
    async with engine_for(api) as engine:
        await engine.ainfer([question("x" * 300_000)])
    given, due = signature(api.sent[0])
    assert given == due


async def test_credentials_are_read_from_the_files_of_botocore(
    api: Recorder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The region comes from the same profile. The files are read in a thread, which `block_watch` checks."""
    (home / ".aws").mkdir()
    (home / ".aws/credentials").write_text(
        f"[work]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\naws_session_token={TOKEN}\n"
    )
    (home / ".aws/config").write_text("[profile work]\nregion=ap-south-1\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    await send_one(api)
    [sent] = api.sent
    assert scope(sent)[:2] == (KEY_ID, "ap-south-1")
    assert sent.headers["X-Amz-Security-Token"] == TOKEN
    given, due = signature(sent)
    assert given == due


async def test_credentials_are_read_from_a_credential_process(
    api: Recorder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f'{{"Version":1,"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}","Expiration":"2099-01-01T00:00:00Z"}}'
    (home / "keys.json").write_text(told)
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(f"[default]\nregion=us-east-1\ncredential_process=cat {home / 'keys.json'}\n")
    await send_one(api)
    given, due = signature(api.sent[0])
    assert given == due


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.eu-west-3.amazonaws.com/model/m", "eu-west-3"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/model/m", "us-gov-west-1"),
        ("https://vpce-1.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com/model/m", "ap-southeast-2"),
        ("https://bedrock.eu-central-1.api.aws/foundation-models", "eu-central-1"),
        ("https://gateway.example.com/model/m", "us-west-2"),
    ],
)
@pytest.mark.usefixtures("keys")
async def test_region_of_the_host_is_signed(url: str, region: str) -> None:
    signed = await BEDROCK.signer("BEDROCK", RemoteParams())(HELLO._replace(url=url))
    assert f"/{region}/bedrock/aws4_request" in signed.headers["Authorization"]


# Errors


async def test_without_credentials_no_request_is_sent(api: Recorder) -> None:
    """botocore may have to ask a server for credentials, so the error comes with the first row."""
    with pytest.raises(InferenceFailedError, match="no AWS credentials were found; set AWS_ACCESS_KEY_ID") as caught:
        await send_one(api)
    assert caught.value.result.failures[0].error_type == InferenceErrorType.CONFIG
    async with engine_for(api) as engine:
        with pytest.raises(EngineConfigError, match="AWS_BEARER_TOKEN_BEDROCK"):
            await engine.alist_models()
    assert api.sent == []


async def test_error_names_a_missing_profile(api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "play")
    with pytest.raises(InferenceFailedError, match=r"AWS credentials cannot be loaded: .*play"):
        await send_one(api)
    assert api.sent == []


async def test_without_a_region_no_request_is_sent(api: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(InferenceFailedError, match="no AWS region is known; set the environment variable AWS_REGION"):
        await send_one(api)
    assert api.sent == []


@pytest.mark.usefixtures("keys")
async def test_secret_in_an_error_of_the_server_is_masked(api: Recorder) -> None:
    api.answers({"message": f"who is {SECRET}?"}, 400)
    with pytest.raises(InferenceFailedError) as caught:
        await send_one(api)
    assert SECRET not in str(caught.value)
    assert "who is [API key]?" in str(caught.value)


# Renewal of credentials


class Source:
    """Stands in for a session of botocore. `threads` are the names of the threads that loaded credentials from it."""

    refresh_needed = None

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.key, self.error = "first", None

    def get_credentials(self) -> Source:
        return self

    def get_frozen_credentials(self) -> Any:
        self.threads.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(access_key=self.key, secret_key=SECRET, token=None)

    def set_config_variable(self, name: str, value: str) -> None: ...

    def get_config_variable(self, name: str) -> str:
        return "us-east-1"


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source, real = Source(), aws._botocore()
    monkeypatch.setattr(aws, "_botocore", lambda: real._replace(Session=lambda: source))
    return source


def signer() -> SigV4Signer:
    return SigV4Signer(BEDROCK, "BEDROCK", None, CredentialChain())


def signing_key(request: HttpRequest) -> str:
    """Return the id of the key with which a request was signed."""
    return request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]


async def test_many_rows_load_credentials_once_in_a_worker_thread(source: Source) -> None:
    sign = signer()
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(sign, HELLO)
    [thread] = source.threads
    assert thread != threading.current_thread().name


async def test_credentials_are_renewed(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_RELOAD_SECONDS", 0.0)
    sign = signer()
    assert signing_key(await sign(HELLO)) == "first"
    source.key = "second"
    assert signing_key(await sign(HELLO)) == "second"


async def test_other_rows_use_the_old_credentials_during_a_renewal(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "_RELOAD_SECONDS", 0.0)
    sign = signer()
    await sign(HELLO)
    async with sign._load_lock:
        assert signing_key(await sign(HELLO)) == "first"


@pytest.mark.parametrize(
    "error",
    [
        errors.ConnectTimeoutError(endpoint_url="https://sts"),
        errors.MetadataRetrievalError(error_msg="gone"),
        errors.ClientError(
            {"Error": {"Code": "Throttling"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "AssumeRole"
        ),
        errors.ClientError({"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "AssumeRole"),
    ],
)
async def test_temporary_error_is_retried(error: Exception, source: Source) -> None:
    source.error = error
    with pytest.raises(RequestError, match="AWS credentials cannot be loaded at the moment") as caught:
        await signer()(HELLO)
    assert (caught.value.error_type, caught.value.is_retryable) == (InferenceErrorType.CONNECTION, True)


@pytest.mark.parametrize(
    "error",
    [
        errors.UnauthorizedSSOTokenError(),
        errors.PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"),
        errors.CredentialRetrievalError(provider="process", error_msg="not found"),
        errors.ClientError(
            {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "AssumeRole"
        ),
        RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    ],
)
async def test_permanent_error_ends_the_run(error: Exception, source: Source) -> None:
    source.error = error
    with pytest.raises(EngineConfigError, match="BEDROCK: AWS credentials cannot be loaded"):
        await signer()(HELLO)


async def test_error_of_a_source_that_worked_before_is_retried(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "_RELOAD_SECONDS", 0.0)
    sign = signer()
    await sign(HELLO)
    source.error = errors.CredentialRetrievalError(provider="process", error_msg="busy")
    with pytest.raises(RequestError, match="busy"):
        await sign(HELLO)


async def test_s3_gets_no_api_key_and_leaves_the_body_unsigned(source: Source) -> None:
    remote = RemoteParams(api_key="bedrock-key")
    sign = S3Auth().signer("BEDROCK", remote, {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "eu-west-3"})
    signed = await sign(HELLO._replace(url="https://b.s3.eu-west-3.amazonaws.com/a%20b", method="PUT"))
    assert signed.headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
    assert "/eu-west-3/s3/aws4_request" in signed.headers["Authorization"]
    assert "bedrock-key" not in str(dict(signed.headers))
    assert SECRET in sign.secrets
    assert SECRET not in repr(signed)


async def test_error_about_missing_credentials_of_s3_names_no_api_key(source: Source) -> None:
    source.get_credentials = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    sign = S3Auth().signer("BEDROCK", RemoteParams(), {"AWS_REGION": "eu-west-2"})
    with pytest.raises(EngineConfigError, match="AWS_PROFILE$"):
        await sign(HELLO)
