"""Requests with a key: where the key comes from, and which header it is sent in."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from asyncinfer import ConfigError, RemoteParams
from asyncinfer.providers.auth import Key
from asyncinfer.types.http import HttpRequest

OPENAI = Key("OPENAI_API_KEY")
ANY = Key()


async def headers(auth: Key, remote: RemoteParams, environ: dict[str, str]) -> dict[str, str]:
    """Return the headers that are added to a request."""
    name = "REMOTE" if auth is ANY else "OPENAI"
    return dict((await auth.signer(name, remote, environ)(HttpRequest("http://api/v1", {}))).headers)


async def test_explicit_key_takes_precedence_over_variables() -> None:
    remote = RemoteParams(api_key=SecretStr("sk-mine"), api_key_env_varname="OTHER")
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert await headers(OPENAI, remote, environ) == {"Authorization": "Bearer sk-mine"}


async def test_variable_named_by_the_user_takes_precedence_over_that_of_the_provider() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "OTHER": "sk-other"}
    assert await headers(OPENAI, RemoteParams(api_key_env_varname="OTHER"), environ) == {
        "Authorization": "Bearer sk-other"
    }
    assert await headers(OPENAI, RemoteParams(), environ) == {"Authorization": "Bearer sk-env"}


async def test_provider_without_a_key_variable_gets_no_key_from_the_environment() -> None:
    assert await headers(ANY, RemoteParams(), {"OPENAI_API_KEY": "sk-env"}) == {}


@pytest.mark.parametrize("key", ["sk-1\n", "  sk-1", "sk-1\r\n"])
async def test_whitespace_around_a_key_is_removed(key: str) -> None:
    """A key that was read from a file may end with a line end, which no header may contain."""
    for remote in (RemoteParams(api_key=SecretStr(key)), RemoteParams()):
        assert await headers(OPENAI, remote, {"OPENAI_API_KEY": key}) == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}])
async def test_error_of_a_missing_key_names_its_variable(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="OPENAI needs an API key; set the environment variable OPENAI_API_KEY"):
        await headers(OPENAI, RemoteParams(), environ)


async def test_unset_variable_named_by_the_user_is_an_error() -> None:
    with pytest.raises(ConfigError, match="REMOTE needs an API key; set the environment variable OTHER"):
        await headers(ANY, RemoteParams(api_key_env_varname="OTHER"), {"OPENAI_API_KEY": "sk-env"})


async def test_key_is_sent_in_the_header_of_the_provider_and_is_a_secret() -> None:
    auth = Key("X", header="x-api-key", scheme="")
    assert await headers(auth, RemoteParams(), {"X": "sk-1"}) == {"x-api-key": "sk-1"}
    assert auth.signer("X", RemoteParams(), {"X": "sk-1"}).secrets == ("sk-1",)
