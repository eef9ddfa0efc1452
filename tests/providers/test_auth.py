"""Which key a request carries."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from asyncinfer import ConfigError, RemoteParams
from asyncinfer.dialects.http import HttpRequest
from asyncinfer.providers.auth import Key

OPENAI = Key("OPENAI_API_KEY")
ANY = Key()


async def headers(auth: Key, remote: RemoteParams, environ: dict[str, str]) -> dict[str, str]:
    """What is added to a request."""
    name = "REMOTE" if auth is ANY else "OPENAI"
    return dict((await auth.signer(name, remote, environ)(HttpRequest("http://api/v1", {}))).headers)


async def test_an_explicit_key_goes_before_all_others() -> None:
    remote = RemoteParams(api_key=SecretStr("sk-mine"), api_key_env_varname="OTHER")
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert await headers(OPENAI, remote, environ) == {"Authorization": "Bearer sk-mine"}


async def test_a_variable_of_the_user_s_goes_before_the_provider_s() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert await headers(OPENAI, RemoteParams(api_key_env_varname="OTHER"), environ) == {
        "Authorization": "Bearer sk-other"
    }
    assert await headers(OPENAI, RemoteParams(), environ) == {"Authorization": "Bearer sk-env"}


async def test_a_server_that_needs_no_key_is_sent_none() -> None:
    assert await headers(ANY, RemoteParams(), {"OPENAI_API_KEY": "sk-env"}) == {}


@pytest.mark.parametrize("key", ["sk-1\n", "  sk-1", "sk-1\r\n"])
async def test_a_key_that_was_read_from_a_file_may_end_its_line(key: str) -> None:
    """No header may hold a line end."""
    for remote in (RemoteParams(api_key=SecretStr(key)), RemoteParams()):
        assert await headers(OPENAI, remote, {"OPENAI_API_KEY": key}) == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}])
async def test_a_missing_key_is_named_by_its_variable(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="OPENAI needs an API key; set the environment variable OPENAI_API_KEY"):
        await headers(OPENAI, RemoteParams(), environ)


async def test_the_variable_that_the_user_named_must_be_set() -> None:
    with pytest.raises(ConfigError, match="REMOTE needs an API key; set the environment variable OTHER"):
        await headers(ANY, RemoteParams(api_key_env_varname="OTHER"), {"OPENAI_API_KEY": "sk-env"})


async def test_a_key_may_go_under_another_header_and_is_known_as_a_secret() -> None:
    auth = Key("X", header="x-api-key", scheme="")
    assert await headers(auth, RemoteParams(), {"X": "sk-1"}) == {"x-api-key": "sk-1"}
    assert auth.signer("X", RemoteParams(), {"X": "sk-1"}).secrets == ("sk-1",)
