"""Headers of the user are added to requests and replace those of the package."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from asyncinfer import BedrockInferenceEngine, ConfigError, ModelParams, RemoteParams
from asyncinfer.dialects.http import HEADERS
from asyncinfer.providers.auth import HeaderSigner, Key
from asyncinfer.providers.user_headers import with_user_headers
from asyncinfer.types.http import HttpRequest
from tests.boto import KEY_ID, REGION, SECRET, base, signature, signed_headers
from tests.fakes import question
from tests.recorder import CONVERSED, Recorder

KEY = HeaderSigner({"Authorization": "Bearer sk-1"}, ("sk-1",))


def secret(headers: Mapping[str, str]) -> dict[str, SecretStr]:
    return {name: SecretStr(value) for name, value in headers.items()}


async def signed(headers: Mapping[str, str]) -> Mapping[str, str]:
    return (await with_user_headers(KEY, secret(headers))(HttpRequest("http://h/v1", HEADERS))).headers


async def test_headers_are_added() -> None:
    assert await signed({"X-Team": "a"}) == {**HEADERS, "Authorization": "Bearer sk-1", "X-Team": "a"}


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
async def test_header_of_the_same_name_is_replaced_in_any_case(name: str) -> None:
    headers = await signed({name: "mine"})
    assert {key.lower(): value for key, value in headers.items()}["user-agent"] == "mine"
    assert len(headers) == len(HEADERS) + 1


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
async def test_header_of_the_signer_is_replaced(name: str) -> None:
    assert await signed({name: "Token t"}) == {**HEADERS, "Authorization": "Token t"}


async def test_signer_sees_the_headers() -> None:
    """So that a signature covers them."""
    seen: list[Mapping[str, str]] = []

    class Watching(HeaderSigner):
        async def __call__(self, request: HttpRequest) -> HttpRequest:
            seen.append(request.headers)
            return await super().__call__(request)

    await with_user_headers(Watching({}, ()), secret({"X-Team": "a"}))(HttpRequest("http://h/v1", HEADERS))
    assert seen == [{**HEADERS, "X-Team": "a"}]


async def test_rest_of_the_request_is_unchanged() -> None:
    request = HttpRequest("http://h/v1", HEADERS, b"{}", "PUT", 3.0, HttpRequest("", {}).limits._replace(max_bytes=5))
    after = await with_user_headers(KEY, secret({"X-Team": "a"}))(request)
    assert after._replace(headers=HEADERS) == request


async def test_requests_of_one_call_share_their_headers() -> None:
    """The transport prepares the head of a request once for all requests with the same headers."""
    signer = with_user_headers(KEY, secret({"X-Team": "a"}))
    first, second = [await signer(HttpRequest("http://h/v1", HEADERS)) for _ in range(2)]
    assert first.headers is second.headers


async def test_repr_of_a_request_shows_no_value() -> None:
    request = await with_user_headers(KEY, secret({"X-Team": "c4nary"}))(HttpRequest("http://h/v1", HEADERS))
    assert "c4nary" not in repr(request) + repr(request.headers)


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("X-Team", "t0ken", set[str]()),
        ("X-Auth", "Bearer t0ken", {"t0ken"}),
        ("Authorization", "Basic YW5uOnBhc3N3b3Jk", {"YW5uOnBhc3N3b3Jk", "password"}),
        ("Authorization", "Basic no-base64", {"no-base64"}),
        ("Authorization", 'Token token="t0ken"', {'token="t0ken"', "t0ken"}),
        ("cookie", "session=abcd; theme=dark", {"abcd", "dark"}),
        ("X-Team", "api_key=abcd; region=west", {"abcd"}),
        ("X-Team", "two words", set[str]()),
    ],
)
def test_values_and_the_credentials_in_them_are_secrets(name: str, value: str, parts: set[str]) -> None:
    assert set(with_user_headers(KEY, secret({name: value})).secrets) == {"sk-1", value, *parts}


def test_without_headers_the_signer_is_used_alone() -> None:
    assert with_user_headers(KEY, {}) is KEY


async def test_no_key_is_needed_if_a_header_authorises_the_requests() -> None:
    remote = RemoteParams(headers={"cf-aig-authorization": SecretStr("t")})
    signer = Key("OPENAI_API_KEY").signer("OPENAI", remote, {})
    assert (await signer(HttpRequest("http://h/v1", HEADERS))).headers == HEADERS
    with pytest.raises(ConfigError, match="OPENAI needs an API key"):
        Key("OPENAI_API_KEY").signer("OPENAI", RemoteParams(headers={"X-Team": SecretStr("t")}), {})


async def test_key_of_the_environment_is_sent_beside_the_headers() -> None:
    remote = RemoteParams(headers={"cf-aig-authorization": SecretStr("t")})
    signer = with_user_headers(Key("K").signer("OPENAI", remote, {"K": "sk-1"}), remote.headers)
    headers = (await signer(HttpRequest("http://h/v1", HEADERS))).headers
    assert headers == {**HEADERS, "Authorization": "Bearer sk-1", "cf-aig-authorization": "t"}


async def test_limits_of_a_response_are_kept_by_the_signer() -> None:
    request = HttpRequest("http://h/v1", HEADERS, limits=HttpRequest("", {}).limits._replace(max_bytes=5))
    assert (await KEY(request)).limits == request.limits


async def test_signature_of_aws_covers_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", REGION)
    async with Recorder() as api:
        api.answers(CONVERSED)
        remote = RemoteParams(api_url=base(api), headers=secret({"X-Amzn-Bedrock-GuardrailIdentifier": "g-1"}))
        async with BedrockInferenceEngine(ModelParams(model_name="m"), remote_params=remote) as engine:
            await engine.ainfer([question("Hello?")])
    [sent] = api.sent
    given, expected = signature(sent)
    assert given == expected
    assert "x-amzn-bedrock-guardrailidentifier" in signed_headers(sent)
    assert sent.headers["X-Amzn-Bedrock-GuardrailIdentifier"] == "g-1"
